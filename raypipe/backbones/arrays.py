"""What a backbone is given: the arrays of a log, and the questions. No torch, so that what only makes them starts quickly.

Q = questions, B = questions of a batch, U = users, I = items, P = pairs. Ids of users and items are row numbers.
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
        """Lists that are pieces of one array: list n is values[begin[n] : begin[n] + length[n]]."""
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        at = np.arange(start[-1]) + np.repeat(begin - start[:-1], length)
        return cls(start, values[at].astype(np.int64))

    @classmethod
    def from_lists(cls, lists: list[np.ndarray]) -> Ragged:
        start = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
        return cls(
            start, np.concatenate(lists).astype(np.int64) if lists else np.empty(0, np.int64)
        )


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
        return SetQueries(
            self.user[rows], self.seen.take(rows), self.targets.take(rows), self.catalogue
        )


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
    texts: TextVectors | None = None
