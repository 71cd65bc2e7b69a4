"""Slices of users by the length of their history: the tail is where the LLM is claimed to help (L4)."""

from __future__ import annotations

import numpy as np

NAMES = ("tail", "middle", "head")


def by_length(length_U: np.ndarray) -> np.ndarray:
    """[U] 0, 1, 2 for the third of users with the shortest, middle and longest histories; equal lengths stay together."""
    low, high = np.quantile(length_U, [1 / 3, 2 / 3])
    return (length_U > low).astype(int) + (length_U > high).astype(int)
