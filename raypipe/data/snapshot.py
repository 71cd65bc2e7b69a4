"""Two snapshots of a log, the first to train on and the second to be foretold, and what validation holds out of the first.

full-shot   all that a user does in the second snapshot, ranked among the items that occur in it (RecLM R27, RO2)
zero-shot   the same for the items alone that the first snapshot does not have

RecLM's code chooses on the second snapshot (RO1). Here the first one holds out its own questions of both kinds: some items with all
their rows, which stand for those to come, and one row each of some users who have more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.data.config import SnapshotConfig
from raypipe.errors import DataError
from raypipe.schema import ITEM, TIME, USER
from raypipe.seeding import uniform

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Snapshots:
    """rows: user_id, item_id, part (train, validation, test), cold. `cold` marks rows whose item has no row that the part's models
    were fitted on: held out completely in validation, new in the second snapshot at test.
    """

    rows: pd.DataFrame

    def save(self, folder: Path) -> None:
        self.rows.to_parquet(folder / "rows.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Snapshots:
        return cls(pd.read_parquet(folder / "rows.parquet"))

    def part(self, *parts: str) -> pd.DataFrame:
        """The rows of some parts."""
        return self.rows[self.rows["part"].isin(parts)]

    def facts(self) -> dict[str, int]:
        """Counts as in RecLM's Table 4, and of the questions."""
        first, second = self.part(TRAIN, VALIDATION), self.part(TEST)
        new = second[second["cold"]]
        return {
            "users": self.rows[USER].nunique(),
            "items in both": len(set(first[ITEM]) & set(second[ITEM])),
            "first items": first[ITEM].nunique(),
            "first rows": len(first),
            "second items": second[ITEM].nunique(),
            "second rows": len(second),
            "full-shot users": second[USER].nunique(),
            "zero-shot users": new[USER].nunique(),
            "zero-shot items": new[ITEM].nunique(),
            "zero-shot rows": len(new),
            "validation rows": int((self.rows["part"] == VALIDATION).sum()),
            "validation rows of held-out items": int(
                ((self.rows["part"] == VALIDATION) & self.rows["cold"]).sum()
            ),
        }


def make_snapshots(log: pd.DataFrame, config: SnapshotConfig, seed: int) -> Snapshots:
    """Cut a cleaned log, sorted by user and time; pairs that occur in both snapshots are rows of the first (RO3).

    Users without a row in the first snapshot are left out of the second: nothing is known of them (RO26).

    Raises:
        DataError: one of the snapshots is empty.
    """
    where = float(np.quantile(log[TIME], 0.8)) if config.cut is None else config.cut
    later = log[TIME] >= where
    rows = log[[USER, ITEM]].assign(part=np.where(later, TEST, TRAIN))
    rows = rows[
        (rows["part"] == TRAIN) | rows[USER].isin(set(rows.loc[rows["part"] == TRAIN, USER]))
    ].reset_index(drop=True)
    first, second = (rows[rows["part"] == part] for part in (TRAIN, TEST))
    if first.empty or second.empty:
        raise DataError(
            f"no row lies {'before' if first.empty else 'after'} the cut at {where:g}",
            "data.cut",
            f"timestamps go from {log[TIME].min()} to {log[TIME].max()}; cut between them",
        )
    # each draw belongs to its item, row or user: a log that grew holds out nearly the same
    items = first[ITEM].unique()
    draw = pd.Series([uniform(seed, "held-out item", i) for i in items], items)
    held = first[ITEM].isin(
        draw.nsmallest(max(1, round(config.validation_items * len(items)))).index
    )
    warm = first[~held]
    several = warm[warm.groupby(USER)[ITEM].transform("size") > 1]
    names = zip(several[USER], several[ITEM], strict=True)
    drawn = several.assign(draw=[uniform(seed, "held-out row", u, i) for u, i in names])
    drawn = drawn.sort_values("draw", kind="stable").drop_duplicates(USER)  # one row a user
    asked = drawn.index[
        [uniform(seed, "user of validation", u) < config.validation_users for u in drawn[USER]]
    ]
    rows.loc[held.index[held], "part"] = VALIDATION
    rows.loc[asked, "part"] = VALIDATION
    cold = pd.Series(False, rows.index)
    for part, known in ((VALIDATION, [TRAIN]), (TEST, [TRAIN, VALIDATION])):
        own = rows["part"] == part
        cold |= own & ~rows[ITEM].isin(set(rows.loc[rows["part"].isin(known), ITEM]))
    return Snapshots(rows.assign(cold=cold))
