"""Rating prediction, and pointwise re-ranking (L16, L22, L25): predict the user's rating of one
target.

The answer is the mean of the rating levels under the model's probabilities, which is the prediction
of least squared error; the target stands last, so that the prompts of one user share their
beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raypipe.prompts.contract import (
    LABELS,
    Completion,
    Person,
    Rejected,
    Rendered,
    Words,
    log_probabilities,
    rated,
    rated_history,
)


def levels_of(low: float, high: float) -> tuple[int, ...]:
    """The whole numbers of a rating scale."""
    return tuple(range(int(np.floor(low)), int(np.ceil(high)) + 1))


def render(words: Words, person: Person, target: str, levels: Sequence[int]) -> Rendered:
    """A prompt for the rating of `target` on the scale `levels`; two-digit scales are answered by
    letter.
    """
    digits = all(0 <= level <= 9 for level in levels)
    answers = [str(level) for level in levels] if digits else list(LABELS[: len(levels)])
    parts = []
    if person.similar:
        ratings = rated(person.similar, person.similar_ratings)
        parts.append(f"A user with similar taste gave these ratings: {ratings}.")
    parts.append(rated_history(words, person.history, person.ratings))
    if not digits:
        scale = zip(answers, levels, strict=True)
        parts.append(f"Scale: {', '.join(f'{answer} means {level}' for answer, level in scale)}.")
    if person.hint_rating is not None:
        parts.append(f"A recommender system predicts a rating of {person.hint_rating:.1f}.")
    parts.append(
        f'Which rating from {levels[0]} to {levels[-1]} will the user give "{target}"? Answer:'
    )
    options = tuple(f" {answer}" for answer in answers)
    return Rendered(" ".join(parts), options, tuple(map(str, levels)))


def parse(
    completion: Completion, options: Sequence[str], payload: Sequence[str]
) -> float | Rejected:
    """The expected rating."""
    values = log_probabilities(completion, options)
    if isinstance(values, Rejected):
        return values
    weight = np.exp(values - values.max())
    return float((weight * np.array([float(p) for p in payload])).sum() / weight.sum())
