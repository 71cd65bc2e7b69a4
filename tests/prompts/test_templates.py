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
    prompt = listwise_logprobs.render(FILM, person, ["C", "D"], ["3", "4"], "listed")
    assert prompt.text == (
        'A user with similar taste watched "S". A recommender system suggests "D", "C". '
        'Candidates: "C", "D". The user watched these films, oldest first: "A", "B". '
        "Which of the candidates will the user watch next? Answer:"
    )
    assert prompt.options == (' "C"', ' "D"') and prompt.payload == ("3", "4")
    bare = listwise_logprobs.render(FILM, person, ["C", "D"], ["3", "4"], "title")
    assert bare.text == (
        'A user with similar taste watched "S". A recommender system suggests "D", "C". '
        'The user watched these films, oldest first: "A", "B". '
        "Which film will the user watch next? Answer:"
    ), "titles that the engine enforces are not listed in the prompt"
    assert bare.options == prompt.options


def test_listwise_without_augmentation_and_by_label():
    prompt = listwise_logprobs.render(FILM, Person(["A"]), ["C", "D"], ["3", "4"], "label")
    assert "similar" not in prompt.text and "recommender" not in prompt.text
    assert 'Candidates: (A) "C", (B) "D".' in prompt.text
    assert prompt.options == (" A", " B")


def test_too_many_labels_are_refused():
    with pytest.raises(ValueError, match="27 candidates"):
        listwise_logprobs.render(
            FILM, Person(["A"]), [str(i) for i in range(27)], [str(i) for i in range(27)], "label"
        )


def test_listwise_parser_ranks_and_keeps_ties_in_order():
    ranking = listwise_logprobs.parse(
        Completion("", [-2.0, -1.0, -2.0]), (" a", " b", " c"), ("1", "2", "3")
    )
    assert ranking == [("2", -1.0), ("1", -2.0), ("3", -2.0)]


@pytest.mark.parametrize("logprobs", [[], [-1.0], [-1.0, float("nan")], [-1.0, float("-inf")]])
def test_missing_scores_are_rejected(logprobs):
    completion = Completion("", logprobs)
    assert listwise_logprobs.parse(completion, (" a", " b"), ("1", "2")) == Rejected("no_answer")
    assert pointwise.parse(completion, (" 1", " 2"), ("1", "2")) == Rejected("no_answer")


def test_pointwise_prompt():
    person = Person(["A", "B"], [4.0, 2.5], similar=["S"], similar_ratings=[5.0], hint_rating=3.84)
    prompt = pointwise.render(FILM, person, "T", (1, 2, 3, 4, 5))
    assert prompt.text == (
        'A user with similar taste gave these ratings: "S": 5. '
        'The user rated these films, oldest first: "A": 4, "B": 2.5. '
        "A recommender system predicts a rating of 3.8. "
        'Which rating from 1 to 5 will the user give "T"? Answer:'
    )
    assert prompt.options == (" 1", " 2", " 3", " 4", " 5")


def test_pointwise_on_a_scale_to_ten_uses_letters():
    prompt = pointwise.render(FILM, Person(["A"], [7.0]), "T", tuple(range(1, 11)))
    assert prompt.options[-1] == " J" and "J means 10" in prompt.text and prompt.payload[-1] == "10"


def test_pointwise_parser_gives_the_expected_rating():
    # normalized probabilities 0.25 and 0.75: 0.25 * 1 + 0.75 * 5
    rating = pointwise.parse(Completion("", list(np.log([0.1, 0.3]))), (" 1", " 5"), ("1", "5"))
    assert rating == pytest.approx(4.0)


def test_levels_of_a_rating_scale():
    assert pointwise.levels_of(0.5, 4.5) == (0, 1, 2, 3, 4, 5)


def test_pair_prompt_and_answers():
    prompt = pair.render(FILM, Person(["A"]), ["X", "Y"], ["8", "9"], "listed")
    assert prompt.text == (
        'Candidates: "X", "Y". The user watched these films, oldest first: "A". '
        "Which of the two candidates would the user prefer? Answer:"
    )
    assert pair.parse(Completion("", [-3.0, -0.1]), prompt.options, prompt.payload) == ("9", "8")
    assert pair.parse(Completion(' "X"', []), prompt.options, prompt.payload) == ("8", "9")


def test_pick_prompt_and_answers():
    prompt = pick.render(FILM, Person(["A"]), ["X", "Y", "Z"], ["7", "8", "9"], "label")
    assert '(C) "Z"' in prompt.text
    assert prompt.text.endswith("Which of the candidates would the user like best? Answer:")
    assert pick.parse(Completion("", [-3.0, -2.0, -0.1]), prompt.options, prompt.payload) == "9"


