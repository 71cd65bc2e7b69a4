"""Slices of users, by the length of their history (the tail is where the LLM is claimed to help, L4) or any other number."""

from __future__ import annotations

import numpy as np

NAMES = ("tail", "middle", "head")


def thirds(value_U: np.ndarray) -> np.ndarray:
    """[U] 0, 1, 2 for the third of users with the smallest, middle and largest values; equal values stay together."""
    low, high = np.quantile(value_U, [1 / 3, 2 / 3])
    return (value_U > low).astype(int) + (value_U > high).astype(int)
