"""ALS: Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.

Minimises sum of c_ui (p_ui - x_u . y_i)^2 + reg (|x_u|^2 + |y_i|^2) with c_ui = 1 + alpha for
training rows (eq. 3), by the library implicit.

Deviations: those of the library.
"""

from __future__ import annotations

import torch
from pydantic import Field

from raypipe import extras
from raypipe.backbones import closed_form, contract


class Options(closed_form.Options):
    """Hyper-parameters of ALS; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(128, ge=1)
    reg: float = Field(3.3, ge=0)
    alpha: float = Field(1.3, gt=0, description="extra confidence of a training row")
    iterations: int = Field(20, ge=1, description="rounds of alternating least squares")


class Model(closed_form.ClosedRanker):
    """Factors of users and items."""

    options: Options
    user: torch.Tensor
    item: torch.Tensor

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        extras.need("als", "backbone als")
        from implicit.cpu.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=options.embedding_size,
            regularization=options.reg,
            alpha=options.alpha,
            iterations=options.iterations,
            num_threads=1,  # sums in a fixed order
            random_state=int(torch.randint(2**31, ())),
        )
        model.fit(self.rows, show_progress=False)
        self.register_buffer("user", torch.from_numpy(model.user_factors.copy()))
        self.register_buffer("item", torch.from_numpy(model.item_factors.copy()))

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.user[user_B] @ self.item.T
