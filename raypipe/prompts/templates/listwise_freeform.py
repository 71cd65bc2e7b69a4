"""Listwise re-ranking in writing, for a model whose probabilities cannot be read: the prompt of
listwise_logprobs.py by letter, and an answer that names all letters, best first (Figure 7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from raypipe.prompts import contract
from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words

#: letters with separators between them, as a line of an answer
LINE = re.compile(r"\(?[A-Z]\)?(?:\s*[,>;]\s*\(?[A-Z]\)?)+")


def render(
    words: Words,
    person: Person,
    titles: Sequence[str],
    payload: Sequence[str],
    style: Style = "label",
) -> Rendered:
    """A prompt that asks for an order of `titles`, always by letter; payload: their item ids."""
    question = (
        f"Rank all candidates by how likely the user is to {words.verb_base} them next, "
        "the most likely first. Answer with their letters only, separated by commas."
    )
    prompt = contract.choice(words, person, titles, payload, "label", lambda _: question)
    return prompt._replace(mode="write")


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> list[tuple[str, float]] | Rejected:
    """Item ids with minus their position, best first.

    Rejected: no_answer; not_an_option, a letter that no candidate has; repeated; left_out, where
        candidates are not named.
    """
    lines = LINE.findall(completion.answer)
    if not lines:
        return Rejected("no_answer")
    letters = re.findall("[A-Z]", max(lines, key=len))
    known = {option.strip(): item for option, item in zip(options, payload, strict=True)}
    if not set(letters) <= set(known):
        return Rejected("not_an_option")
    if len(set(letters)) < len(letters):
        return Rejected("repeated")
    if len(letters) < len(known):
        return Rejected("left_out")
    return [(known[letter], -float(place)) for place, letter in enumerate(letters, 1)]
