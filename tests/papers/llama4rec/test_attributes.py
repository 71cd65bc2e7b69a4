"""Prompts about item attributes, and their judge."""

from dataclasses import replace

import numpy as np

from raypipe.data.config import DataConfig
from raypipe.data.dataset import true_attributes
from raypipe.papers.llama4rec import attributes
from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.instructions import attribute_instructions
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import (
    attribute,
    judge,
)


def test_the_judge_reads_the_true_value_where_it_is_known():
    claim = judge.Claim("director", "Scott", "R. Scott")
    prompt = judge.render("film", "Alien", "genre: horror", claim)
    assert prompt.mode == "write" and prompt.text == (
        'Claim: the director of the film "Alien" is Scott. What is known about it: genre: horror. '
        "A reference says that the director is R. Scott. Is the claim correct? "
        "Answer yes or no."
    )
    assert "reference" not in judge.render("film", "Alien", "", claim._replace(truth=None)).text
    verdicts = {
        "Yes.": "correct",
        "no": "not correct",
        "I know nothing": Rejected("not_an_option"),
        " ": Rejected("no_answer"),
    }
    assert {answer: judge.parse(Completion(answer, ())) for answer in verdicts} == verdicts


def test_worked_examples_are_similar_items_and_never_the_item_itself(toy):
    config = load("toy").augment
    items = toy.dataset.items.set_index("item_id")
    for has_value in (False, True):
        questions = list(attributes.questions(toy.dataset, config, has_value, 0))
        assert {q.item_id for q in questions} == set(
            items.index[(items["director"] != "") == has_value]
        )
        for q in questions:
            *shown, question = q.prompt.text.split("\n")
            assert len(shown) == config.examples and question == attribute.line(
                *items.loc[q.item_id, ["title", "text"]], "director"
            )
            assert all(line.rpartition(" ")[2] in items["director"].unique() for line in shown)
            assert not any(line.startswith(f'"{items.loc[q.item_id, "title"]}"') for line in shown)
            assert set(q.prompt.payload) == {line.rpartition(" ")[2] for line in shown} | {
                attribute.UNKNOWN
            }, "the options are the values of the examples, and unknown"
            assert (q.value == items.loc[q.item_id, "director"]) and (q.value != "") == has_value
    truth = true_attributes(
        DataConfig(name="toy", options={"users": 60, "items": 72, "mean_length": 12})
    )["director"]

    def right(retrieval):
        settings = config.model_copy(update={"retrieval": retrieval})
        questions = attributes.questions(toy.dataset, settings, False, 0)
        return np.mean(
            [q.prompt.text.split("\n")[-2].endswith(truth[q.item_id]) for q in questions]
        )

    assert right(True) > 3 * right(False), (
        "a film of the same saga is the example next to the question"
    )
    changed = load("toy", {"llm.tune.instructions": 1000})
    instructions = attribute_instructions(toy.dataset, changed, 0)
    assert (
        len(instructions) == 2 * (items["director"] != "").sum()
        and instructions["request_id"].is_unique
    )
    assert {a.strip() for a in instructions["answer"]} <= set(items["director"])
    assert (
        len(attribute_instructions(toy.dataset, load("toy", {"llm.tune.instructions": 20}), 0))
        == 10
    )

    def values(question):
        return [line.rpartition(" ")[2] for line in question.prompt.text.split("\n")[:-1]] + [
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
    true, exchanged = ([values(q) for q in group] for group in zip(*pairs, strict=True))
    assert np.mean([t == e for t, e in zip(true, exchanged, strict=True)]) < 0.2
    assert all(
        [v == t[-1] for v in t] == [v == e[-1] for v in e]
        for t, e in zip(true, exchanged, strict=True)
    ), "after the exchange, copying from the same examples is still right"


def test_an_attribute_without_any_known_value_gets_no_prompt(toy):
    def with_directors(n):
        directors = [*["Lee"] * n, *[""] * (len(toy.dataset.items) - n)]
        return replace(toy.dataset, items=toy.dataset.items.assign(director=directors))

    config = load("toy").augment
    assert not len(attributes.prompts(with_directors(0), config, 0))
    assert len(attributes.prompts(with_directors(1), config, 0)) == len(toy.dataset.items) - 1
    assert not list(attributes.questions(with_directors(1), config, True, 0)), (
        "the only known value is not an example for its own item"
    )
