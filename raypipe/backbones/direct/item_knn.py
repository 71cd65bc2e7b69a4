"""ItemKNN: Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001.

s_ij = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink); an item's score is the sum of its likeness to the user's items, each item
keeping its `neighbours` nearest.

Deviations: the shrinkage is Bell and Koren's (2007).
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy import sparse

from raypipe.backbones import closed_form, contract


class Options(closed_form.Options):
    """Hyper-parameters of ItemKNN; defaults by search (docs/backbones.md)."""

    neighbours: int = Field(400, ge=1)
    shrink: float = Field(4.7, ge=0)


class Model(closed_form.ClosedRanker):
    """Cosine between items; the neighbours are kept as [I, K] numbers and likeness, never as I x I."""

    options: Options
    near: torch.Tensor
    like: torch.Tensor

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        k = min(options.neighbours, data.n_items)
        near, like = (
            np.zeros((data.n_items, k), dtype=np.int64),
            np.zeros((data.n_items, k), dtype=np.float32),
        )
        columns = self.rows.tocsc()
        root = np.sqrt(np.asarray(columns.sum(0)).ravel())
        for first in range(0, data.n_items, 512):
            of = slice(first, min(first + 512, data.n_items))
            together = (columns[:, of].T @ self.rows).toarray()
            value = together / (root[of, None] * root[None, :] + options.shrink + 1e-9)
            value[np.arange(len(value)), np.arange(of.start, of.stop)] = 0
            best = np.argpartition(-value, k - 1, axis=1)[:, :k]
            near[of], like[of] = best, np.take_along_axis(value, best, 1)
        self.register_buffer("near", torch.from_numpy(near))
        self.register_buffer("like", torch.from_numpy(like))

    def begin_scoring(self) -> None:
        start = np.arange(self.n_items + 1) * self.near.shape[1]
        near, like = self.near.cpu().numpy().ravel(), self.like.cpu().numpy().ravel()
        self._to_user = sparse.csr_matrix(
            (like, near, start), shape=(self.n_items, self.n_items)
        ).T.tocsr()

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy((self.interactions(user_B) @ self._to_user).toarray()).to(
            self.device
        )
