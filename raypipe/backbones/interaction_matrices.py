"""Convert a dataset and its split to the arrays of the contract, and ids to row numbers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.backbones.arrays import FitData, Queries, Ragged, RatingQueries
from raypipe.data.dataset import Dataset
from raypipe.data.split import Split, evaluated_users
from raypipe.schema import HELD, ITEM, PART, POSITION, RATING, SPLIT, USER

#: (user, split) -> row numbers of the items of its list, best first
RankedLists = Mapping[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Augmentation:
    """Data that the LLM adds, by ids.

    Attributes:
        pairs: user_id, preferred, other: which of two items the user would prefer. insertions:
        user_id, item_id, place: items for the training sequences; `place` is the fraction
            of the sequence before the item.
        attributes: item_id and a column per attribute.
    """

    pairs: pd.DataFrame | None = None
    insertions: pd.DataFrame | None = None
    attributes: pd.DataFrame | None = None

    @classmethod
    def read(cls, folder: Path, backbone: str) -> Augmentation:
        """Read a stage's output: the rows of this backbone, and those of all backbones."""
        parts = {
            n: pd.read_parquet(folder / f"{n}.parquet")
            for n in ("pairs", "insertions", "attributes")
        }
        for name in ("pairs", "insertions"):
            parts[name] = parts[name][parts[name]["backbone"].isin(["all", backbone])]
        return cls(**parts)


