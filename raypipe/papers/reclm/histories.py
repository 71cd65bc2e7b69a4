"""Who did what in the part of the first snapshot that a fit may know, and which items are alike."""

from __future__ import annotations

from typing import Literal

import numpy as np

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotTables
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import TEST, VALIDATION, Snapshots
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.vectors import unit
from raypipe.pipeline.stage import Context
from raypipe.seeding import generator

#: what a fit knows: `train`, the training part of the first snapshot, or `first`, all of it
Known = Literal["train", "first"]
ASKED = {"train": VALIDATION, "first": TEST}


def tables(ctx: Context) -> SnapshotTables:
    """The arrays' source, from the inputs `data` and `snapshots`."""
    return SnapshotTables(Dataset.load(ctx.input("data")), Snapshots.load(ctx.input("snapshots")))


def histories(source: SnapshotTables, asked: str) -> Ragged:
    """The items of every user, oldest first, known to models that answer the questions of a part."""
    known = source.known(asked)
    return _grouped(known["u"].to_numpy(np.int64), known["i"].to_numpy(np.int64), len(source.users))


def takers(source: SnapshotTables, asked: str) -> Ragged:
    """The users who took each item, in the order of users."""
    known = source.known(asked)
    return _grouped(known["i"].to_numpy(np.int64), known["u"].to_numpy(np.int64), len(source.items))


def _grouped(key: np.ndarray, value: np.ndarray, n: int) -> Ragged:
    order = np.argsort(key, kind="stable")
    return Ragged(np.searchsorted(key[order], np.arange(n + 1)), value[order])


def users_of(
    item: int,
    taken: Ragged,
    source: SnapshotTables,
    written: dict[str, str],
    known: str,
    config: ReclmConfig,
) -> list[str]:
    """Profiles of some users who took an item, drawn by the seed; that of the training part where there is no newer one."""
    rng = generator(config.seed, "users of", str(source.items[item]))
    users = taken.row(item)
    drawn = users[rng.permutation(len(users))[: config.profiles.neighbours]]
    names = [source.users[u] for u in drawn]
    found = (written.get(f"{known}/{name}") or written.get(f"train/{name}") for name in names)
    return [p for p in found if p]


def unlike(user: int, similar: np.ndarray, known: Ragged, shown: int) -> int | None:
    """The most similar user of whom a prompt shows another history; None where there is none.

    A profile of who did the same fits the user as well, and is no bad answer (R20): on MIND four of five users have one click,
    which many others have, too.

    Args:
        similar: [N] users, the most similar first.
        shown: newest items of a user that a prompt shows.
    """
    own = set(known.row(user)[-shown:])
    return next((int(v) for v in similar if set(known.row(v)[-shown:]) != own), None)


def similar_items(
    vectors_Id: np.ndarray, items: np.ndarray, among: np.ndarray, n: int
) -> np.ndarray:
    """[items, n] those of `among` most alike by cosine of their texts, the nearest first, never the item itself (R23)."""
    cosine = unit(vectors_Id[items]) @ unit(vectors_Id[among]).T
    cosine[np.asarray(items)[:, None] == np.asarray(among)[None, :]] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(n, len(among) - 1)]
    return np.asarray(among)[order]
