"""P_2, pick one of t (L8): which un-interacted item of the list would the user most probably
prefer?
"""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.prompts import contract
from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt over t titles; payload: their item ids."""

    def question(names_candidates: bool) -> str:
        group = "of the candidates" if names_candidates else words.noun
        return f"Which {group} would the user like best?"

    return contract.choice(words, person, titles, payload, style, question)


def parse(completion: Completion, options: Sequence[str], payload: Sequence[str]) -> str | Rejected:
    """The picked item id."""
    return contract.best_option(completion, options, payload)
