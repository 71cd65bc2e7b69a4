"""A run over a newer log with the LLMs of a bundle, which learn nothing new: profiles are refreshed, e.g. every night (R4).

Answers are remembered by prompt and LLM, so what is asked are the profiles whose prompts changed. That the prompts of other users
stay as they are, users whose history is as it was keep their similar users.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotTables
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import VALIDATION, Snapshots
from raypipe.errors import ConfigError
from raypipe.papers.reclm import backbones
from raypipe.papers.reclm.bundle import FORMAT
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories, tables
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import contents
from raypipe.steps.bundle import read_head

#: rows that the LLMs of a bundle can fill
ROWS = ("base", "wo_user", "wo_item", "augment")


def check_kept(config: ReclmConfig) -> None:
    """Refuse a bundle without LLMs, one whose LLMs know other prompts, and rows that they cannot fill.

    Raises:
        ConfigError: which.
    """
    if config.llm.keep is None:
        return
    folder = Path(config.llm.keep)
    facts = read_head(folder)
    if facts.get("paper") != "reclm" or not (folder / "llm" / "users").is_dir():
        raise ConfigError(
            f"{folder} is not a RecLM bundle with LLMs",
            "llm.keep",
            "give the bundle/ of a run with the row augment",
        )
    read_head(folder, FORMAT)
    own = config.profiles.model_dump(mode="json")
    other = [name for name, value in facts["config"]["profiles"].items() if own.get(name) != value]
    if other:
        told = ", ".join(f"profiles.{name}={facts['config']['profiles'][name]}" for name in other)
        raise ConfigError(
            "the bundle's LLMs learnt other prompts",
            "profiles",
            f"set {told}, as the bundle has them",
        )
    lost = [row for row in config.rows if row not in ROWS]
    if lost:
        raise ConfigError(
            f"a bundle has no LLM for {', '.join(lost)}", "rows", f"choose among {', '.join(ROWS)}"
        )


def kept(folder: str) -> list[Any]:
    """What identifies all that is taken from a bundle."""
    parts = [Path(folder) / "llm" / side for side in ("users", "items")]
    return [
        contents(part) for part in (*parts, Path(folder) / "snapshots", Path(folder) / "neighbours")
    ]


def kept_llm(ctx: Context, config: ReclmConfig, side: str) -> dict[str, Any]:
    """model/: the bundle's LLM that writes profiles of users, or of items."""
    assert config.llm.keep is not None
    shutil.copytree(Path(config.llm.keep) / "llm" / side, ctx.out / "model")
    return {"rows": 0}


def neighbours(ctx: Context, config: ReclmConfig, name: str) -> dict[str, Any]:
    """similar.npy: `backbones.similar_users`, but users whose history is as it was keep those of the bundle."""
    similar = backbones.similar_users(ctx, config, name)
    assert config.llm.keep is not None
    folder = Path(config.llm.keep)
    source = tables(ctx)
    before = SnapshotTables(Dataset.load(folder / "dataset"), Snapshots.load(folder / "snapshots"))
    old = np.load(folder / "neighbours" / "similar.npy")
    # as of today's numbers: -1 for who is gone
    number = source.users.get_indexer(before.users)
    near = number[old]
    now, then = (_named(histories(tables, VALIDATION), tables.items) for tables in (source, before))
    stays = [
        v
        for v, u in enumerate(number)
        if old.shape[1] == similar.shape[1]
        and u >= 0
        and (near[v] >= 0).all()
        and now[u] == then[v]
    ]
    similar[number[stays]] = near[stays]
    np.save(ctx.out / "similar.npy", similar)
    return {"rows": len(similar), "as before": len(stays)}


def _named(lists: Ragged, items: pd.Index) -> list[tuple[str, ...]]:
    """The ids of each list's items."""
    names = items.to_numpy(object)
    return [tuple(names[lists.row(u)]) for u in range(len(lists))]
