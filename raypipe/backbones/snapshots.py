"""From a dataset and its two snapshots to the arrays of the contract (RecLM R27, R28)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import FitData, Ragged, SetQueries
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import TEST, TRAIN, VALIDATION, Snapshots
from raypipe.schema import ITEM, USER

if TYPE_CHECKING:
    from raypipe.backbones.entities import TextVectors


class SnapshotMatrices:
    """Row numbers of users and items of both snapshots, and the arrays built from them."""

    def __init__(self, dataset: Dataset, snapshots: Snapshots) -> None:
        self.dataset = dataset
        self.users, self.items = pd.Index(dataset.users[USER]), pd.Index(dataset.items[ITEM])
        rows = snapshots.rows
        self.rows = rows.assign(
            u=self.users.get_indexer(rows[USER]), i=self.items.get_indexer(rows[ITEM])
        ).sort_values("u", kind="stable")

    def fit_rows(self, part: str) -> pd.DataFrame:
        """What models that answer the questions of a part were fitted on."""
        return self.rows[
            self.rows["part"].isin([TRAIN] if part == VALIDATION else [TRAIN, VALIDATION])
        ]

    def queries(self, part: str, setting: Literal["full-shot", "zero-shot"]) -> SetQueries:
        """The questions of validation or test: users of whom something is known and who have a right answer.

        The catalogue is what occurs in the part's snapshot, or of it what is new; what the user did before is not ranked (RO2).
        """
        known, asked = self.fit_rows(part), self.rows[self.rows["part"] == part]
        asked = asked[asked["u"].isin(set(known["u"]))]
        if setting == "zero-shot":
            asked = asked[asked["cold"]]
            catalogue = asked["i"]
        else:
            catalogue = (
                asked["i"] if part == TEST else self.rows.loc[self.rows["part"] != TEST, "i"]
            )
        users = np.sort(asked["u"].unique())
        return SetQueries(
            users, _lists(known, users), _lists(asked, users), np.sort(catalogue.unique())
        )

    def fit_data(self, part: str, texts: TextVectors | None) -> FitData:
        """Training arrays of models that answer the questions of a part.

        Validation asks the full-shot questions, those about held-out items among them. Zero-shot ones alone would choose by luck:
        on MIND the value of a random order lies between 0.02 and 0.36, by where a few popular items happen to stand.
        """
        known = self.fit_rows(part)
        n_users, n_items = len(self.users), len(self.items)
        return FitData(
            n_users=n_users,
            n_items=n_items,
            user=known["u"].to_numpy(np.int64),
            item=known["i"].to_numpy(np.int64),
            rating=np.ones(len(known), np.float32),
            sequences=_lists(known, np.arange(n_users)),
            pairs=np.empty((0, 3), np.int64),
            user_codes=np.zeros((n_users, 0), np.int64),
            item_codes=np.zeros((n_items, 0), np.int64),
            user_sizes=(),
            item_sizes=(),
            validation=self.queries(VALIDATION, "full-shot"),
            texts=texts,
        )


def _lists(rows: pd.DataFrame, users: np.ndarray) -> Ragged:
    """The items of each of some users; rows stand user by user."""
    u, items = rows["u"].to_numpy(), rows["i"].to_numpy(np.int64)
    begin = np.searchsorted(u, users)
    return Ragged.from_slices(items, begin, np.searchsorted(u, users, side="right") - begin)
