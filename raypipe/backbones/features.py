"""Categorical fields of rating models, and their shared embeddings, loss and prediction range.

B = batch, F = fields, d = embedding size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from raypipe.backbones import adam, contract
from raypipe.backbones.contract import FitData
from raypipe.backbones.dropout import Dropout


class Fields(nn.Module):
    """Row numbers of each field in one embedding table: user id, item id, and features of both.

    Attributes:
        user_rows: [U, 1 + F] rows of the user's fields; item_rows: [I, 1 + G].
        size: rows of the table. count: fields, 2 + F + G.
    """

    user_rows: torch.Tensor
    item_rows: torch.Tensor

    def __init__(self, data: FitData) -> None:
        super().__init__()
        sizes = [data.n_users, *data.user_sizes, data.n_items, *data.item_sizes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        n_user = 1 + len(data.user_sizes)
        user = np.column_stack([np.arange(data.n_users), data.user_codes]) + starts[:n_user]
        item = np.column_stack([np.arange(data.n_items), data.item_codes]) + starts[n_user:-1]
        self.register_buffer("user_rows", torch.from_numpy(user.astype(np.int64)), persistent=False)
        self.register_buffer("item_rows", torch.from_numpy(item.astype(np.int64)), persistent=False)
        self.size, self.count = int(starts[-1]), len(sizes)

    def rows(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        """[B, count] rows of a batch."""
        return torch.cat([self.user_rows[user_B], self.item_rows[item_B]], dim=1)

    def times(self, data: FitData) -> torch.Tensor:
        """[size] how often each row occurs in training."""
        counts = np.zeros(self.size, dtype=np.int64)
        for rows, ids in ((self.user_rows, data.user), (self.item_rows, data.item)):
            for column in rows.T:
                counts += np.bincount(column.numpy()[ids], minlength=self.size)
        return torch.from_numpy(counts)


class Options(contract.Options):
    """Hyper-parameters that the rating backbones share."""

    embedding_size: int = Field(16, ge=1)
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(1024, ge=1)
    reg: float = Field(0.02, ge=0, description="L2 penalty on the embeddings of the batch")
    ridge: float = Field(
        0.0,
        ge=0,
        description="L2 pull to zero, as strong as this many ratings; stronger for rare ids",
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout rate in training")
    patience: int = Field(4, ge=1)


class FieldRater(contract.Rater):
    """y = mean + sum of w_f + interaction(v_1, ..., v_F), by squared error (Llama4Rec Table V).

    A backbone defines the interaction. The rating is centred on the training mean, and predictions
    are clipped to the range of training ratings. Both are additions to all six papers, which
    predict clicks. With `ridge` = n, w of users and items starts at their mean deviations damped by
    n ratings, so that the interaction does not overfit before w has converged. An embedding that
    occurs m times is penalised by n / m each time, as in ridge regression.
    """

    options: Options
    pull: torch.Tensor

    def __init__(self, data: FitData, options: Options) -> None:
        super().__init__(data, options)
        self.fields = Fields(data)
        lazy = adam.lazy_update_pays(self.fields.size, options.batch_size * self.fields.count)
        # w_f in the first column, v_f in the others: one look-up forward, one scatter backward
        self.table = nn.Embedding(self.fields.size, 1 + options.embedding_size, sparse=lazy)
        self.lazy = ("table.weight",) if lazy else ()
        nn.init.zeros_(self.table.weight[:, 0])
        nn.init.normal_(self.table.weight[:, 1:], std=0.05)
        if options.ridge:
            self.register_buffer(
                "pull",
                options.reg + options.ridge / self.fields.times(data).clamp(min=1),
                persistent=False,
            )
            first = int(self.fields.item_rows[0, 0])
            item, user = (torch.from_numpy(w).float() for w in damped_means(data, options.ridge))
            self.table.weight.data[: self.n_users, 0] = user
            self.table.weight.data[first : first + self.n_items, 0] = item
        self.low, self.high = float(data.rating.min()), float(data.rating.max())
        self.register_buffer("mean", torch.tensor(float(data.rating.mean())))

    def interaction(self, v_BFd: torch.Tensor) -> torch.Tensor:
        """[B] interaction of the fields."""
        raise NotImplementedError

    def forward(self, rows_BFe: torch.Tensor) -> torch.Tensor:
        """[B] prediction before clipping, from the rows of the table; e = 1 + d."""
        w, v = rows_BFe.split([1, rows_BFe.shape[2] - 1], dim=2)
        return self.mean + w.sum((1, 2)) + self.interaction(v.contiguous())

    def penalty(self, rows_BFe: torch.Tensor, rows_BF: torch.Tensor) -> torch.Tensor:
        """Scalar L2 penalty on the batch's embeddings, per row."""
        if self.options.ridge:
            return rows_BFe.pow(2).sum(2).flatten().dot(self.pull[rows_BF].flatten()) / len(rows_BF)
        return self.options.reg * rows_BFe.flatten().dot(rows_BFe.flatten()) / len(rows_BF)

    def batches(
        self, data: FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Rows of the table [B, F] and ratings [B]."""
        size = self.options.batch_size
        user, item = (r.cpu().numpy() for r in (self.fields.user_rows, self.fields.item_rows))
        for rows in contract.shuffled(len(data.user), size * contract.BATCHES_PER_DRAW, rng):
            fields = np.concatenate([user[data.user[rows]], item[data.item[rows]]], axis=1)
            ratings = torch.from_numpy(data.rating[rows])
            yield from zip(torch.from_numpy(fields).split(size), ratings.split(size), strict=True)

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        rows_BF, rating_B = batch
        rows_BFe = self.table(rows_BF)
        return F.mse_loss(self(rows_BFe), rating_B) + self.penalty(rows_BFe, rows_BF)

    def predict(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        return self(self.table(self.fields.rows(user_B, item_B))).clamp(self.low, self.high)

    def user_embeddings(self, data: FitData) -> torch.Tensor:
        """The factors of the user ids (LO20)."""
        return self.table.weight[: self.n_users, 1:].detach()


def damped_means(data: FitData, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """[I] mean deviation of each item, and [U] mean remaining deviation of each user.

    Deviations are from the training mean. Both are damped as if `ridge` further ratings had no
    deviation (Koren, "Factor in the Neighbors", ACM TKDD 2010).
    """
    rest = data.rating - data.rating.mean(dtype=np.float64)
    item = np.bincount(data.item, rest, data.n_items) / (
        np.bincount(data.item, minlength=data.n_items) + ridge
    )
    rest = rest - item[data.item]
    return item, np.bincount(data.user, rest, data.n_users) / (
        np.bincount(data.user, minlength=data.n_users) + ridge
    )


def pair_sum(v_BFd: torch.Tensor) -> torch.Tensor:
    """[B, d] sum over pairs of fields of v_f * v_g, in linear time: half of (sum v)^2 - sum v^2."""
    total = v_BFd.sum(1)
    return (total * total - (v_BFd * v_BFd).sum(1)) / 2


def mlp(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout for each hidden width, without an output layer."""
    parts: list[nn.Module] = []
    for left, right in itertools.pairwise([width, *hidden]):
        parts += [nn.Linear(left, right), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*parts)
