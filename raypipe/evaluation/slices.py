"""Slices of users, for example by history length.

The tail, users with short histories, is where the paper claims that the LLM helps most (L4).
"""

from __future__ import annotations

import numpy as np

NAMES = ("tail", "middle", "head")


def thirds(value_U: np.ndarray) -> np.ndarray:
    """[U] 0, 1 or 2: whether a user's value lies in the lowest, middle or highest third.

    Equal values fall into the same third.
    """
    low, high = np.quantile(value_U, [1 / 3, 2 / 3])
    return (value_U > low).astype(int) + (value_U > high).astype(int)
