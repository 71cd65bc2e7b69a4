"""P_1, pair preference (L6): which of two un-interacted items would the user prefer?"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts.contract import (
    Completion,
    Person,
    Rejected,
    Rendered,
    Style,
    Words,
    best_option,
    choice_prompt,
    choices,
)


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt over two titles; payload: their item ids."""
    candidates = choices(titles, style)
    asked = "of the two candidates" if candidates.text else words.noun
    text = choice_prompt(words, person, candidates, f"Which {asked} would the user prefer?")
    return Rendered(text, candidates.options, tuple(payload))


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> tuple[str, str] | Rejected:
    """(preferred, other) item ids."""
    best = best_option(completion, options, payload)
    if isinstance(best, Rejected):
        return best
    return best, next(p for p in payload if p != best)
