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
    dataset = Dataset.load(ctx.input("data"))
    snapshots = make_snapshots(dataset.interactions, config.data, config.seed)
    snapshots.save(ctx.out)
    facts = snapshots.facts()
    counts = [f"{name}: {number:,}" for name, number in facts.items()]
    session.post(f"    {', '.join(counts)}")
    return {"rows": len(snapshots.rows), **facts}
