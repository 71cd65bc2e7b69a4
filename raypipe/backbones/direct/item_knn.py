"""ItemKNN: Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001.

s_ij = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink). An item's score is the sum of its similarities
to the user's items, where each item keeps its `neighbours` most similar ones.

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

    neighbours: int = Field(400, ge=1, description="similar items kept per item")
    shrink: float = Field(4.7, ge=0, description="shrinkage of the similarity of rare items")


class Model(closed_form.ClosedRanker):
    """Cosine between items. The neighbours are stored as [I, K] row numbers and similarities."""

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
            block = slice(first, min(first + 512, data.n_items))
            common = (columns[:, block].T @ self.rows).toarray()
            value = common / (root[block, None] * root[None, :] + options.shrink + 1e-9)
            value[np.arange(len(value)), np.arange(block.start, block.stop)] = 0
            best = np.argpartition(-value, k - 1, axis=1)[:, :k]
            near[block], like[block] = best, np.take_along_axis(value, best, 1)
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
