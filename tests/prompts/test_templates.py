"""Every template renders and parses."""

import re

import numpy as np
import pytest

from raypipe import plugins
from raypipe.prompts import templates
from raypipe.prompts.contract import Completion, Person, Rejected, Words
from raypipe.prompts.templates import (
    attribute,
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
        'A user with similar taste watched "S". A recommender system suggests "D", "C". '
        'Candidates: "C", "D". The user watched these films, oldest first: "A", "B". '
        "Which of the candidates will the user watch next? Answer:"
    )
    assert got.options == (' "C"', ' "D"') and got.payload == ("3", "4")
    bare = listwise_logprobs.render(FILM, person, ["C", "D"], ["3", "4"], "title")
    assert bare.text == (
        'A user with similar taste watched "S". A recommender system suggests "D", "C". '
        'The user watched these films, oldest first: "A", "B". '
        "Which film will the user watch next? Answer:"
    ), "candidates that bind the answer are not named"
    assert bare.options == got.options


def test_listwise_without_augmentation_and_by_label():
    got = listwise_logprobs.render(FILM, Person(["A"]), ["C", "D"], ["3", "4"], "label")
    assert "similar" not in got.text and "recommender" not in got.text
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
        'A user with similar taste gave these ratings: "S": 5. '
        'The user rated these films, oldest first: "A": 4, "B": 2.5. '
        "A recommender system predicts a rating of 3.8. "
        'Which rating from 1 to 5 will the user give "T"? Answer:'
    )
    assert got.options == (" 1", " 2", " 3", " 4", " 5")


def test_pointwise_on_a_scale_to_ten_uses_letters():
    got = pointwise.render(FILM, Person(["A"], [7.0]), "T", tuple(range(1, 11)))
    assert got.options[-1] == " J" and "J means 10" in got.text and got.payload[-1] == "10"


def test_pointwise_parser_gives_the_expected_rating():
    # probabilities 0.25 and 0.75 of what is on the scale: 0.25 * 1 + 0.75 * 5
    got = pointwise.parse(Completion("", list(np.log([0.1, 0.3]))), (" 1", " 5"), ("1", "5"))
    assert got == pytest.approx(4.0)


def test_levels():
    assert pointwise.levels_of(0.5, 4.5) == (0, 1, 2, 3, 4, 5)


def test_pair():
    got = pair.render(FILM, Person(["A"]), ["X", "Y"], ["8", "9"], "listed")
    assert got.text == (
        'Candidates: "X", "Y". The user watched these films, oldest first: "A". '
        "Which of the two candidates would the user prefer? Answer:"
    )
    assert pair.parse(Completion("", [-3.0, -0.1]), got.options, got.payload) == ("9", "8")
    assert pair.parse(Completion(' "X"', []), got.options, got.payload) == ("8", "9")


def test_pick():
    got = pick.render(FILM, Person(["A"]), ["X", "Y", "Z"], ["7", "8", "9"], "label")
    assert '(C) "Z"' in got.text
    assert got.text.endswith("Which of the candidates would the user like best? Answer:")
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
    got = attribute.render([("A", "a war film", "Lee")], ("T", "", "5"), "director", ["Lee", "Ray"])
    assert got.text == '"A"; a war film; director: Lee\n"T"; director:'
    assert got.options == (" Lee", " Ray", " unknown") and got.mode == "choose"
    assert attribute.parse(Completion(" Ray", []), got.options, got.payload) == "Ray"
    rejected = attribute.parse(Completion(" Kim", []), got.options, got.payload)
    assert rejected == Rejected("not_an_option")


def test_every_template_has_a_renderer_and_a_parser():
    for name in plugins.names(templates):
        module = plugins.find(templates, name, "template")
        assert callable(module.render) and callable(module.parse)


def test_a_written_order_names_candidates_and_nothing_else():
    person = Person(["A"])
    titles = ["Alien (1979)", "Up", "It, again", "Up"]
    got = listwise_constrained.render(FILM, person, titles, ["1", "2", "3", "4"], "title")
    assert got.mode == "form" and got.text == (
        'The user watched these films, oldest first: "A". Which 4 films will the user most likely '
        "watch next? List them, the most likely first. Answer:"
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


def test_a_written_ranking_names_every_candidate_once():
    got = listwise_freeform.render(
        FILM, Person(["A"], hint=["D"]), ["C", "D", "E"], ["3", "4", "5"]
    )
    assert got.mode == "write" and got.options == (" A", " B", " C")
    assert got.text.endswith(
        '"A". Rank all candidates by how likely the user is to watch them next, the most likely '
        "first. Answer with their letters only, separated by commas. Answer:"
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
