"""DCN: Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.

x_{l+1} = x_0 (x_l . w_l) + b_l + x_l from x_0 = (v_1, ..., v_F) (eq. 3), beside an MLP over x_0 (eq. 6); y is linear in both
ends (eq. 7).

Deviations: see `features.FieldRater`; the linear term over the fields is kept beside the two towers.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features


class Options(features.Options):
    """Hyper-parameters of DCN."""

    layers: int = Field(2, ge=1, description="cross layers")
    hidden: tuple[int, ...] = (64, 32)


class Model(features.FieldRater):
    """Cross network and MLP side by side."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        width = self.fields.count * options.embedding_size
        self.weight = nn.Parameter(torch.empty(options.layers, width))
        self.bias = nn.Parameter(torch.zeros(options.layers, width))
        nn.init.normal_(self.weight, std=width**-0.5)
        self.deep = features.mlp(width, options.hidden, options.dropout)
        self.out = nn.Linear(width + (width, *options.hidden)[-1], 1)

    def cross(self, x_BD: torch.Tensor) -> torch.Tensor:
        """[B, D] after the last cross layer, D = F d."""
        x = x_BD
        for w, b in zip(self.weight, self.bias, strict=True):
            x = x_BD * (x @ w)[:, None] + b + x
        return x

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        x = v_BFd.flatten(1)
        return self.out(torch.cat([self.cross(x), self.deep(x)], dim=1)).squeeze(-1)
