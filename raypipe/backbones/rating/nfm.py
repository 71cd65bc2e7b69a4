"""NFM: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017.

y = w_0 + sum of w_f + h . MLP(B), B = sum over pairs of v_f * v_g element by element (bi-interaction pooling, eq. 3-7), with
dropout after the pooling.

Deviations: see `features.FieldRater`; no batch normalisation.
"""

from __future__ import annotations

import torch
from torch import nn

from raypipe.backbones import contract, features
from raypipe.backbones.dropout import Dropout


class Options(features.Options):
    """Hyper-parameters of NFM."""

    hidden: tuple[int, ...] = (64,)


class Model(features.FieldRater):
    """MLP over the pooled pairs."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        widths = (options.embedding_size, *options.hidden)
        deep = features.mlp(widths[0], options.hidden, options.dropout)
        self.deep = nn.Sequential(Dropout(options.dropout), *deep, nn.Linear(widths[-1], 1, bias=False))

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        return self.deep(features.pair_sum(v_BFd)).squeeze(-1)
