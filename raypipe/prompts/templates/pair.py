"""P_1, pair preference (L6): which of two un-interacted items would the user prefer?"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts import contract
from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt over two titles; payload: their item ids."""

    def question(names_candidates: bool) -> str:
        group = "of the two candidates" if names_candidates else words.noun
        return f"Which {group} would the user prefer?"

    return contract.choice(words, person, titles, payload, style, question)


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> tuple[str, str] | Rejected:
    """(preferred, other) item ids."""
    best = contract.best_option(completion, options, payload)
    if isinstance(best, Rejected):
        return best
    return best, next(p for p in payload if p != best)
