"""DeepFM: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

y = w_0 + sum of w_f + sum over pairs of <v_f, v_g> + MLP(v_1, ..., v_F) over categorical fields (eq. 1-4), here as a
regression of the rating with squared error (Llama4Rec Table V).

Deviations: the rating is centred on the training mean; predictions are clipped to the range of training ratings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from torch import nn

from raypipe.backbones import contract
from raypipe.backbones.features import Fields


class Options(contract.Options):
    """Hyper-parameters of DeepFM."""

    embedding_size: int = Field(16, ge=1)
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(1024, ge=1)
    reg: float = Field(0.02, ge=0)
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = Field(0.2, ge=0, lt=1)
    patience: int = Field(4, ge=1)


class Model(contract.Rater):
    """DeepFM over user id, item id and side features."""

    options: Options

    def __init__(self, data: contract.FitData, options: Options) -> None:
        super().__init__(data, options)
        self.fields = Fields(data)
        self.linear = nn.Embedding(self.fields.size, 1)
        self.factors = nn.Embedding(self.fields.size, options.embedding_size)
        nn.init.zeros_(self.linear.weight)
        nn.init.normal_(self.factors.weight, std=0.05)
        widths = [self.fields.count * options.embedding_size, *options.hidden]
        parts: list[nn.Module] = []
        for left, right in itertools.pairwise(widths):
            parts += [nn.Linear(left, right), nn.ReLU(), nn.Dropout(options.dropout)]
        self.deep = nn.Sequential(*parts, nn.Linear(widths[-1], 1))
        self.low, self.high = float(data.rating.min()), float(data.rating.max())
        self.register_buffer("mean", torch.tensor(float(data.rating.mean())))

    def forward(self, user_B: torch.Tensor, item_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B] prediction before clipping, and the scalar L2 norm of the batch's embeddings, per row."""
        rows = self.fields.rows(user_B, item_B)
        w, v = self.linear(rows).squeeze(-1), self.factors(rows)
        second = (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(-1) / 2
        norm = (w.pow(2).sum() + v.pow(2).sum()) / len(rows)
        return self.mean + w.sum(1) + second + self.deep(v.flatten(1)).squeeze(-1), norm

    def batches(self, data: contract.FitData, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
        for rows in contract.shuffled(len(data.user), self.options.batch_size, rng):
            yield tuple(torch.from_numpy(a[rows]) for a in (data.user, data.item, data.rating))

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        user_B, item_B, rating_B = batch
        prediction, norm = self(user_B, item_B)
        return (prediction - rating_B).pow(2).mean() + self.options.reg * norm

    def predict(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        return self(user_B, item_B)[0].clamp(self.low, self.high)

    def user_embeddings(self, data: contract.FitData) -> torch.Tensor:
        """The factors of the user ids (LO20)."""
        return self.factors.weight[: self.n_users].detach()
