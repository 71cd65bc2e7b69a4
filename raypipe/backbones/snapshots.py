"""Convert a dataset and its two snapshots to the arrays of the contract (RecLM R27, R28)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import FitData, Ragged, SetQueries
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import TEST, TRAIN, VALIDATION, Snapshots
from raypipe.schema import COLD, ITEM, PART, USER

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
        """The rows on which models for the queries of a part are fitted."""
        return self.rows[
            self.rows[PART].isin([TRAIN] if part == VALIDATION else [TRAIN, VALIDATION])
        ]

    def queries(self, part: str, setting: Literal["full-shot", "zero-shot"]) -> SetQueries:
        """The queries of validation or test: users with a history and with a relevant item.

        The catalogue holds the items of the part's snapshot (full-shot), or its cold-start items
        (zero-shot). Items of the user's history are not ranked (RO2).
        """
        history, targets = self.fit_rows(part), self.rows[self.rows[PART] == part]
        targets = targets[targets["u"].isin(set(history["u"]))]
        if setting == "zero-shot":
            targets = targets[targets[COLD]]
            catalogue = targets["i"]
        elif part == TEST:
            catalogue = targets["i"]
        else:
            catalogue = self.rows.loc[self.rows[PART] != TEST, "i"]
        users = np.sort(targets["u"].unique())
        return SetQueries(
            users, _lists(history, users), _lists(targets, users), np.sort(catalogue.unique())
        )

    def fit_data(self, part: str, texts: TextVectors | None) -> FitData:
        """Training arrays of models for the queries of a part.

        Validation uses the full-shot queries, which include the held-out items. Zero-shot queries
        alone are too noisy: on MIND a random order scores between 0.02 and 0.36, depending on where
        a few popular items land.
        """
        rows = self.fit_rows(part)
        n_users, n_items = len(self.users), len(self.items)
        return FitData(
            n_users=n_users,
            n_items=n_items,
            user=rows["u"].to_numpy(np.int64),
            item=rows["i"].to_numpy(np.int64),
            rating=np.ones(len(rows), np.float32),
            sequences=_lists(rows, np.arange(n_users)),
            pairs=np.empty((0, 3), np.int64),
            user_codes=np.zeros((n_users, 0), np.int64),
            item_codes=np.zeros((n_items, 0), np.int64),
            user_sizes=(),
            item_sizes=(),
            validation=self.queries(VALIDATION, "full-shot"),
            texts=texts,
        )


def _lists(rows: pd.DataFrame, users: np.ndarray) -> Ragged:
    """The items of each of some users; rows are grouped by user."""
    u, items = rows["u"].to_numpy(), rows["i"].to_numpy(np.int64)
    begin = np.searchsorted(u, users)
    return Ragged.from_slices(items, begin, np.searchsorted(u, users, side="right") - begin)
