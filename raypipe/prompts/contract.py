"""What a prompt template is: a file in templates/ with `render` and `parse` side by side.

Every prompt ends with a stem such as "Answer:", and every option is the text that may follow it,
leading space included. An engine either scores the options by the log-probability of their first
token (mode "score") or writes one of them, constrained (mode "choose"), so an answer outside the
options cannot be made; or it writes what the one option, a regular expression, allows (mode
"form"). Only endpoints, which allow none of it, write freely (mode "write"). A parser answers, or
names why it rejects; it never guesses.

Text only: neither ids nor embeddings enter a prompt (L13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

#: title: an answer is one of the candidates' titles, which are not named in the prompt; listed:
#: they are; label: a letter for each
Style = Literal["title", "listed", "label"]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Rendered(NamedTuple):
    """A prompt: its text, the allowed continuations, what each stands for (an item id, a value),
    the engine's mode, and in mode "form" the regular expression of the answer.
    """

    text: str
    options: tuple[str, ...]
    payload: tuple[str, ...]
    mode: Literal["score", "choose", "form", "write"] = "score"
    pattern: str = ""


class Completion(NamedTuple):
    """An engine's answer: the text, and the log-probability of each option (empty in mode
    "choose").
    """

    answer: str
    logprobs: Sequence[float]


class Rejected(NamedTuple):
    """An answer that cannot be used, and its kind: no_answer, not_an_option, repeated, left_out."""

    kind: str


#: base forms of past forms that do not just add "ed"
BASE_FORMS = {
    "ate": "eat",
    "bought": "buy",
    "browsed": "browse",
    "chose": "choose",
    "heard": "hear",
    "liked": "like",
    "purchased": "purchase",
    "read": "read",
    "saw": "see",
    "took": "take",
    "used": "use",
    "wore": "wear",
}


@dataclass(frozen=True)
class Words:
    """How the dataset speaks of its items: noun "film", verb "watched"."""

    noun: str
    verb: str

    @property
    def nouns(self) -> str:
        return f"{self.noun}s"

    @property
    def verb_base(self) -> str:
        """The verb after "will": watch, read."""
        if self.verb in BASE_FORMS:
            return BASE_FORMS[self.verb]
        return self.verb.removesuffix("ed")


@dataclass(frozen=True)
class Person:
    """The user's side of a prompt, as text.

    Args:
        history: titles, oldest first, most recent last.
        ratings: the ratings of `history`, where a prompt shows them.
        similar, similar_ratings: the same of the most similar user (L14); empty for a prompt
            without augmentation.
        hint: titles in the conventional model's order (L15); empty for a prompt without
            augmentation.
        hint_rating: the conventional model's predicted rating.
    """

    history: Sequence[str]
    ratings: Sequence[float] = ()
    similar: Sequence[str] = ()
    similar_ratings: Sequence[float] = ()
    hint: Sequence[str] = field(default_factory=tuple)
    hint_rating: float | None = None


def quoted(titles: Sequence[str]) -> str:
    """Titles as a running list: "A", "B"."""
    return ", ".join(f'"{t}"' for t in titles)


def rated(titles: Sequence[str], ratings: Sequence[float]) -> str:
    """Titles with their ratings: "A": 4, "B": 2."""
    return ", ".join(f'"{t}": {r:g}' for t, r in zip(titles, ratings, strict=True))


def history(words: Words, titles: Sequence[str]) -> str:
    """The sentence about the user's history; language-modelling reads the same sentence."""
    return f"The user {words.verb} these {words.nouns}, oldest first: {quoted(titles)}."


def rated_history(words: Words, titles: Sequence[str], ratings: Sequence[float]) -> str:
    """The sentence about a rating history; language-modelling reads the same sentence."""
    return f"The user rated these {words.nouns}, oldest first: {rated(titles, ratings)}."


class Choices(NamedTuple):
    """Candidates as text ("" in style "title"), and the option that stands for each."""

    text: str
    options: tuple[str, ...]


def choices(titles: Sequence[str], style: Style) -> Choices:
    """Candidates as a prompt names them: not at all, by quoted title, or by letter.

    Raises:
        ValueError: there are more candidates than letters.
    """
    if style != "label":
        options = tuple(f' "{title}"' for title in titles)
        return Choices(quoted(titles) if style == "listed" else "", options)
    if len(titles) > len(LABELS):
        raise ValueError(
            f"{len(titles)} candidates are more than the {len(LABELS)} labels; lower rerank.k_prime"
        )
    letters = LABELS[: len(titles)]
    named = [f'({letter}) "{title}"' for letter, title in zip(letters, titles, strict=True)]
    return Choices(", ".join(named), tuple(f" {letter}" for letter in letters))


def choice_prompt(words: Words, person: Person, candidates: Choices, question: str) -> str:
    """A prompt about candidates: what is known of others, the candidates, the history, the
    question.

    The history stands next to the question, so that the most recent items are the nearest.
    """
    parts = []
    if person.similar:
        parts.append(f"A user with similar taste {words.verb} {quoted(person.similar)}.")
    if person.hint:
        parts.append(f"A recommender system suggests {quoted(person.hint)}.")
    if candidates.text:
        parts.append(f"Candidates: {candidates.text}.")
    parts += [history(words, person.history), question, "Answer:"]
    return " ".join(parts)


def choice(
    words: Words,
    person: Person,
    titles: Sequence[str],
    payload: Sequence[str],
    style: Style,
    question: Callable[[bool], str],
) -> Rendered:
    """A prompt whose options are candidates.

    Args:
        payload: what each title stands for, such as its item id.
        question: the question, given whether the prompt names the candidates.
    """
    candidates = choices(titles, style)
    text = choice_prompt(words, person, candidates, question(bool(candidates.text)))
    return Rendered(text, candidates.options, tuple(payload))


def log_probabilities(completion: Completion, options: Sequence[str]) -> np.ndarray | Rejected:
    """[options] log-probabilities, or the reason why there are none."""
    if len(completion.logprobs) != len(options):
        return Rejected("no_answer")
    values = np.asarray(completion.logprobs, dtype=float)
    return values if np.isfinite(values).all() else Rejected("no_answer")


def best_option(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> str | Rejected:
    """The payload of the most probable option, the first among equals; or of the option that was
    written.
    """
    if len(completion.logprobs):
        values = log_probabilities(completion, options)
        return values if isinstance(values, Rejected) else payload[int(values.argmax())]
    if not completion.answer.strip():
        return Rejected("no_answer")
    stripped = [o.strip() for o in options]
    if completion.answer.strip() not in stripped:
        return Rejected("not_an_option")
    return payload[stripped.index(completion.answer.strip())]
