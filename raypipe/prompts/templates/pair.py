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
    choices,
    history,
)


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt over two titles; payload: their item ids."""
    listed, options = choices(titles, style)
    asked = f"Choose the {words.noun} that the user prefers. The two: {listed}. " if listed else ""
    return Rendered(f"{asked}{history(words, person.history)}. Answer:", options, tuple(payload))


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> tuple[str, str] | Rejected:
    """(preferred, other) item ids."""
    best = best_option(completion, options, payload)
    if isinstance(best, Rejected):
        return best
    return best, next(p for p in payload if p != best)
