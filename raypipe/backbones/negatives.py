"""Uniform negatives: items that the user has not interacted with in training (LO6, LO18)."""

from __future__ import annotations

import numpy as np

from raypipe.backbones.contract import FitData


class Negatives:
    """Draws un-interacted items by rejection against the sorted codes user * I + item of the training rows."""

    def __init__(self, data: FitData) -> None:
        self.n_items = data.n_items
        self.codes = np.unique(data.user * data.n_items + data.item)

    def draw(self, user_B: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """[B, count] items; a user who has taken nearly everything may keep a known one after 20 tries."""
        drawn = rng.integers(0, self.n_items, (len(user_B), count))
        for _ in range(20):
            code = user_B[:, None] * self.n_items + drawn
            at = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
            known = self.codes[at] == code
            if not known.any():
                break
            drawn[known] = rng.integers(0, self.n_items, int(known.sum()))
        return drawn
