"""Random streams by name.

A stream depends on the seed and its name only. User 17 therefore gets the same numbers on any
worker and in any order.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed for the stream `names` under `seed`. Different names, independent streams."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the stream `names` under `seed`."""
    return np.random.default_rng(derive(seed, *names))


def uniform(seed: int, *names: object) -> float:
    """A number in [0, 1) that depends on `seed` and `names` only."""
    return derive(seed, *names) / 2**63
