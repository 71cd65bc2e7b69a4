"""What an LLM may read of each user: interactions and ratings, oldest first, as item numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.schema import RATING, USER


class Interactions(NamedTuple):
    """A user's items (row numbers of the catalogue) and their ratings, oldest first."""

    items: np.ndarray
    ratings: np.ndarray

    def last(self, n: int) -> Interactions:
        """The newest n."""
        if n >= len(self.items):
            return self
        return self.first(len(self.items), start=len(self.items) - n)

    def first(self, stop: int, start: int = 0) -> Interactions:
        """Those from place `start` to before place `stop`."""
        return Interactions(self.items[start:stop], self.ratings[start:stop])

    def before_item(self, item: int) -> Interactions:
        """Those before an item; all of them where it does not occur."""
        places = np.flatnonzero(self.items == item)
        return self.first(int(places[0])) if len(places) else self


NO_INTERACTIONS = Interactions(np.empty(0, np.int64), np.empty(0, np.float32))


class Histories:
    """The interactions of every user, by what each kind of prompt may show.

    One set of weights serves all tasks, so a row that is validation or test of a top-k task is
    hidden from the rating histories of tuning prompts and top-k prompts too (LO12).

    Attributes:
        positives: all rows of the top-k tasks; `training_positives`: their training rows.
        ratings: all rows of the rating task; `training_ratings`: their training rows;
            `visible_ratings`: their training rows that are not hidden.
    """

    def __init__(self, tables: InteractionMatrices) -> None:
        topk, rating = tables.rows("direct"), tables.rows("rating")
        rating_train = rating[rating["part"] == "train"]
        self.positives = _by_user(topk)
        self.training_positives = _by_user(topk[topk["part"] == "train"])
        self.ratings = _by_user(rating)
        self.training_ratings = _by_user(rating_train)
        self.visible_ratings = _by_user(rating_train[~rating_train["hidden"]])

    def before(self, user: str, position: int, task: str, split: str) -> Interactions:
        """Positives before the target at `position`.

        A direct model knows training rows only, so its LLM reads no more at test: a fair
            comparison.
        """
        if split == "test" and task == "direct":
            return self.training_positives.get(user, NO_INTERACTIONS)
        return self.positives[user].first(position)

    def training(self, task: str) -> dict[str, Interactions]:
        """Training interactions of each user: N(u) of eq. 4 is their number (LO21)."""
        return self.training_ratings if task == "rating" else self.training_positives


def _by_user(rows: pd.DataFrame) -> dict[str, Interactions]:
    if not len(rows):
        return {}
    codes, users = pd.factorize(rows[USER])
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(users)))[:-1]
    items = np.split(rows["i"].to_numpy(np.int64)[order], ends)
    ratings = np.split(rows[RATING].to_numpy(np.float32)[order], ends)
    return dict(zip(users.tolist(), map(Interactions, items, ratings), strict=True))
