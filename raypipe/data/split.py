"""Splits of a log into training, validation and test rows, and the rows held out for tuning (LO12).

A dataset gets two splits. `topk` splits the positives of the protocol: every interaction (`all`),
or the ratings of at least liked_from (`liked`, LO1). `rating` splits every rating (LO3). Rows with
equal timestamps keep the order of the file.

leave_one_out  per user: the last row is test, the one before it validation, the rest train (L35)
temporal       two points in time, the same for all users. Rows before the first point are train. A
               user's first row after the first point is validation, the first row after the second
               point is test. Rows in between are not trained on; they are history at test.

The last `holdout` training rows of a user are marked `held`. The models that give hints are fitted
without them, and instruction tuning predicts them, so that no hint in a tuning prompt comes from a
model that saw the target.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.data.config import DataConfig
from raypipe.schema import HIDDEN, ITEM, PART, RATING, TIME, USER

PARTS = ("train", "validation", "test")
#: a row that is neither trained on nor predicted
BETWEEN = "between"


@dataclass(frozen=True)
class Split:
    """Both splits of a dataset.

    Attributes:
        topk: user_id, item_id, rating, timestamp, part (train, validation, test, between), position
            (0 = oldest) and held.
        rating: the same columns and `hidden`, which marks validation and test rows of the top-k
            tasks. The LLM serves all tasks with one set of weights, so tuning must not see them.
        masked: whether sequential models may not recommend the history again (LO2).
    """

    topk: pd.DataFrame
    rating: pd.DataFrame
    masked: bool = True

    def save(self, folder: Path) -> None:
        self.topk.to_parquet(folder / "topk.parquet", index=False)
        self.rating.to_parquet(folder / "rating.parquet", index=False)
        (folder / "split.json").write_text(json.dumps({"masked": self.masked}))

    @classmethod
    def load(cls, folder: Path) -> Split:
        facts = json.loads((folder / "split.json").read_text())
        return cls(
            pd.read_parquet(folder / "topk.parquet"),
            pd.read_parquet(folder / "rating.parquet"),
            facts["masked"],
        )

    def table(self, task: str) -> pd.DataFrame:
        """The split of a task: `rating` for rating prediction, else `topk`."""
        return self.rating if task == "rating" else self.topk


def leave_one_out(log: pd.DataFrame, holdout: int) -> pd.DataFrame:
    """Split a log sorted by user and time. Users with fewer than three rows are left out."""
    log = log[log.groupby(USER)[ITEM].transform("size") >= 3].reset_index(drop=True)
    remaining = log.groupby(USER).cumcount(ascending=False)
    part = np.select([remaining == 0, remaining == 1], ["test", "validation"], "train")
    return _mark_held(log.assign(part=part), holdout)


def temporal(log: pd.DataFrame, cuts: tuple[float, float], holdout: int) -> pd.DataFrame:
    """Split a log sorted by user and time at two quantiles of its timestamps.

    Users with fewer than three rows are left out.
    """
    log = log[log.groupby(USER)[ITEM].transform("size") >= 3].reset_index(drop=True)
    first, second = np.quantile(log[TIME], cuts, method="lower") if len(log) else (0, 0)
    era = np.select([log[TIME] <= first, log[TIME] <= second], [0, 1], 2)
    earliest = ~log.assign(era=era).duplicated([USER, "era"])
    part = np.select(
        [era == 0, earliest & (era == 1), earliest & (era == 2)],
        ["train", "validation", "test"],
        BETWEEN,
    )
    return _mark_held(log.assign(part=part), holdout)


def _mark_held(log: pd.DataFrame, holdout: int) -> pd.DataFrame:
    """Add position and held. Held rows leave a user at least two training rows, if possible."""
    position = log.groupby(USER).cumcount()
    train = log[PART] == "train"
    remaining = log[train].groupby(USER).cumcount(ascending=False)
    remaining = remaining.reindex(log.index, fill_value=holdout)
    return log.assign(position=position, held=train & (remaining < holdout) & (position >= 2))


def make_split(interactions: pd.DataFrame, config: DataConfig, holdout: int) -> Split:
    """Both splits of a cleaned log."""

    def cut(log: pd.DataFrame) -> pd.DataFrame:
        if config.split == "temporal":
            return temporal(log, config.temporal_cuts, holdout)
        return leave_one_out(log, holdout)

    positives = (
        interactions
        if config.protocol == "all"
        else interactions[interactions[RATING] >= config.liked_from]
    )
    topk, rating = cut(positives), cut(interactions)
    evaluated = topk.loc[topk[PART] != "train", [USER, ITEM]].assign(hidden=True)
    rating = rating.merge(evaluated, on=[USER, ITEM], how="left")
    return Split(topk, rating.assign(hidden=rating[HIDDEN].eq(True)), config.mask_history)


def evaluated_users(topk: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows on which a top-k task is evaluated: user_id, part, item_id (the target).

    Direct models cannot score an item without training rows, so users with such a target are left
    out (927 of 943 users of ML-100K `liked` remain). Sequential evaluation needs two training
    positives (940 of 943 remain). Both counts equal the paper's (LO1).
    """
    train = topk[topk[PART] == "train"]
    target = topk[topk[PART].isin(PARTS[1:])][[USER, PART, ITEM]]
    if task == "direct":
        target = target[
            target[ITEM].isin(train[ITEM].unique()) & target[USER].isin(train[USER].unique())
        ]
    else:
        sizes = train.groupby(USER).size()
        target = target[target[USER].isin(sizes[sizes >= 2].index)]
    return target.reset_index(drop=True)
