"""Leave-one-out split (L35) and the rows that the hint models must not see (LO12).

Two splits are made. `topk` splits the positives of the protocol (`all`: every interaction; `liked`: ratings of liked_from or
more, LO1). `rating` splits every rating (LO3). Per user the last row is test, the last but one is validation, the rest is
train; equal timestamps keep file order. The last `holdout` training rows are marked `held`: hint models are fitted
without them, and they are the targets of instruction tuning, so that no hint in a tuning prompt comes from a model that
saw its target.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.config import DataConfig
from raypipe.schema import ITEM, RATING, USER

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Frames with user_id, item_id, rating, timestamp, part (train, validation, test), position (0 = oldest), held.

    `rating` also has `hidden`: rows that are validation or test of the top-k tasks. The LLM serves all tasks with one set of
    weights, so nothing that it is tuned on may contain them.
    """

    topk: pd.DataFrame
    rating: pd.DataFrame

    def save(self, folder: Path) -> None:
        self.topk.to_parquet(folder / "topk.parquet", index=False)
        self.rating.to_parquet(folder / "rating.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Split:
        return cls(pd.read_parquet(folder / "topk.parquet"), pd.read_parquet(folder / "rating.parquet"))

    def table(self, task: str) -> pd.DataFrame:
        """The split of a task: `rating` for rating prediction, else `topk`."""
        return self.rating if task == "rating" else self.topk


def leave_one_out(log: pd.DataFrame, holdout: int) -> pd.DataFrame:
    """Split a log sorted by user and time; users with fewer than three rows are left out.

    A user keeps at least two training rows that are not held, where there are as many.
    """
    log = log[log.groupby(USER)[ITEM].transform("size") >= 3].reset_index(drop=True)
    position = log.groupby(USER).cumcount()
    left = log.groupby(USER).cumcount(ascending=False)
    part = np.select([left == 0, left == 1], ["test", "validation"], "train")
    return log.assign(part=part, position=position, held=(left >= 2) & (left < 2 + holdout) & (position >= 2))


def make_split(interactions: pd.DataFrame, config: DataConfig, holdout: int) -> Split:
    """Both splits of a cleaned log."""
    positives = interactions if config.protocol == "all" else interactions[interactions[RATING] >= config.liked_from]
    topk = leave_one_out(positives, holdout)
    rating = leave_one_out(interactions, holdout)
    secret = topk.loc[topk["part"] != "train", [USER, ITEM]].assign(hidden=True)
    rating = rating.merge(secret, on=[USER, ITEM], how="left")
    return Split(topk, rating.assign(hidden=rating["hidden"].eq(True)))


def evaluated_users(topk: pd.DataFrame, task: str) -> pd.DataFrame:
    """The (user, part) rows that the top-k tasks are evaluated on: user_id, part, item_id (the target).

    Direct models cannot score an item without training rows, so users whose target has none are left out (927 of 943 on
    ML-100K `liked`); sequential evaluation needs two training positives (940 of 943). Both counts are the paper's (LO1).
    """
    train = topk[topk["part"] == "train"]
    target = topk[topk["part"] != "train"][[USER, "part", ITEM]]
    if task == "direct":
        target = target[target[ITEM].isin(set(train[ITEM])) & target[USER].isin(set(train[USER]))]
    else:
        sizes = train.groupby(USER).size()
        target = target[target[USER].isin(sizes[sizes >= 2].index)]
    return target.reset_index(drop=True)
