"""Two snapshots of a log: the first for training, the second to be predicted.

full-shot   rank all items of the second snapshot; relevant is all that a user does in it (R27, RO2)
zero-shot   the same for the cold-start items only, which the first snapshot does not have

RecLM's code selects on the second snapshot (RO1). Here validation data comes from the first one and
covers both settings: some items are held out with all their rows, as substitutes for future items,
and one row each of some users with several rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.data.config import SnapshotConfig
from raypipe.errors import DataError
from raypipe.schema import COLD, ITEM, PART, TIME, USER
from raypipe.seeding import uniform

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Snapshots:
    """Rows of both snapshots.

    Attributes:
        rows: user_id, item_id, part (train, validation, test) and cold. `cold` marks rows of a
            cold-start item: no row of it is among those that the part's models are fitted on. In
            validation the item is held out completely; at test it is new in the second snapshot.
    """

    rows: pd.DataFrame

    def save(self, folder: Path) -> None:
        self.rows.to_parquet(folder / "rows.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Snapshots:
        return cls(pd.read_parquet(folder / "rows.parquet"))

    def part(self, *parts: str) -> pd.DataFrame:
        """The rows of some parts."""
        return self.rows[self.rows[PART].isin(parts)]

    def facts(self) -> dict[str, int]:
        """Counts as in RecLM's Table 4, and the counts of validation rows."""
        first, second = self.part(TRAIN, VALIDATION), self.part(TEST)
        new = second[second[COLD]]
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
            "validation rows": int((self.rows[PART] == VALIDATION).sum()),
            "validation rows of held-out items": int(
                ((self.rows[PART] == VALIDATION) & self.rows[COLD]).sum()
            ),
        }


def make_snapshots(log: pd.DataFrame, config: SnapshotConfig, seed: int) -> Snapshots:
    """Cut a cleaned log, sorted by user and time, into two snapshots.

    A pair that occurs in both snapshots is a row of the first (RO3). Users without a row in the
    first snapshot are left out of the second, because no model knows them (RO26).

    Raises:
        DataError: one of the snapshots is empty.
    """
    cut = float(np.quantile(log[TIME], 0.8)) if config.cut is None else config.cut
    rows = log[[USER, ITEM]].assign(part=np.where(log[TIME] >= cut, TEST, TRAIN))
    known_users = set(rows.loc[rows[PART] == TRAIN, USER])
    rows = rows[(rows[PART] == TRAIN) | rows[USER].isin(known_users)].reset_index(drop=True)
    first, second = (rows[rows[PART] == part] for part in (TRAIN, TEST))
    if first.empty or second.empty:
        raise DataError(
            f"no row lies {'before' if first.empty else 'after'} the cut at {cut:g}",
            "data.cut",
            f"timestamps go from {log[TIME].min()} to {log[TIME].max()}; cut between them",
        )
    held_items, held_rows = _held_out(first, config, seed)
    rows.loc[held_items, PART] = VALIDATION
    rows.loc[held_rows, PART] = VALIDATION
    return Snapshots(rows.assign(cold=_cold(rows)))


def _held_out(first: pd.DataFrame, config: SnapshotConfig, seed: int) -> tuple[pd.Index, pd.Index]:
    """Row labels of the held-out items, and of the held-out rows of other items.

    Each draw depends on its item, row or user only, so a log that has grown holds out nearly the
    same rows.
    """
    items = first[ITEM].unique()
    item_draws = pd.Series([uniform(seed, "held-out item", item) for item in items], items)
    count = max(1, round(config.validation_items * len(items)))
    held = first[ITEM].isin(item_draws.nsmallest(count).index)
    warm = first[~held]
    several = warm[warm.groupby(USER)[ITEM].transform("size") > 1]
    pairs = zip(several[USER], several[ITEM], strict=True)
    row_draws = [uniform(seed, "held-out row", user, item) for user, item in pairs]
    candidates = several.assign(draw=row_draws).sort_values("draw", kind="stable")
    candidates = candidates.drop_duplicates(USER)  # one row per user
    user_draws = [uniform(seed, "user of validation", user) for user in candidates[USER]]
    chosen = np.array(user_draws) < config.validation_users
    return held.index[held], candidates.index[chosen]


def _cold(rows: pd.DataFrame) -> pd.Series:
    """Whether each validation or test row is of an item without a row that models are fitted on."""
    cold = pd.Series(False, rows.index)
    for part, fit_parts in ((VALIDATION, [TRAIN]), (TEST, [TRAIN, VALIDATION])):
        known_items = set(rows.loc[rows[PART].isin(fit_parts), ITEM])
        cold |= (rows[PART] == part) & ~rows[ITEM].isin(known_items)
    return cold
