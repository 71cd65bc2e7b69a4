"""P_2, pick one of t (L8): which un-interacted item of the list would the user most probably prefer?"""

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
    """A prompt over t titles; payload: their item ids."""
    listed, options = choices(titles, style)
    asked = f"Choose one {words.noun} for the user. Candidates: {listed}. " if listed else ""
    return Rendered(f"{asked}{history(words, person.history)}. Answer:", options, tuple(payload))


def parse(completion: Completion, options: Sequence[str], payload: Sequence[str]) -> str | Rejected:
    """The picked item id."""
    return best_option(completion, options, payload)
