"""Shared by direct models without gradient descent: the interaction matrix and similar users.

The constructor computes the whole model from the training rows, so the loop ends after one epoch
without a step. Preference pairs of the LLM are not used, because a closed form has no loss for
them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from scipy import sparse

from raypipe.backbones import contract
from raypipe.seeding import generator

#: width of the random projection of a user's history
SKETCH = 256


class Options(contract.Options):
    """Hyper-parameters of closed-form models; those of the training loop have no effect."""

    epochs: int = Field(1, ge=1, le=1)


class ClosedRanker(contract.Ranker):
    """A direct model whose scores are a formula of the training rows."""

    task = "direct"

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        ones = np.ones(len(data.user), dtype=np.float32)
        self.rows = sparse.csr_matrix(
            (ones, (data.user, data.item)), shape=(data.n_users, data.n_items)
        )
        self.rows.data[:] = 1.0  # a pair counts once

    def batches(
        self, data: contract.FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        return iter(())

    def interactions(self, user_B: torch.Tensor) -> sparse.csr_matrix:
        """[B, I] training rows of some users."""
        return self.rows[user_B.cpu().numpy()]

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """[U, 256] random projections of the histories; they preserve cosines approximately."""
        signs = generator(0, "sketch").choice(
            np.array([-1.0, 1.0], dtype=np.float32), (self.n_items, SKETCH)
        )
        return torch.from_numpy(np.asarray(self.rows @ signs))
