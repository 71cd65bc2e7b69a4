"""Listwise re-ranking in writing, as the paper has it (L16 to L18): the prompt of listwise_logprobs.py, and an answer that names candidates
one after the other, best first.

The answer is under a grammar, so that nothing but a candidate can be named, though one may be named again: its first place counts,
and those that are not named follow in the conventional order (LO23).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words
from raypipe.prompts.templates import listwise_logprobs

#: candidates that are named; the k' of the paper (L24)
PLACES = 10

_SPECIAL = re.compile(r"([\\.^$*+?{}\[\]|()])")


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt that asks for the best of `titles` in order; options: the form of the answer, then each candidate's; payload: their
    item ids.
    """
    made = listwise_logprobs.render(words, person, titles, payload, style)
    one = "|".join(_SPECIAL.sub(r"\\\1", option) for option in dict.fromkeys(made.options))
    form = f"({one})(,({one})){{{min(PLACES, len(titles)) - 1}}}"
    return Rendered(made.text, made.options, made.payload, "form", form)


def named(answer: str, options: Sequence[str]) -> list[str]:
    """The options that an answer names in its order, repeated ones as often; an end that was cut off names none."""
    known = sorted({option.strip() for option in options}, key=len, reverse=True)
    one = re.compile(rf"\s*({'|'.join(map(re.escape, known))})\s*(?:,|$)")
    found, at = [], 0
    while match := one.match(answer, at):
        found.append(match[1])
        at = match.end()
    return found


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> list[tuple[str, float]] | Rejected:
    """Item ids with minus their place; all that were not named share the place behind the last.

    Rejected: no_answer, where no candidate is named.
    """
    order = list(dict.fromkeys(named(completion.answer, options)))
    if not order:
        return Rejected("no_answer")
    place = {option: -float(n) for n, option in enumerate(order, 1)}
    return [
        (item, place.get(o.strip(), -1.0 - len(order)))
        for o, item in zip(options, payload, strict=True)
    ]
