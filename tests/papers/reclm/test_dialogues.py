"""Dialogues that RecLM tunes on, and their loss."""

import numpy as np
import pandas as pd

from raypipe.data.snapshot import VALIDATION
from raypipe.papers.reclm import (
    dialogues,
)
from raypipe.papers.reclm.histories import (
    histories,
    load_tables,
)
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.prompts import profiles as form
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import dialogue
from raypipe.tuning.chat import IGNORED
from raypipe.tuning.dialogue import tokens
from tests.support.reclm_bench import answer


def test_half_of_the_dialogues_are_about_an_item_taken_and_no_answer_stands_in_its_question(
    bench, config
):
    source = load_tables(bench.context())
    similar = np.load(bench.store.local("neighbours", bench.keys["neighbours"]) / "similar.npy")
    made = dialogues.draw(source, similar, 40, 0)
    known = histories(source, VALIDATION)
    assert sum(d.interacted for d in made) == 20 == sum(not d.interacted for d in made)
    for one in made:
        near = np.concatenate([known.row(v) for v in one.similar])
        assert one.item in near and one.item not in one.history and len(one.history), (
            "turn 1 neither tells nor is empty (RO20)"
        )
        assert one.interacted == (one.item in known.row(one.user)), (
            "a negative is none in all of the training history (R15)"
        )
    again, other = dialogues.draw(source, similar, 40, 0), dialogues.draw(source, similar, 40, 1)
    assert [d.item for d in made] == [d.item for d in again] != [d.item for d in other]


TURNS = [("Users: user 1. Profiles:", " User 1: fan"), (" Will user 1 take it? Answer:", " Yes")]


def learnt(tokenizer, loss):
    made = tokens(tokenizer, TURNS, loss)
    assert len(made.ids) == len(made.labels) and all(
        lab in (IGNORED, i) for i, lab in zip(made.ids, made.labels, strict=True)
    )
    return tokenizer.decode([i for i in made.labels if i != IGNORED]), tokenizer.decode(made.ids)


def test_loss_is_on_both_responses_and_on_no_token_of_a_query(tokenizer):
    assert learnt(tokenizer, "responses") == (
        " User 1: fan Yes</s>",
        "<s>" + "".join(q + r for q, r in TURNS) + "</s>",
    )


def test_the_three_readings_of_naive(tokenizer):
    assert learnt(tokenizer, "first_turn") == (
        " User 1: fan</s>",
        "<s>Users: user 1. Profiles: User 1: fan</s>",
    )
    assert learnt(tokenizer, "last_turn")[0] == " Yes</s>"
    assert learnt(tokenizer, "all_tokens")[0] == "".join(q + r for q, r in TURNS) + "</s>"


def test_both_turns_speak_of_the_same_users(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked, said, question, truth = book.dialogue([[0], [1, 2]], ["P one.", "P two."], 5, False)
    assert (
        f"User 1 watched this film: {book.lines[0]}. User 2 watched these films, oldest first: "
        f"{book.lines[1]}, {book.lines[2]}." in asked
    )
    assert said == " User 1: P one. User 2: P two." and book.lines[5] in question and truth == " No"
    assert dialogue.parse(Completion(truth, ())) is False and dialogue.parse(
        Completion("maybe", ())
    ) == Rejected("not_an_option")


def test_dialogues_hold_the_profiles_that_the_distilled_llm_wrote(bench, config):
    few = config.model_copy(
        update={
            "llm": config.llm.model_copy(
                update={"dialogue": config.llm.dialogue.model_copy(update={"dialogues": 20})}
            )
        }
    )
    ctx = bench.context(neighbours="neighbours", users="teacher/users")
    dialogues.distilled_prompts(ctx, few)
    answer(bench, "distilled", ctx)
    ctx = bench.context(
        neighbours="neighbours", prompts="prompts/distilled", completions="completions/distilled"
    )
    facts = dialogues.dialogues(ctx, few)
    rows = pd.read_parquet(ctx.out / dialogues.TURNS)["turns"]
    assert (
        facts["rows"] == len(rows) == 20 and facts["without a profile"] == 0 and facts["yes"] == 0.5
    )
    for turns in rows:
        assert (
            len(turns) == 4
            and turns[3] in (dialogue.YES, dialogue.NO)
            and turns[1].count(form.IDENTITY) == 4
        )
