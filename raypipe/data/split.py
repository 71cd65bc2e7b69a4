"""Splits of a log, and the rows that the hint models must not see (LO12).

Two splits are made. `topk` splits the positives of the protocol (`all`: every interaction; `liked`: ratings of liked_from or
more, LO1). `rating` splits every rating (LO3). Equal timestamps keep file order.

leave_one_out  per user the last row is test, the last but one is validation, the rest is train (L35)
temporal       two points in time, the same for all users: train is what lies before the first; a user's validation row is the first
               after it, the test row the first after the second point. Rows in between train nothing; they are history at test.

The last `holdout` training rows of a user are marked `held`: hint models are fitted without them, and they are the targets of
instruction tuning, so that no hint in a tuning prompt comes from a model that saw its target.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.data.config import DataConfig
from raypipe.schema import ITEM, RATING, TIME, USER

PARTS = ("train", "validation", "test")
#: a row that is neither trained on nor asked about
BETWEEN = "between"


@dataclass(frozen=True)
class Split:
    """Frames with user_id, item_id, rating, timestamp, part (train, validation, test, between), position (0 = oldest), held.

    `rating` also has `hidden`: rows that are validation or test of the top-k tasks. The LLM serves all tasks with one set of
    weights, so nothing that it is tuned on may contain them.

    `masked` says whether sequential models are kept from recommending the history again (LO2).
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
    """Split a log sorted by user and time; users with fewer than three rows are left out."""
    log = log[log.groupby(USER)[ITEM].transform("size") >= 3].reset_index(drop=True)
    left = log.groupby(USER).cumcount(ascending=False)
    return _marked(
        log.assign(part=np.select([left == 0, left == 1], ["test", "validation"], "train")), holdout
    )


def temporal(log: pd.DataFrame, cuts: tuple[float, float], holdout: int) -> pd.DataFrame:
    """Split a log sorted by user and time at two quantiles of its timestamps; users with fewer than three rows are left out."""
    log = log[log.groupby(USER)[ITEM].transform("size") >= 3].reset_index(drop=True)
    first, second = np.quantile(log[TIME], cuts, method="lower") if len(log) else (0, 0)
    era = np.select([log[TIME] <= first, log[TIME] <= second], [0, 1], 2)
    earliest = ~log.assign(era=era).duplicated([USER, "era"])
    part = np.select(
        [era == 0, earliest & (era == 1), earliest & (era == 2)],
        ["train", "validation", "test"],
        BETWEEN,
    )
    return _marked(log.assign(part=part), holdout)


def _marked(log: pd.DataFrame, holdout: int) -> pd.DataFrame:
    """Add position and held; a user keeps at least two training rows that are not held, where there are as many."""
    position = log.groupby(USER).cumcount()
    train = log["part"] == "train"
    left = log[train].groupby(USER).cumcount(ascending=False).reindex(log.index, fill_value=holdout)
    return log.assign(position=position, held=train & (left < holdout) & (position >= 2))


def make_split(interactions: pd.DataFrame, config: DataConfig, holdout: int) -> Split:
    """Both splits of a cleaned log."""

    def cut(log: pd.DataFrame) -> pd.DataFrame:
        return (
            temporal(log, config.temporal_cuts, holdout)
            if config.split == "temporal"
            else leave_one_out(log, holdout)
        )

    positives = (
        interactions
        if config.protocol == "all"
        else interactions[interactions[RATING] >= config.liked_from]
    )
    topk, rating = cut(positives), cut(interactions)
    secret = topk.loc[topk["part"] != "train", [USER, ITEM]].assign(hidden=True)
    rating = rating.merge(secret, on=[USER, ITEM], how="left")
    return Split(topk, rating.assign(hidden=rating["hidden"].eq(True)), config.mask_history)


def evaluated_users(topk: pd.DataFrame, task: str) -> pd.DataFrame:
    """The (user, part) rows that the top-k tasks are evaluated on: user_id, part, item_id (the target).

    Direct models cannot score an item without training rows, so users whose target has none are left out (927 of 943 on
    ML-100K `liked`); sequential evaluation needs two training positives (940 of 943). Both counts are the paper's (LO1).
    """
    train = topk[topk["part"] == "train"]
    target = topk[topk["part"].isin(PARTS[1:])][[USER, "part", ITEM]]
    if task == "direct":
        target = target[
            target[ITEM].isin(train[ITEM].unique()) & target[USER].isin(train[USER].unique())
        ]
    else:
        sizes = train.groupby(USER).size()
        target = target[target[USER].isin(sizes[sizes >= 2].index)]
    return target.reset_index(drop=True)
