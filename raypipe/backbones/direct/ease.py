"""EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

B = I - P diag(1 / P_ii), P = (X^T X + reg I)^-1 (eq. 8); the scores of a user are x_u B.

Deviations: none. It inverts an I x I matrix, so it accepts at most 20,000 items.
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe.backbones import closed_form, contract
from raypipe.errors import DataError

MAX_ITEMS = 20_000


class Options(closed_form.Options):
    """Hyper-parameters of EASE; defaults by search (docs/backbones.md)."""

    reg: float = Field(83.0, gt=0)


class Model(closed_form.ClosedRanker):
    """A linear autoencoder with an empty diagonal."""

    options: Options
    weight: torch.Tensor

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        if data.n_items > MAX_ITEMS:
            raise DataError(
                f"EASE inverts a matrix of items x items, and there are {data.n_items:,} items",
                "backbone ease",
                f"it takes at most {MAX_ITEMS:,}; use item_knn or a trained backbone",
            )
        gram = torch.from_numpy((self.rows.T @ self.rows).toarray())
        gram.diagonal().add_(options.reg)
        inverse = torch.linalg.inv(gram.double())
        weight = -inverse / inverse.diagonal()
        weight.fill_diagonal_(0)
        self.register_buffer("weight", weight.float())

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return (
            torch.from_numpy(self.interactions(user_B).toarray()).to(self.weight.device)
            @ self.weight
        )
