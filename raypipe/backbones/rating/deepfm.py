"""DeepFM: Guo et al., IJCAI 2017.

"DeepFM: A Factorization-Machine based Neural Network for CTR Prediction".

y = w_0 + sum of w_f + sum over pairs of <v_f, v_g> + MLP(v_1, ..., v_F) over categorical fields
(eq. 1-4).

Deviations: see `features.FieldRater`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features


class Options(features.Options):
    """Hyper-parameters of DeepFM; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(8, ge=1)
    learning_rate: float = Field(4.7e-3, gt=0)
    reg: float = Field(4.5e-3, ge=0, description="L2 penalty on the embeddings of the batch")
    dropout: float = Field(0.28, ge=0, lt=1)
    hidden: tuple[int, ...] = Field((64, 32), description="sizes of the hidden layers")


class Model(features.FieldRater):
    """Factorization machine and MLP side by side."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        widths = (self.fields.count * options.embedding_size, *options.hidden)
        self.deep = nn.Sequential(
            *features.mlp(widths[0], options.hidden, options.dropout), nn.Linear(widths[-1], 1)
        )

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        return features.pair_sum(v_BFd).sum(-1) + self.deep(v_BFd.flatten(1)).squeeze(-1)
