"""DCN: Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.

x_{l+1} = x_0 (x_l . w_l) + b_l + x_l from x_0 = (v_1, ..., v_F) (eq. 3), in parallel with an MLP
over x_0 (eq. 6). y is linear in both outputs (eq. 7).

Deviations: see `features.FieldRater`; the linear term over the fields is kept.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features


class Options(features.Options):
    """Hyper-parameters of DCN; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(32, ge=1)
    learning_rate: float = Field(1.9e-3, gt=0)
    reg: float = Field(4.1e-4, ge=0, description="L2 penalty on the embeddings of the batch")
    ridge: float = Field(
        3.0,
        ge=0,
        description="L2 pull to zero, as strong as this many ratings; stronger for rare ids",
    )
    dropout: float = Field(0.15, ge=0, lt=1)
    layers: int = Field(2, ge=1, description="cross layers")
    hidden: tuple[int, ...] = Field((64, 32), description="sizes of the hidden layers")


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

    def cross(self, x_BD: torch.Tensor, out_D: torch.Tensor) -> torch.Tensor:
        """[B] out . x_L after the last cross layer, D = F d.

        By induction x_l = a_l x_0 + c_l with a number a_l per row and c_l = b_1 + ... + b_l. Hence
        a_{l+1} = a_l + x_l . w_l, and one product with x_0 serves all layers.
        """
        onto = x_BD @ torch.cat([self.weight, out_D[None]]).T  # [B, layers + 1]
        a, c = torch.ones_like(onto[:, 0]), torch.zeros_like(out_D)
        for layer, (w, b) in enumerate(zip(self.weight, self.bias, strict=True)):
            a, c = a + a * onto[:, layer] + c @ w, c + b
        return a * onto[:, -1] + c @ out_D

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        x = v_BFd.flatten(1)
        for_cross, for_deep = self.out.weight[0].split(
            [x.shape[1], self.out.in_features - x.shape[1]]
        )
        return self.cross(x, for_cross) + self.deep(x) @ for_deep + self.out.bias
