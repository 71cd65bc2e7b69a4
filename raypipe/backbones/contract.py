"""What a backbone is given, and what it must offer.

A backbone is one file in direct/, sequential/ or rating/ with two classes: `Options` (its hyper-parameters) and `Model`.
The loop in fit.py, the scoring below and everything after it know only this contract.

B = queries in a batch, T = length of a padded history, I = items, U = users, d = embedding size. Item and user ids are row
numbers; padding is I (one past the last item).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import nn

from raypipe.backbones.entities import Texts
from raypipe.sections import Config

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


class Ragged(NamedTuple):
    """Lists of unequal length in one array: list n is values[start[n] : start[n + 1]]."""

    start: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:  # type: ignore[override]
        return len(self.start) - 1

    def row(self, n: int) -> np.ndarray:
        return self.values[self.start[n] : self.start[n + 1]]

    def last(self, rows: np.ndarray, width: int, padding: int) -> np.ndarray:
        """[B, width] the last `width` values of each row, padded on the left."""
        offset = self.start[rows + 1][:, None] - np.arange(width, 0, -1)[None, :]
        inside = offset >= self.start[rows][:, None]
        return np.where(inside, self.values[np.maximum(offset, 0)] if len(self.values) else padding, padding)

    def take(self, rows: np.ndarray) -> Ragged:
        """The lists of some rows, in their order."""
        return Ragged.slices(self.values, self.start[rows], self.start[rows + 1] - self.start[rows])

    @classmethod
    def slices(cls, values: np.ndarray, begin: np.ndarray, length: np.ndarray) -> Ragged:
        """Lists that are pieces of one array: list n is values[begin[n] : begin[n] + length[n]]."""
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        at = np.arange(start[-1]) + np.repeat(begin - start[:-1], length)
        return cls(start, values[at].astype(np.int64))

    @classmethod
    def of(cls, lists: list[np.ndarray]) -> Ragged:
        start = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
        return cls(start, np.concatenate(lists).astype(np.int64) if lists else np.empty(0, np.int64))


class Queries(NamedTuple):
    """Questions to a top-k model: user [Q], what the user had done before (oldest first), and the true next item [Q].

    `masked`: the history is not recommended again.
    """

    user: np.ndarray
    history: Ragged
    target: np.ndarray
    masked: bool = True

    def part(self, rows: np.ndarray) -> Queries:
        """Some of the questions."""
        return Queries(self.user[rows], self.history.take(rows), self.target[rows], self.masked)


class SetQueries(NamedTuple):
    """Questions with several right answers: user [Q], items that are not recommended again, the right ones, and the catalogue [C]
    that is ranked.
    """

    user: np.ndarray
    seen: Ragged
    targets: Ragged
    catalogue: np.ndarray

    def part(self, rows: np.ndarray) -> SetQueries:
        """Some of the questions."""
        return SetQueries(self.user[rows], self.seen.take(rows), self.targets.take(rows), self.catalogue)


class RatingQueries(NamedTuple):
    """Questions to a rating model: user [Q], item [Q], true rating [Q]."""

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray

    def part(self, rows: np.ndarray) -> RatingQueries:
        """Some of the questions."""
        return RatingQueries(self.user[rows], self.item[rows], self.rating[rows])


@dataclass(frozen=True)
class FitData:
    """What a backbone is fitted on.

    Args:
        user, item, rating: [N] training rows, sorted by user, oldest first.
        sequences: U lists of training items, oldest first; with data augmentation the inserted ones stand among them (L9).
        pairs: [P, 3] user, preferred item, other item: pairs judged by the LLM (L7); P may be 0.
        user_codes: [U, F] category numbers of the user features; item_codes: [I, G].
        user_sizes, item_sizes: number of categories of each feature.
        validation: what early stopping looks at.
        texts: what direct backbones begin with in place of ids (RecLM R6, R7).
    """

    n_users: int
    n_items: int
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    sequences: Ragged
    pairs: np.ndarray
    user_codes: np.ndarray
    item_codes: np.ndarray
    user_sizes: tuple[int, ...]
    item_sizes: tuple[int, ...]
    validation: Queries | RatingQueries | SetQueries
    texts: Texts | None = None


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

    def batches(self, data: FitData, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
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
