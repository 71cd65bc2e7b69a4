"""The contract of a backbone: its input and the methods that it must have.

A backbone is one file in direct/, sequential/ or rating/ with two classes: `Options`, its
hyper-parameters, and `Model`. The training loop, scoring and all later code use only this contract.

B = queries in a batch, T = length of a padded history, I = items, U = users, d = embedding size.
Item and user ids are row numbers. Padding is I, one past the last item.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from raypipe.backbones.arrays import FitData, Queries, Ragged, RatingQueries, SetQueries
from raypipe.config import Config

__all__ = [
    "Backbone",
    "FitData",
    "Options",
    "Queries",
    "Ragged",
    "Ranker",
    "Rater",
    "RatingQueries",
    "SetQueries",
]

#: batches that are drawn together, to share the overhead of a draw
BATCHES_PER_DRAW = 64


class Options(Config):
    """Hyper-parameters of every backbone. Each backbone adds its own."""

    embedding_size: int = Field(64, ge=1, description="width of the embeddings")
    epochs: int = Field(200, ge=1, description="most epochs; early stopping may end before")
    batch_size: int = Field(2048, ge=1, description="training rows a step")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")
    reg: float = Field(1e-4, ge=0, description="L2 penalty")
    evaluate_every: int = Field(1, ge=1, description="epochs between validations")
    patience: int = Field(
        10, ge=1, description="validations without improvement before the fit stops"
    )


class Backbone(nn.Module):
    """Base of every backbone.

    A subclass is built as Model(data, options). Its random draws come from torch's generator, which
    the training loop seeds.
    """

    task: ClassVar[str]
    #: whether bfloat16 arithmetic is faster on a GPU
    mixed_precision: ClassVar[bool] = False
    #: whether it can use text vectors instead of ids
    takes_texts: ClassVar[bool] = False
    #: names of tables with sparse gradients: the optimizer updates only the rows of the batch
    lazy: tuple[str, ...] = ()

    def __init__(self, data: FitData, options: Options) -> None:
        super().__init__()
        self.options, self.n_users, self.n_items = options, data.n_users, data.n_items

    def batches(
        self, data: FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """One epoch of training batches, drawn by `rng`, on the CPU.

        The first dimension of every tensor is the batch. Several workers divide its rows.
        """
        raise NotImplementedError

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        """The scalar loss of one batch."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def begin_scoring(self) -> None:
        """Called once before scoring with fixed weights, e.g. to propagate a graph."""

    def user_embeddings(self, data: FitData) -> torch.Tensor:
        """[U, d] embeddings for the search of similar users (eq. 3, LO20)."""
        raise NotImplementedError


class Ranker(Backbone):
    """A top-k backbone. Sequential ones read at most `context` items of the history."""

    context: int = 0
    #: False where all users get the same scores
    personal: ClassVar[bool] = True

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        """[B, I] scores of all items.

        Args:
            history_BT: padded on the left; direct models ignore it.
        """
        raise NotImplementedError


class Rater(Backbone):
    """A rating backbone."""

    task = "rating"

    def predict(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        """[B] predicted ratings."""
        raise NotImplementedError


def shuffled(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers 0..n-1 in random order, in batches."""
    order = rng.permutation(n)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]
