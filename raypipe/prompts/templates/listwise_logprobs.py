"""Listwise re-ranking (L16 to L18, Figure 3): rank the candidates from the user's history.

The prompt has the parts of the paper's prompt in another order: what the recommender suggests comes
first and the history last, so that the most recent items stand next to the question. Where the
engine allows only titles of candidates as answers, the prompt does not name the candidates: the
embedded LLM ranks worse with a list of them between history and question. The ranking is read from
the probabilities of the first answer token, as in FIRST (Reddy et al., EMNLP 2024): one step ranks
all candidates, and no title can be left out, repeated or invented (LO23).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from raypipe.prompts import contract
from raypipe.prompts.contract import Completion, Person, Rejected, Rendered, Style, Words


def question(words: Words, has_candidates: bool) -> str:
    """The question; language-modelling reads the same one after a history."""
    group = "of the candidates" if has_candidates else words.noun
    return f"Which {group} will the user {words.verb_base} next?"


def render(
    words: Words, person: Person, titles: Sequence[str], payload: Sequence[str], style: Style
) -> Rendered:
    """A prompt that asks for the next of `titles`; payload: their item ids."""
    return contract.choice(words, person, titles, payload, style, partial(question, words))


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> list[tuple[str, float]] | Rejected:
    """Item ids with their log-probability, best first; ties keep the order of the candidates."""
    values = contract.log_probabilities(completion, options)
    if isinstance(values, Rejected):
        return values
    return [(payload[i], float(values[i])) for i in np.argsort(-values, kind="stable")]
