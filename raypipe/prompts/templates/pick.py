"""P_2, pick one of t (L8): which un-interacted item of the list would the user most probably
prefer?
"""

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
    """A prompt over t titles; payload: their item ids."""
    candidates = choices(titles, style)
    asked = "of the candidates" if candidates.text else words.noun
    text = choice_prompt(words, person, candidates, f"Which {asked} would the user like best?")
    return Rendered(text, candidates.options, tuple(payload))


def parse(completion: Completion, options: Sequence[str], payload: Sequence[str]) -> str | Rejected:
    """The picked item id."""
    return best_option(completion, options, payload)
