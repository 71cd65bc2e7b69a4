"""The stage that cuts the log into two snapshots."""

from __future__ import annotations

from typing import Any

from raypipe.cluster import session
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import make_snapshots
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.pipeline.stage import Context


def split_snapshots(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The rows of both snapshots with their parts, see `raypipe.data.snapshot`."""
    made = make_snapshots(Dataset.load(ctx.input("data")).interactions, config.data, config.seed)
    made.save(ctx.out)
    facts = made.facts()
    session.post(f"    {', '.join(f'{name}: {n:,}' for name, n in facts.items())}")
    return {"rows": len(made.rows), **facts}
