"""Random streams by name: user 17 draws the same numbers whichever worker serves it, and in whatever order."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed for the stream `names` under `seed`; distinct names give independent streams."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A numpy generator for the stream `names` under `seed`."""
    return np.random.default_rng(derive(seed, *names))


def uniform(seed: int, *names: object) -> float:
    """A number in [0, 1) that belongs to `names` under `seed`, whatever else is drawn."""
    return derive(seed, *names) / 2**63
