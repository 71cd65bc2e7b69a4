"""Uniform negatives: items that the user has not interacted with in training (LO6, LO18)."""

from __future__ import annotations

import numpy as np

from raypipe.backbones.contract import FitData

#: up to so many user-item pairs a byte is kept for each: looking one up is then a hundred times faster than searching
BYTES = 2**27


class Negatives:
    """Draws un-interacted items by rejection against the training pairs, held as codes user * I + item."""

    def __init__(self, data: FitData) -> None:
        self.n_items = data.n_items
        codes = data.user * data.n_items + data.item
        self.taken: np.ndarray | None = None
        if data.n_users * data.n_items <= BYTES:
            self.taken = np.zeros(data.n_users * data.n_items, dtype=bool)
            self.taken[codes] = True
        else:
            self.codes = np.unique(codes)

    def known(self, code: np.ndarray) -> np.ndarray:
        """Whether each code is a training pair."""
        if self.taken is not None:
            return self.taken[code]
        at = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
        return self.codes[at] == code

    def draw(self, user_B: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """[B, count] items; a user who has taken nearly everything may keep a known one after 20 tries."""
        drawn = rng.integers(0, self.n_items, (len(user_B), count))
        flat, base = drawn.reshape(-1), np.repeat(user_B, count) * self.n_items
        again = np.flatnonzero(self.known(base + flat))
        for _ in range(20):
            if not len(again):
                break
            flat[again] = rng.integers(0, self.n_items, len(again))
            again = again[self.known(base[again] + flat[again])]
        return drawn
