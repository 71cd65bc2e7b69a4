"""What a backbone is given, and what it must offer.

A backbone is one file in direct/, sequential/ or rating/ with two classes: `Options` (its hyper-parameters) and `Model`.
The loop in fit.py, the scoring below and everything after it know only this contract.

B = queries in a batch, T = length of a padded history, I = items, U = users, d = embedding size. Item and user ids are row
numbers; padding is I (one past the last item).
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

#: batches that are drawn at once, so that they share the overhead of a draw
AHEAD = 64


class Options(Config):
    """Hyper-parameters that every backbone has; each names its own beside them."""

    embedding_size: int = Field(64, ge=1)
    epochs: int = Field(200, ge=1, description="at most; validation stops earlier")
    batch_size: int = Field(2048, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    reg: float = Field(1e-4, ge=0, description="L2 penalty")
    evaluate_every: int = Field(1, ge=1, description="epochs between validations")
    patience: int = Field(10, ge=1, description="validations without gain before stopping")


class Backbone(nn.Module):
    """Base of every backbone.

    A subclass is built as Model(data, options); its random draws come from torch's generator, which the loop seeds.
    """

    task: ClassVar[str]
    #: whether bfloat16 arithmetic pays on a GPU
    mixed_precision: ClassVar[bool] = False
    #: whether it can begin with texts in place of ids
    takes_texts: ClassVar[bool] = False
    #: tables by name whose gradients are sparse: the optimizer changes the rows of a batch alone
    lazy: tuple[str, ...] = ()

    def __init__(self, data: FitData, options: Options) -> None:
        super().__init__()
        self.options, self.n_users, self.n_items = options, data.n_users, data.n_items

    def batches(
        self, data: FitData, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """One epoch of training batches, drawn by `rng`, on the CPU.

        The first dimension of every tensor of a batch is the batch: several workers take a part of its rows each.
        """
        raise NotImplementedError

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        """The scalar loss of one batch."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def begin_scoring(self) -> None:
        """Called once before scoring with fixed weights, e.g. to propagate a graph."""

    def user_embeddings(self, data: FitData) -> torch.Tensor:
        """[U, d] embeddings that similar users are found by (eq. 3, LO20)."""
        raise NotImplementedError


class Ranker(Backbone):
    """A top-k backbone. Sequential ones read at most `context` items of the history."""

    context: int = 0
    #: False where all users get the same scores
    personal: ClassVar[bool] = True

    def score(self, user_B: torch.Tensor, history_BT: torch.Tensor) -> torch.Tensor:
        """[B, I] scores of all items. history_BT is padded on the left; direct models ignore it."""
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
