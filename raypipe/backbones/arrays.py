"""The input of a backbone: the arrays of a log, and the queries for evaluation.

No import of torch, so that processes that only build arrays start quickly. Q = queries, B = queries
of a batch, U = users, I = items, P = pairs. Ids of users and items are row numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from raypipe.backbones.entities import TextVectors


class Ragged(NamedTuple):
    """Lists of unequal length in one array: list n is values[start[n] : start[n + 1]]."""

    start: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:  # type: ignore[override]
        return len(self.start) - 1

    def row(self, n: int) -> np.ndarray:
        """List n."""
        return self.values[self.start[n] : self.start[n + 1]]

    def last(self, rows: np.ndarray, width: int, padding: int) -> np.ndarray:
        """[B, width] the last `width` values of each row, padded on the left."""
        offset = self.start[rows + 1][:, None] - np.arange(width, 0, -1)[None, :]
        inside = offset >= self.start[rows][:, None]
        return np.where(
            inside, self.values[np.maximum(offset, 0)] if len(self.values) else padding, padding
        )

    def take(self, rows: np.ndarray) -> Ragged:
        """The lists of some rows, in their order."""
        return Ragged.from_slices(
            self.values, self.start[rows], self.start[rows + 1] - self.start[rows]
        )

    @classmethod
    def from_slices(cls, values: np.ndarray, begin: np.ndarray, length: np.ndarray) -> Ragged:
        """Lists that are slices of one array: values[begin[n] : begin[n] + length[n]]."""
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        index = np.arange(start[-1]) + np.repeat(begin - start[:-1], length)
        return cls(start, values[index].astype(np.int64))

    @classmethod
    def from_lists(cls, lists: list[np.ndarray]) -> Ragged:
        """From one array per list."""
        start = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
        return cls(
            start, np.concatenate(lists).astype(np.int64) if lists else np.empty(0, np.int64)
        )


class Queries(NamedTuple):
    """Queries to a top-k model.

    Attributes:
        user: [Q] users.
        history: Q lists of the user's earlier items, oldest first.
        target: [Q] the true next item.
        masked: whether the history may not be recommended again.
    """

    user: np.ndarray
    history: Ragged
    target: np.ndarray
    masked: bool = True

    def part(self, rows: np.ndarray) -> Queries:
        """The queries of some rows."""
        return Queries(self.user[rows], self.history.take(rows), self.target[rows], self.masked)


class SetQueries(NamedTuple):
    """Queries with several relevant items.

    Attributes:
        user: [Q] users.
        seen: Q lists of items that are not recommended again.
        targets: Q lists of relevant items.
        catalogue: [C] the items that are ranked.
    """

    user: np.ndarray
    seen: Ragged
    targets: Ragged
    catalogue: np.ndarray

    def part(self, rows: np.ndarray) -> SetQueries:
        """The queries of some rows."""
        return SetQueries(
            self.user[rows], self.seen.take(rows), self.targets.take(rows), self.catalogue
        )


class RatingQueries(NamedTuple):
    """Queries to a rating model: user [Q], item [Q], true rating [Q]."""

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray

    def part(self, rows: np.ndarray) -> RatingQueries:
        """The queries of some rows."""
        return RatingQueries(self.user[rows], self.item[rows], self.rating[rows])


@dataclass(frozen=True)
class FitData:
    """The data that a backbone is fitted on.

    Args:
        user, item, rating: [N] training rows, sorted by user, oldest first.
        sequences: U lists of training items, oldest first, with the items that data augmentation
            inserted (L9).
        pairs: [P, 3] user, preferred item, other item: pairs judged by the LLM (L7); P may be 0.
        user_codes: [U, F] category numbers of the user features; item_codes: [I, G].
        user_sizes, item_sizes: number of categories of each feature.
        validation: queries for early stopping.
        texts: text vectors that direct backbones use instead of ids (RecLM R6, R7).
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
    texts: TextVectors | None = None