@pytest.mark.parametrize(
    "answer,kind",
    [("", "no_answer"), (' "Q"', "not_an_option"), (' "X" and more', "not_an_option")],
)
def test_written_answers_outside_the_options_are_rejected(answer, kind):
    for template in (pair, pick):
        assert template.parse(Completion(answer, []), (' "X"', ' "Y"'), ("1", "2")) == Rejected(
            kind
        )


def test_attribute_prompt_and_answers():
    prompt = attribute.render(
        [("A", "a war film", "Lee")], ("T", "", "5"), "director", ["Lee", "Ray"]
    )
    assert prompt.text == '"A"; a war film; director: Lee\n"T"; director:'
    assert prompt.options == (" Lee", " Ray", " unknown") and prompt.mode == "choose"
    assert attribute.parse(Completion(" Ray", []), prompt.options, prompt.payload) == "Ray"
    rejected = attribute.parse(Completion(" Kim", []), prompt.options, prompt.payload)
    assert rejected == Rejected("not_an_option")


def test_every_template_has_a_renderer_and_a_parser():
    for name in plugins.names(templates):
        module = plugins.find(templates, name, "template")
        assert callable(module.render) and callable(module.parse)


def test_a_constrained_ranking_names_candidates_only():
    person = Person(["A"])
    titles = ["Alien (1979)", "Up", "It, again", "Up"]
    prompt = listwise_constrained.render(FILM, person, titles, ["1", "2", "3", "4"], "title")
    assert prompt.mode == "form" and prompt.text == (
        'The user watched these films, oldest first: "A". Which 4 films will the user most likely '
        "watch next? List them, the most likely first. Answer:"
    )
    form, options = prompt.pattern, list(prompt.options)
    assert options == [' "Alien (1979)"', ' "Up"', ' "It, again"', ' "Up"']
    answer = ' "Up", "It, again", "Up", "Alien (1979)"'
    assert (
        re.fullmatch(form, answer)
        and not re.fullmatch(form, ' "Up"')
        and not re.fullmatch(form, answer.replace("Up", "Down"))
    )
    assert len(re.findall("Up", form)) == 2, "the grammar has equal titles once"
    assert listwise_constrained.named(answer, options) == [
        '"Up"',
        '"It, again"',
        '"Up"',
        '"Alien (1979)"',
    ]

    def parse(answer):
        return listwise_constrained.parse(Completion(answer, ()), prompt.options, prompt.payload)

    # a title that two items have stands for both, and keeps its first place
    assert parse(answer) == [("1", -3.0), ("2", -1.0), ("3", -2.0), ("4", -1.0)]
    assert parse(' "It, again", "Al') == [("1", -2.0), ("2", -2.0), ("3", -1.0), ("4", -2.0)], (
        "an incomplete title at the end does not count"
    )
    assert parse("") == parse("I would say Up") == Rejected("no_answer")
    letters = listwise_constrained.render(
        FILM, person, [f"film {n}" for n in range(12)], [str(n) for n in range(12)], "label"
    )
    assert letters.pattern.endswith("{9}") and listwise_constrained.named(
        " C, A", letters.options
    ) == ["C", "A"]


def test_a_freeform_ranking_names_every_candidate_once():
    prompt = listwise_freeform.render(
        FILM, Person(["A"], hint=["D"]), ["C", "D", "E"], ["3", "4", "5"]
    )
    assert prompt.mode == "write" and prompt.options == (" A", " B", " C")
    assert prompt.text.endswith(
        '"A". Rank all candidates by how likely the user is to watch them next, the most likely '
        "first. Answer with their letters only, separated by commas. Answer:"
    )
    assert 'Candidates: (A) "C", (B) "D", (C) "E".' in prompt.text and 'suggests "D"' in prompt.text

    def parse(answer):
        return listwise_freeform.parse(Completion(answer, ()), prompt.options, prompt.payload)

    assert parse("C, A, B") == [("5", -1.0), ("3", -2.0), ("4", -3.0)]
    assert parse("I would say:\n(B) > (C) > (A).") == [("4", -1.0), ("5", -2.0), ("3", -3.0)]
    assert parse("A I cannot tell") == Rejected("no_answer")
    assert parse("A, B, D") == Rejected("not_an_option")
    assert parse("A, B, A") == Rejected("repeated")
    assert parse("A, B") == Rejected("left_out")
