"""Interaction histories as of a point in time, and which users and items are similar.

Nothing here reads the second snapshot: `train` is the training part of the first snapshot, and
`first` is all of the first snapshot.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import TEST, VALIDATION, Snapshots
from raypipe.papers.reclm.vectors import unit
from raypipe.pipeline.stage import Context

#: what a model or a profile may know: `train`, the training part of the first snapshot, or `first`,
#: the whole first snapshot
AsOf = Literal["train", "first"]
AS_OF: tuple[AsOf, ...] = ("train", "first")
#: the part on which models of each kind are evaluated
EVALUATED_PART: dict[AsOf, str] = {"train": VALIDATION, "first": TEST}


def load_tables(ctx: Context) -> SnapshotMatrices:
    """The dataset with both snapshots, from the inputs `data` and `snapshots`."""
    return SnapshotMatrices(Dataset.load(ctx.input("data")), Snapshots.load(ctx.input("snapshots")))


def histories(tables: SnapshotMatrices, part: str) -> Ragged:
    """[U] the items of each user, oldest first, that models evaluated on `part` may know."""
    known = tables.fit_rows(part)
    users, items = known["u"].to_numpy(np.int64), known["i"].to_numpy(np.int64)
    return _group(users, items, len(tables.users))


def users_by_item(tables: SnapshotMatrices, part: str) -> Ragged:
    """[I] the users of each item, in user order, that models evaluated on `part` may know."""
    known = tables.fit_rows(part)
    users, items = known["u"].to_numpy(np.int64), known["i"].to_numpy(np.int64)
    return _group(items, users, len(tables.items))


def _group(keys: np.ndarray, values: np.ndarray, n_keys: int) -> Ragged:
    order = np.argsort(keys, kind="stable")
    return Ragged(np.searchsorted(keys[order], np.arange(n_keys + 1)), values[order])


def nearest_with_other_history(
    user: int, similar_users: np.ndarray, user_histories: Ragged, shown: int
) -> int | None:
    """The most similar user whose prompt shows other items; None if there is none.

    The profile of a user with the same items describes both users equally well, so it cannot serve
    as a bad answer (R20). On MIND, four users of five have a single click, which many others share.

    Args:
        similar_users: [N] users, the most similar first.
        shown: how many of the newest items a prompt shows.
    """
    own_items = set(user_histories.row(user)[-shown:])
    for other in similar_users.tolist():
        if set(user_histories.row(other)[-shown:]) != own_items:
            return int(other)
    return None


def similar_items(
    vectors_Id: np.ndarray, items: np.ndarray, candidates: np.ndarray, n: int
) -> np.ndarray:
    """[len(items), n] the candidates whose texts are most similar by cosine, nearest first (R23).

    An item is never similar to itself, so at most len(candidates) - 1 are returned.
    """
    cosine = unit(vectors_Id[items]) @ unit(vectors_Id[candidates]).T
    cosine[np.asarray(items)[:, None] == np.asarray(candidates)[None, :]] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(n, len(candidates) - 1)]
    return np.asarray(candidates)[order]
