"""Serve the bundle of a run: `make serve`, or `serve run serve_app:app`.

RAYPIPE_BUNDLE names the bundle's folder; without it, the newest runs/*/bundle is taken.
"""

import os
from pathlib import Path

from raypipe.serving.app import deployment


def newest() -> Path:
    """RAYPIPE_BUNDLE, or the newest bundle below runs/."""
    named = os.environ.get("RAYPIPE_BUNDLE")
    if named:
        return Path(named)
    found = sorted(
        Path(__file__).parent.glob("runs/*/bundle/bundle.json"), key=lambda p: p.stat().st_mtime
    )
    return found[-1].parent if found else Path(__file__).parent / "runs" / "toy" / "bundle"


app = deployment(newest())
