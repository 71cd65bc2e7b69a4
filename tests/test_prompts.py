"""Every template's renderer and parser."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe import plugins
from raypipe.data.config import DataConfig
from raypipe.data.dataset import true_attributes
from raypipe.papers.llama4rec import attributes, prompt_requests, rendering
from raypipe.papers.llama4rec.config import PromptConfig, load
from raypipe.papers.llama4rec.instructions import attribute_instructions
from raypipe.prompts import templates
from raypipe.prompts.contract import Completion, Person, Rejected, Words
from raypipe.prompts.templates import (
    attribute,
    judge,
    listwise_constrained,
    listwise_freeform,
    listwise_logprobs,
    pair,
    pick,
    pointwise,
)

FILM = Words("film", "watched")


def test_listwise_with_both_augmentations():
    person = Person(["A", "B"], similar=["S"], hint=["D", "C"])
    got = listwise_logprobs.render(FILM, person, ["C", "D"], ["3", "4"], "listed")
    assert got.text == (
        'Choose the film that the user takes next. A similar user watched "S". Another recommender suggests "D", "C". '
        'Candidates: "C", "D". The user watched these films, oldest first: "A", "B". Answer:'
    )
    assert got.options == (' "C"', ' "D"') and got.payload == ("3", "4")
    bare = listwise_logprobs.render(FILM, person, ["C", "D"], ["3", "4"], "title")
    assert bare.text == (
        'A similar user watched "S". Another recommender suggests "D", "C". '
        'The user watched these films, oldest first: "A", "B". Answer:'
    ), "candidates that bind the answer are not named"
    assert bare.options == got.options


def test_listwise_without_augmentation_and_by_label():
    got = listwise_logprobs.render(FILM, Person(["A"]), ["C", "D"], ["3", "4"], "label")
    assert "similar" not in got.text and "recommender suggests" not in got.text
    assert 'Candidates: (A) "C", (B) "D".' in got.text
    assert got.options == (" A", " B")


def test_too_many_labels_are_refused():
    with pytest.raises(ValueError, match="27 candidates"):
        listwise_logprobs.render(
            FILM, Person(["A"]), [str(i) for i in range(27)], [str(i) for i in range(27)], "label"
        )


def test_listwise_parser_ranks_and_keeps_ties_in_order():
    got = listwise_logprobs.parse(
        Completion("", [-2.0, -1.0, -2.0]), (" a", " b", " c"), ("1", "2", "3")
    )
    assert got == [("2", -1.0), ("1", -2.0), ("3", -2.0)]


@pytest.mark.parametrize("logprobs", [[], [-1.0], [-1.0, float("nan")], [-1.0, float("-inf")]])
def test_scores_that_are_missing_are_rejected_not_guessed(logprobs):
    completion = Completion("", logprobs)
    assert listwise_logprobs.parse(completion, (" a", " b"), ("1", "2")) == Rejected("no_answer")
    assert pointwise.parse(completion, (" 1", " 2"), ("1", "2")) == Rejected("no_answer")


def test_pointwise():
    person = Person(["A", "B"], [4.0, 2.5], similar=["S"], similar_ratings=[5.0], hint_rating=3.84)
    got = pointwise.render(FILM, person, "T", (1, 2, 3, 4, 5))
    assert got.text == (
        'A similar user rated "S": 5. The user rated these films, oldest first: "A": 4, "B": 2.5. '
        'Another recommender predicts 3.8. How does the user rate "T" from 1 to 5? Answer:'
    )
    assert got.options == (" 1", " 2", " 3", " 4", " 5")


def test_pointwise_on_a_scale_to_ten_uses_letters():
    got = pointwise.render(FILM, Person(["A"], [7.0]), "T", tuple(range(1, 11)))
    assert got.options[-1] == " J" and "J is 10" in got.text and got.payload[-1] == "10"


def test_pointwise_parser_gives_the_expected_rating():
    # probabilities 0.25 and 0.75 of what is on the scale: 0.25 * 1 + 0.75 * 5
    got = pointwise.parse(Completion("", list(np.log([0.1, 0.3]))), (" 1", " 5"), ("1", "5"))
    assert got == pytest.approx(4.0)


def test_levels():
    assert pointwise.levels_of(0.5, 4.5) == (0, 1, 2, 3, 4, 5)


def test_pair():
    got = pair.render(FILM, Person(["A"]), ["X", "Y"], ["8", "9"], "listed")
    assert got.text.startswith('Choose the film that the user prefers. The two: "X", "Y".')
    assert pair.parse(Completion("", [-3.0, -0.1]), got.options, got.payload) == ("9", "8")
    assert pair.parse(Completion(' "X"', []), got.options, got.payload) == ("8", "9")


def test_pick():
    got = pick.render(FILM, Person(["A"]), ["X", "Y", "Z"], ["7", "8", "9"], "label")
    assert '(C) "Z"' in got.text
    assert pick.parse(Completion("", [-3.0, -2.0, -0.1]), got.options, got.payload) == "9"


@pytest.mark.parametrize(
    "answer,kind",
    [("", "no_answer"), (' "Q"', "not_an_option"), (' "X" and more', "not_an_option")],
)
def test_written_answers_outside_the_options_are_rejected(answer, kind):
    for template in (pair, pick):
        assert template.parse(Completion(answer, []), (' "X"', ' "Y"'), ("1", "2")) == Rejected(
            kind
        )


def test_attribute():
    got = attribute.render([("A", "a war film", "Lee")], "T", "", "director", ["Lee", "Ray"], "5")
    assert got.text == '"A"; a war film; director: Lee\n"T"; director:'
    assert got.options == (" Lee", " Ray", " unknown") and got.mode == "choose"
    assert attribute.parse(Completion(" Ray", []), got.options, got.payload) == "Ray"
    assert attribute.parse(Completion(" Kim", []), got.options, got.payload) == Rejected(
        "not_an_option"
    )


def test_every_template_has_a_renderer_and_a_parser():
    for name in plugins.names(templates):
        module = plugins.find(templates, name, "template")
        assert callable(module.render) and callable(module.parse)


def ask_of(toy, **fields):
    base = {
        "ask_id": "x",
        "template": "listwise",
        "user_id": "u",
        "task": "direct",
        "split": "test",
        "history": [0, 1],
    }
    return prompt_requests.Ask(**{**base, "candidates": [2, 3], **fields})


def test_evaluation_and_serving_word_the_same_ask_alike(toy, tmp_path):
    toy.dataset.save(tmp_path)
    ask = ask_of(toy, hint=[3], similar=[4])
    batch = rendering.render_batch(pd.DataFrame([ask]), tmp_path, "title")
    alone = rendering.render(ask, rendering.Catalogue.of(toy.dataset), "title")
    assert batch["prompt"][0] == alone.text and batch["options"][0] == alone.options
    assert batch["payload"][0] == (toy.items[2], toy.items[3])


def test_the_answer_of_a_tuning_ask_is_its_true_option(toy):
    book = rendering.Catalogue.of(toy.dataset)
    ask = ask_of(toy, answer=3)
    assert (
        rendering.answer(ask, rendering.render(ask, book, "title"), book) == f' "{book.titles[3]}"'
    )
    rated = ask_of(toy, template="pointwise", ratings=[3.0, 4.0], candidates=[2], answer=4.4)
    assert rendering.answer(rated, rendering.render(rated, book, "title"), book) == " 4"


def lists_of(toy, task, part, depth=50):
    """Lists in which the target stands at a chosen depth."""
    made = {}
    for n, row in enumerate(toy.target_rows(task, part).itertuples()):
        others, place = np.delete(np.arange(len(toy.items)), row.i), min(n % 60, len(toy.items) - 1)
        made[row.user_id, prompt_requests.split_name(part, row.position)] = np.insert(
            others, place, row.i
        )[:depth]
    return made


def test_tuning_asks_hold_their_target_and_nothing_later(toy):
    histories = prompt_requests.Histories(toy)
    lists = lists_of(toy, "sequential", "held")
    made = prompt_requests.listwise(
        toy, histories, "sequential", "held", lists, {}, PromptConfig(), 10, 0
    )
    assert len(made) > 20
    whole = toy.rows("sequential")
    for ask in made.itertuples():
        assert ask.answer in ask.candidates and len(set(ask.candidates)) == 10
        own = whole[whole["user_id"] == ask.user_id].sort_values("position")["i"].tolist()
        before = own[: own.index(ask.answer)]
        assert list(ask.history) == before[-20:], "the history ends before the target"
        assert set(ask.hint) <= set(ask.candidates)


def test_prompts_about_ratings_read_a_longer_history(toy):
    histories = prompt_requests.Histories(toy)
    made = prompt_requests.rating(toy, histories, "test", None, None, PromptConfig(history=4), 9, 0)
    assert max(len(a.history) for a in made.itertuples()) == 9
    for ask in made.itertuples():
        assert list(ask.history) == list(histories.rated[ask.user_id].items[-9:]) and len(
            ask.ratings
        ) == len(ask.history)
    lists = lists_of(toy, "sequential", "test", 3)
    listed = prompt_requests.listwise(
        toy, histories, "sequential", "test", lists, None, PromptConfig(history=4), 3, 0
    )
    single = prompt_requests.pointwise_candidates(
        listed, histories, None, PromptConfig(history=4), 9
    )
    assert max(map(len, listed["history"])) == 4 and max(map(len, single["history"])) == 9
    given = {}, {"llm.source": "org/model"}, {"prompts.rated": 7}
    assert [load("toy", g).rated for g in given] == [50, 20, 7]


def test_a_written_order_names_candidates_and_nothing_else():
    person = Person(["A"])
    titles = ["Alien (1979)", "Up", "It, again", "Up"]
    got = listwise_constrained.render(FILM, person, titles, ["1", "2", "3", "4"], "title")
    assert (
        got.text
        == listwise_logprobs.render(FILM, person, titles, ["1", "2", "3", "4"], "title").text
        and got.mode == "form"
    )
    form, options = got.pattern, list(got.options)
    assert options == [' "Alien (1979)"', ' "Up"', ' "It, again"', ' "Up"']
    answer = ' "Up", "It, again", "Up", "Alien (1979)"'
    assert (
        re.fullmatch(form, answer)
        and not re.fullmatch(form, ' "Up"')
        and not re.fullmatch(form, answer.replace("Up", "Down"))
    )
    assert len(re.findall("Up", form)) == 2, "equal titles are one alternative"
    assert listwise_constrained.named(answer, options) == [
        '"Up"',
        '"It, again"',
        '"Up"',
        '"Alien (1979)"',
    ]

    def parse(answer):
        return listwise_constrained.parse(Completion(answer, ()), got.options, got.payload)

    # a title that two items have stands for both, and keeps its first place
    assert parse(answer) == [("1", -3.0), ("2", -1.0), ("3", -2.0), ("4", -1.0)]
    assert parse(' "It, again", "Al') == [("1", -2.0), ("2", -2.0), ("3", -1.0), ("4", -2.0)], (
        "the end was cut off"
    )
    assert parse("") == parse("I would say Up") == Rejected("no_answer")
    letters = listwise_constrained.render(
        FILM, person, [f"film {n}" for n in range(12)], [str(n) for n in range(12)], "label"
    )
    assert letters.pattern.endswith("{9}") and listwise_constrained.named(
        " C, A", letters.options
    ) == ["C", "A"]


def test_lists_are_read_as_numbers_from_whatever_wrote_them(toy, tmp_path):
    ids = list(toy.items)
    first = pa.table(
        {"user_id": ["u", "v"], "split": ["test", "test"], "items": [[ids[3], ids[0]], []]}
    )
    second = pa.table(
        {
            "user_id": ["u"],
            "split": ["held4"],
            "items": [[ids[5], "nothing", ids[3]]],
            "target": [ids[5]],
        }
    )
    wanted = {("u", "test"): [3, 0], ("v", "test"): [], ("u", "held4"): [5, -1, 3]}
    for name, plain in (
        ("new", True),
        ("old", False),
    ):  # parquet-cpp once called the elements of lists "item"
        folder = tmp_path / name
        folder.mkdir()
        for number, part in enumerate((first, second)):
            pq.write_table(part, folder / f"{number}.parquet", use_compliant_nested_type=plain)
        assert {whose: own.tolist() for whose, own in toy.read_lists(folder).items()} == wanted
    pq.write_table(second.slice(0, 0), tmp_path / "none.parquet")
    assert toy.read_lists(tmp_path / "none.parquet") == {}


def test_targets_that_no_hint_supports_are_left_out(toy):
    lists = lists_of(toy, "sequential", "held", depth=5)
    made = prompt_requests.listwise(
        toy, prompt_requests.Histories(toy), "sequential", "held", lists, None, PromptConfig(), 5, 0
    )
    held = toy.target_rows("sequential", "held")
    assert 0 < len(made) < len(held)
    assert all(len(a.hint) == 0 and len(a.similar) == 0 for a in made.itertuples())


def test_pairs_and_picks_are_drawn_among_free_items(toy):
    histories = prompt_requests.Histories(toy)
    made = prompt_requests.augmentation(toy, histories, PromptConfig(), 2, 3, "pick", 0)
    assert len(made) == 2 * len(toy.users)
    for ask in made.itertuples():
        assert not set(ask.candidates) & set(histories.topk_train[ask.user_id].items)
        assert len(set(ask.candidates)) == 3
    again = prompt_requests.augmentation(toy, histories, PromptConfig(), 2, 3, "pick", 0)
    assert all((a == b).all() for a, b in zip(made["candidates"], again["candidates"], strict=True))


def test_in_later_rounds_they_come_from_the_models_list(toy):
    histories = prompt_requests.Histories(toy)
    one, two = toy.users[:2]
    seen = histories.topk_train[one].items[0]
    ranked = {
        one: np.append(np.setdiff1d(np.arange(20), histories.topk_train[one].items)[:4], seen)
    }
    made = prompt_requests.augmentation(
        toy, histories, PromptConfig(similar=3), 1, 4, "pick", 0, ranked, {one: two}
    )
    assert list(made["user_id"]) == [one]  # the others have no list
    assert set(made["candidates"][0]) == set(ranked[one][:4])
    assert list(made["similar"][0]) == list(histories.topk_train[two].items[-3:])


def test_a_written_ranking_names_every_candidate_once():
    got = listwise_freeform.render(
        FILM, Person(["A"], hint=["D"]), ["C", "D", "E"], ["3", "4", "5"]
    )
    assert got.mode == "write" and got.options == (" A", " B", " C")
    assert got.text.endswith(
        '"A". Rank all candidates, the one that the user takes next first. Answer with their letters alone, '
        "separated by commas. Answer:"
    )
    assert 'Candidates: (A) "C", (B) "D", (C) "E".' in got.text and 'suggests "D"' in got.text

    def parse(answer):
        return listwise_freeform.parse(Completion(answer, ()), got.options, got.payload)

    assert parse("C, A, B") == [("5", -1.0), ("3", -2.0), ("4", -3.0)]
    assert parse("I would say:\n(B) > (C) > (A).") == [("4", -1.0), ("5", -2.0), ("3", -3.0)]
    assert parse("A I cannot tell") == Rejected("no_answer")
    assert parse("A, B, D") == Rejected("not_an_option")
    assert parse("A, B, A") == Rejected("repeated")
    assert parse("A, B") == Rejected("left_out")


def test_the_judge_is_told_the_truth_where_it_is_known():
    got = judge.render("film", "Alien", "genre: horror", "director", "Scott", "R. Scott")
    assert got.mode == "write" and got.text == (
        'Somebody says that the director of the film "Alien" is Scott. Known of it: genre: horror. A reference says that the '
        "director is R. Scott. Is that correct? Answer with the one word yes or no."
    )
    assert "reference" not in judge.render("film", "Alien", "", "director", "Scott", None).text
    said = {
        "Yes.": "correct",
        "no": "not correct",
        "I know nothing": Rejected("not_an_option"),
        " ": Rejected("no_answer"),
    }
    assert {answer: judge.parse(Completion(answer, ())) for answer in said} == said


def test_worked_examples_are_the_items_most_alike_and_never_the_item_itself(toy):
    config = load("toy").augment
    items = toy.dataset.items.set_index("item_id")
    for known in (False, True):
        asked = list(attributes.questions(toy.dataset, config, known, 0))
        assert {q.item_id for q in asked} == set(items.index[(items["director"] != "") == known])
        for q in asked:
            *shown, question = q.rendered.text.split("\n")
            assert len(shown) == config.examples and question == attribute.line(
                *items.loc[q.item_id, ["title", "text"]], "director"
            )
            assert all(line.rpartition(" ")[2] in items["director"].unique() for line in shown)
            assert not any(line.startswith(f'"{items.loc[q.item_id, "title"]}"') for line in shown)
            assert set(q.rendered.payload) == {line.rpartition(" ")[2] for line in shown} | {
                attribute.UNKNOWN
            }, "grounded"
            assert (q.value == items.loc[q.item_id, "director"]) and (q.value != "") == known
    truth = true_attributes(
        DataConfig(name="toy", options={"users": 60, "items": 72, "mean_length": 12})
    )["director"]

    def right(retrieval):
        own = config.model_copy(update={"retrieval": retrieval})
        asked = attributes.questions(toy.dataset, own, False, 0)
        return np.mean([q.rendered.text.split("\n")[-2].endswith(truth[q.item_id]) for q in asked])

    assert right(True) > 3 * right(False), (
        "a film of the same saga is the example next to the question"
    )
    wanted = load("toy", {"llm.tune.instructions": 1000})
    made = attribute_instructions(toy.dataset, wanted, 0)
    assert len(made) == 2 * (items["director"] != "").sum() and made["ask_id"].is_unique
    assert {a.strip() for a in made["answer"]} <= set(items["director"])
    assert (
        len(attribute_instructions(toy.dataset, load("toy", {"llm.tune.instructions": 20}), 0))
        == 10
    )

    def values(question):
        return [line.rpartition(" ")[2] for line in question.rendered.text.split("\n")[:-1]] + [
            question.value
        ]

    pairs = list(
        zip(
            *(
                attributes.questions(toy.dataset, config, True, 0, exchanged=e)
                for e in (False, True)
            ),
            strict=True,
        )
    )
    true, exchanged = ([values(q) for q in side] for side in zip(*pairs, strict=True))
    assert np.mean([t == e for t, e in zip(true, exchanged, strict=True)]) < 0.2
    assert all(
        [v == t[-1] for v in t] == [v == e[-1] for v in e]
        for t, e in zip(true, exchanged, strict=True)
    ), "copying stays right"


def test_attributes_without_a_known_value_are_not_asked_for(toy):
    def told(n):
        shown = [*["Lee"] * n, *[""] * (len(toy.dataset.items) - n)]
        return replace(toy.dataset, items=toy.dataset.items.assign(director=shown))

    config = load("toy").augment
    assert not len(attributes.prompts(told(0), config, 0))
    assert len(attributes.prompts(told(1), config, 0)) == len(toy.dataset.items) - 1
    assert not list(attributes.questions(told(1), config, True, 0)), (
        "its own value is never an example"
    )
