"""Popularity: an item's score is its number of training rows, the same for every user."""

from __future__ import annotations

import numpy as np
import torch

from raypipe.backbones import closed_form, contract


class Options(closed_form.Options):
    """Popularity has no hyper-parameters."""


class Model(closed_form.ClosedRanker):
    """Counts."""

    personal = False
    count: torch.Tensor

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.register_buffer(
            "count",
            torch.from_numpy(np.bincount(data.item, minlength=data.n_items).astype(np.float32)),
        )

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        return self.count.repeat(len(user_B), 1)