class InteractionMatrices:
    """Row numbers of the log's users and the catalogue's items, and arrays built from them."""

    def __init__(self, dataset: Dataset, split: Split) -> None:
        self.dataset, self.split = dataset, split
        self.users, self.items = pd.Index(dataset.users[USER]), pd.Index(dataset.items[ITEM])
        self._targets: dict[tuple[str, str], pd.DataFrame] = {}

    @classmethod
    def load(cls, data: Path, split: Path) -> InteractionMatrices:
        """From a saved dataset and a saved split."""
        return cls(Dataset.load(data), Split.load(split))

    def read_lists(self, lists: Path) -> RankedLists:
        """The lists in a Parquet file or folder of LISTS, as row numbers.

        An item outside the catalogue gets -1. Ids are read dictionary-encoded, so each is looked up
        once.
        """
        table = pq.read_table(
            lists, columns=[USER, SPLIT, "items"], read_dictionary=["items.list.element"]
        )
        items = table.unify_dictionaries()["items"].combine_chunks()
        starts, ids = items.offsets.to_numpy().tolist(), items.flatten()
        if not pa.types.is_dictionary(ids.type):  # written with another name for list elements
            ids = ids.dictionary_encode()
        numbers = self.items.get_indexer(pd.Index(ids.dictionary.to_pylist()))[
            ids.indices.to_numpy()
        ].astype(np.int64)
        keys = zip(table[USER].to_pylist(), table[SPLIT].to_pylist(), strict=True)
        bounds = itertools.pairwise(starts)
        return {key: numbers[a:b] for key, (a, b) in zip(keys, bounds, strict=True)}

    def rows(self, task: str) -> pd.DataFrame:
        """The split of a task with row numbers `u` and `i`."""
        table = self.split.table(task)
        return table.assign(
            u=self.users.get_indexer(table[USER]), i=self.items.get_indexer(table[ITEM])
        )

    def target_rows(self, task: str, part: str) -> pd.DataFrame:
        """The rows to predict: evaluated validation or test rows, or the held rows for tuning."""
        if (task, part) not in self._targets:
            self._targets[task, part] = self._target_rows(task, part)
        return self._targets[task, part]

    def _target_rows(self, task: str, part: str) -> pd.DataFrame:
        rows = self.rows(task)
        if part == "held":
            return rows[rows[HELD]]
        if task == "rating":
            return rows[rows[PART] == part]
        chosen = evaluated_users(self.split.topk, task)
        return rows[rows[PART] == part].merge(chosen[chosen[PART] == part][[USER]], on=USER)

    def queries(self, task: str, part: str) -> Queries | RatingQueries:
        """The queries of a part.

        Top-k histories hold all positives before the target; at test that includes the validation
        item.
        """
        targets = self.target_rows(task, part)
        if task == "rating":
            rating = targets[RATING].to_numpy(np.float32)
            return RatingQueries(targets["u"].to_numpy(), targets["i"].to_numpy(), rating)
        rows = self.rows(task)
        sizes = rows.groupby("u", sort=False)["i"].agg("size")
        # rows are grouped by user, so a user's rows begin after those of the users before
        begin = pd.Series(np.concatenate([[0], np.cumsum(sizes.to_numpy())[:-1]]), sizes.index)
        history = Ragged.from_slices(
            rows["i"].to_numpy(),
            begin.reindex(targets["u"]).to_numpy(),
            targets[POSITION].to_numpy(),
        )
        masked = self.split.masked or task == "direct"
        return Queries(targets["u"].to_numpy(), history, targets["i"].to_numpy(), masked)

    def fit_data(self, task: str, hint: bool = False, extra: Augmentation | None = None) -> FitData:
        """Training arrays of a task.

        Args:
            hint: whether the model gives hints: held rows are left out (LO12).
            extra: data augmentation; its attributes fill empty values of the items.
        """
        extra = extra or Augmentation()
        rows = self.rows(task)
        train = rows[(rows[PART] == "train") & ~(rows[HELD] if hint else False)]
        sequences = self._sequences(train, extra.insertions)
        pairs = np.empty((0, 3), dtype=np.int64)
        if extra.pairs is not None and len(extra.pairs):
            p = extra.pairs
            pairs = np.column_stack(
                [
                    self.users.get_indexer(p[USER]),
                    self.items.get_indexer(p["preferred"]),
                    self.items.get_indexer(p["other"]),
                ]
            )
        item_table = self.dataset.items
        columns = list(self.dataset.item_features)
        for attribute in self.dataset.attributes:
            known = (
                item_table[attribute.name]
                if attribute.name in item_table
                else pd.Series("", item_table.index)
            )
            if extra.attributes is not None and attribute.name in extra.attributes:
                filled = (
                    extra.attributes.set_index(ITEM)[attribute.name]
                    .reindex(item_table[ITEM])
                    .to_numpy()
                )
                known = known.where(known != "", pd.Series(filled, item_table.index).fillna(""))
            elif attribute.name not in item_table:
                continue
            item_table = item_table.assign(**{attribute.name: known.replace("", "unknown")})
            columns.append(attribute.name)
        item_codes, item_sizes = _codes(item_table, columns)
        user_codes, user_sizes = _codes(self.dataset.users, list(self.dataset.user_features))
        return FitData(
            n_users=len(self.users),
            n_items=len(self.items),
            user=train["u"].to_numpy(np.int64),
            item=train["i"].to_numpy(np.int64),
            rating=train[RATING].to_numpy(np.float32),
            sequences=sequences,
            pairs=pairs,
            user_codes=user_codes,
            item_codes=item_codes,
            user_sizes=user_sizes,
            item_sizes=item_sizes,
            validation=self.queries(task, "held" if hint else "validation"),
        )

    def _sequences(self, train: pd.DataFrame, insertions: pd.DataFrame | None) -> Ragged:
        """U lists of training items, oldest first, with the items that the LLM inserted."""
        start = np.searchsorted(train["u"].to_numpy(), np.arange(len(self.users) + 1))
        plain = Ragged(start.astype(np.int64), train["i"].to_numpy(np.int64))
        if insertions is None or not len(insertions):
            return plain
        lists = [plain.row(u) for u in range(len(self.users))]
        for u, group in insertions.assign(u=self.users.get_indexer(insertions[USER])).groupby("u"):
            if u >= 0 and len(lists[u]):
                index = np.floor(group["place"].to_numpy() * (len(lists[u]) + 1)).astype(int)
                lists[u] = np.insert(lists[u], index, self.items.get_indexer(group[ITEM]))
        return Ragged.from_lists(lists)


def _codes(table: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, tuple[int, ...]]:
    """[rows, columns] category numbers in order of value, and the number of categories."""
    codes, sizes = np.empty((len(table), len(columns)), dtype=np.int64), []
    for c, column in enumerate(columns):
        code, values = pd.factorize(table[column].astype(str), sort=True)
        codes[:, c] = code
        sizes.append(len(values))
    return codes, tuple(sizes)
