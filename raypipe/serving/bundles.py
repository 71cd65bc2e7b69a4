"""Which bundle is served: the named one, or the newest of the runs here."""

from __future__ import annotations

import os
from pathlib import Path


def newest_bundle(folder: Path) -> Path:
    """RAYPIPE_BUNDLE, or the newest bundle below `folder`/runs; that of the toy run where there is
    none.
    """
    named = os.environ.get("RAYPIPE_BUNDLE")
    if named:
        return Path(named)
    heads = sorted(folder.glob("runs/*/bundle/bundle.json"), key=lambda p: p.stat().st_mtime)
    return heads[-1].parent if heads else folder / "runs" / "toy" / "bundle"
