"""NFM: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017.

y = w_0 + sum of w_f + h . MLP(B), where B is the sum over pairs of the elementwise v_f * v_g
(bi-interaction pooling, eq. 3-7), with dropout after the pooling.

Deviations: see `features.FieldRater`; no batch normalisation.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract, features
from raypipe.backbones.dropout import Dropout


class Options(features.Options):
    """Hyper-parameters of NFM; defaults by search (docs/backbones.md)."""

    embedding_size: int = Field(32, ge=1)
    learning_rate: float = Field(1.05e-3, gt=0)
    reg: float = Field(4.6e-2, ge=0, description="L2 penalty on the embeddings of the batch")
    dropout: float = Field(0.35, ge=0, lt=1)
    hidden: tuple[int, ...] = Field((64,), description="sizes of the hidden layers")


class Model(features.FieldRater):
    """MLP over the pooled pairs."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        widths = (options.embedding_size, *options.hidden)
        deep = features.mlp(widths[0], options.hidden, options.dropout)
        self.deep = nn.Sequential(
            Dropout(options.dropout), *deep, nn.Linear(widths[-1], 1, bias=False)
        )

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        return self.deep(features.pair_sum(v_BFd)).squeeze(-1)
