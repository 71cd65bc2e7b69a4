"""Uniform negatives: items that the user has not interacted with in training (LO6, LO18)."""

from __future__ import annotations

import numpy as np

from raypipe.backbones.contract import FitData

#: bytes of the table in which a pair is looked up first, a hundred times faster than by search; a
#: prime, so that the remainders of codes spread evenly
SLOTS = 2**27 - 39


class Negatives:
    """Draws negatives by rejection of the training pairs, held as codes user * I + item.

    Backbones over texts draw only among the items of the training rows. Otherwise they would learn
    to rank cold-start items last.

    Each pair marks a byte. If there are more possible pairs than bytes, a code that meets a marked
    byte is searched among the codes.
    """

    def __init__(self, data: FitData) -> None:
        self.n_items = data.n_items
        self.pool = None if data.texts is None else np.unique(data.item)
        codes = data.user * data.n_items + data.item
        self.slots = min(data.n_users * data.n_items, SLOTS)
        self.taken = np.zeros(self.slots, dtype=bool)
        self.shared = self.slots < data.n_users * data.n_items
        self.taken[codes % self.slots if self.shared else codes] = True
        self.codes = np.unique(codes) if self.shared else codes

    def known(self, code: np.ndarray) -> np.ndarray:
        """Whether each code is a training pair."""
        if not self.shared:
            return self.taken[code]
        is_pair = self.taken[code % self.slots]
        marked = np.flatnonzero(is_pair)
        index = np.minimum(np.searchsorted(self.codes, code[marked]), len(self.codes) - 1)
        is_pair[marked] = self.codes[index] == code[marked]
        return is_pair

    def draw(self, user_B: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """[B, count] items.

        After 20 draws, a user with nearly all items may keep one from training.
        """
        drawn = self._any(rng, (len(user_B), count))
        flat, base = drawn.reshape(-1), np.repeat(user_B, count) * self.n_items
        again = np.flatnonzero(self.known(base + flat))
        for _ in range(20):
            if not len(again):
                break
            flat[again] = self._any(rng, (len(again),))
            again = again[self.known(base[again] + flat[again])]
        return drawn

    def _any(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if self.pool is None:
            return rng.integers(0, self.n_items, shape)
        return self.pool[rng.integers(0, len(self.pool), shape)]
