"""A run over a newer log with the LLMs of a bundle, which are not tuned again (R4).

It refreshes profiles, for example every night. Answers are cached by prompt and LLM, so only the
profiles whose prompts changed are written again. To keep the prompts of other users as they are,
users with an unchanged history keep their similar users.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import VALIDATION, Snapshots
from raypipe.errors import ConfigError
from raypipe.papers.reclm import backbones
from raypipe.papers.reclm.bundle import FORMAT
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories, load_tables
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import file_hashes
from raypipe.steps.bundle import read_head

#: rows that the LLMs of a bundle can fill
ROWS = ("base", "wo_user", "wo_item", "augment")


def check_kept(config: ReclmConfig) -> None:
    """Refuse a bundle that `llm.keep` cannot use.

    Raises:
        ConfigError: the bundle has no LLMs, its LLMs were tuned on other prompts, or they cannot
            fill a row.
        ArtifactError: the bundle has another format.
    """
    if config.llm.keep is None:
        return
    folder = Path(config.llm.keep)
    head = read_head(folder)
    if head.get("paper") != "reclm" or not (folder / "llm" / "users").is_dir():
        raise ConfigError(
            f"{folder} is not a RecLM bundle with LLMs",
            "llm.keep",
            "give the bundle/ of a run with the row augment",
        )
    read_head(folder, FORMAT)
    profiles = config.profiles.model_dump(mode="json")
    different = []
    for name, value in head["config"]["profiles"].items():
        if profiles.get(name) != value:
            different.append(f"profiles.{name}={value}")
    if different:
        raise ConfigError(
            "the bundle's LLMs were tuned on other prompts",
            "profiles",
            f"set {', '.join(different)}, as in the bundle",
        )
    missing = [row for row in config.rows if row not in ROWS]
    if missing:
        raise ConfigError(
            f"a bundle has no LLM for {', '.join(missing)}",
            "rows",
            f"choose among {', '.join(ROWS)}",
        )


def bundle_contents(folder: str) -> list[Any]:
    """Name and hash of all files that a run takes from a bundle."""
    files = []
    for part in ("llm/users", "llm/items", "snapshots", "neighbours"):
        files.append(file_hashes(Path(folder) / part))
    return files


def kept_llm(ctx: Context, config: ReclmConfig, side: str) -> dict[str, Any]:
    """model/: the bundle's LLM that writes profiles of a side, user or item."""
    assert config.llm.keep is not None
    shutil.copytree(Path(config.llm.keep) / "llm" / f"{side}s", ctx.out / "model")
    return {"rows": 0}


def neighbours(ctx: Context, config: ReclmConfig, name: str) -> dict[str, Any]:
    """similar.npy: `backbones.similar_users`, or the bundle's for users with the same history."""
    assert config.llm.keep is not None
    folder = Path(config.llm.keep)
    similar = backbones.similar_users(ctx, config, name)
    old_similar = np.load(folder / "neighbours" / "similar.npy")
    tables = load_tables(ctx)
    old_tables = SnapshotMatrices(
        Dataset.load(folder / "dataset"), Snapshots.load(folder / "snapshots")
    )
    # today's row number of each user of the bundle; -1 if the user is gone
    number = tables.users.get_indexer(old_tables.users)
    renumbered = number[old_similar]
    items = _item_ids(histories(tables, VALIDATION), tables.items)
    old_items = _item_ids(histories(old_tables, VALIDATION), old_tables.items)
    unchanged = []
    if old_similar.shape[1] == similar.shape[1]:
        for old_user, user in enumerate(number.tolist()):
            all_there = user >= 0 and (renumbered[old_user] >= 0).all()
            if all_there and items[user] == old_items[old_user]:
                unchanged.append(old_user)
    similar[number[unchanged]] = renumbered[unchanged]
    np.save(ctx.out / "similar.npy", similar)
    return {"rows": len(similar), "as before": len(unchanged)}


def _item_ids(lists: Ragged, items: pd.Index) -> list[tuple[str, ...]]:
    """The ids of the items in each list."""
    names = items.to_numpy(object)
    return [tuple(names[lists.row(number)]) for number in range(len(lists))]
