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


def test_half_of_the_dialogues_are_positive_and_no_question_contains_its_answer(bench, config):
    tables = load_tables(bench.context())
    similar = np.load(bench.store.local("neighbours", bench.keys["neighbours"]) / "similar.npy")
    drawn = dialogues.draw(tables, similar, 40, 0)
    user_histories = histories(tables, VALIDATION)
    assert (
        sum(each.interacted for each in drawn) == 20 == sum(not each.interacted for each in drawn)
    )
    for drawn_one in drawn:
        of_similar = np.concatenate(
            [user_histories.row(other_user) for other_user in drawn_one.similar]
        )
        assert (
            drawn_one.item in of_similar
            and drawn_one.item not in drawn_one.history
            and len(drawn_one.history)
        ), "turn 1 does not contain the answer and is not empty (RO20)"
        assert drawn_one.interacted == (drawn_one.item in user_histories.row(drawn_one.user)), (
            "a negative item is in none of the user's training rows (R15)"
        )
    again = dialogues.draw(tables, similar, 40, 0)
    other = dialogues.draw(tables, similar, 40, 1)
    assert (
        [each.item for each in drawn]
        == [each.item for each in again]
        != [each.item for each in other]
    )


TURNS = [("Users: user 1. Profiles:", " User 1: fan"), (" Will user 1 take it? Answer:", " Yes")]


def learned(tokenizer, loss):
    drawn = tokens(tokenizer, TURNS, loss)
    assert len(drawn.ids) == len(drawn.labels) and all(
        label in (IGNORED, i) for i, label in zip(drawn.ids, drawn.labels, strict=True)
    )
    return tokenizer.decode([i for i in drawn.labels if i != IGNORED]), tokenizer.decode(drawn.ids)


def test_the_loss_covers_both_responses_and_no_token_of_a_query(tokenizer):
    assert learned(tokenizer, "responses") == (
        " User 1: fan Yes</s>",
        "<s>" + "".join(q + r for q, r in TURNS) + "</s>",
    )


def test_the_loss_of_each_interpretation_of_naive_tuning(tokenizer):
    assert learned(tokenizer, "first_turn") == (
        " User 1: fan</s>",
        "<s>Users: user 1. Profiles: User 1: fan</s>",
    )
    assert learned(tokenizer, "last_turn")[0] == " Yes</s>"
    assert learned(tokenizer, "all_tokens")[0] == "".join(q + r for q, r in TURNS) + "</s>"


def test_both_turns_are_about_the_same_users(bench, config):
    renderer = ProfilePrompts.of(bench.dataset, config.profiles)
    query, response, question, truth = renderer.dialogue(
        [[0], [1, 2]], ["P drawn_one.", "P two."], 5, False
    )
    assert (
        f"User 1 watched this film: {renderer.lines[0]}. User 2 watched these films, oldest first: "
        f"{renderer.lines[1]}, {renderer.lines[2]}." in query
    )
    assert (
        response == " User 1: P drawn_one. User 2: P two."
        and renderer.lines[5] in question
        and truth == " No"
    )
    assert dialogue.parse(Completion(truth, ())) is False and dialogue.parse(
        Completion("maybe", ())
    ) == Rejected("not_an_option")


def test_dialogues_contain_the_profiles_of_the_distilled_llm(bench, config):
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
