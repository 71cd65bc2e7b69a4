"""Listwise re-ranking (L16 to L18, Figure 3): rank the candidates from the user's history.

The parts of the paper's prompt in another order: what the recommender offers comes first and the history last, so that the most
recent items stand next to the question. Where an engine can answer by nothing but a candidate's title, the candidates are not
named: to the embedded LLM a list of them between the user's history and the question is so much noise. The ranking is read from
the probabilities of the first answer token, as in FIRST (Reddy et al., EMNLP 2024): one step ranks all candidates, and no title
can be left out, repeated or invented (LO23).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raypipe.prompts.contract import (
    Completion,
    Person,
    Rejected,
    Rendered,
    Style,
    Words,
    choices,
    history,
    log_probabilities,
    quoted,
)


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt that asks for the next of `titles`; payload: their item ids."""
    listed, options = choices(titles, style)
    parts = [f"Choose the {words.noun} that the user takes next."] if listed else []
    if person.similar:
        parts.append(f"A similar user {words.verb} {quoted(person.similar)}.")
    if person.hint:
        parts.append(f"Another recommender suggests {quoted(person.hint)}.")
    if listed:
        parts.append(f"Candidates: {listed}.")
    parts.append(f"{history(words, person.history)}. Answer:")
    return Rendered(" ".join(parts), options, tuple(payload))


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> list[tuple[str, float]] | Rejected:
    """Item ids with their log-probability, best first; equal ones keep the order of the candidates."""
    values = log_probabilities(completion, options)
    if isinstance(values, Rejected):
        return values
    return [(payload[i], float(values[i])) for i in np.argsort(-values, kind="stable")]
