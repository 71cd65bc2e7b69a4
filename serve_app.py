"""Serve the bundle of a run: `raypipe serve`, `make serve`, or `serve run serve_app:app`.

RAYPIPE_BUNDLE names the bundle's folder; without it, the newest runs/*/bundle is taken.
"""

from pathlib import Path

from raypipe.serving.app import deployment
from raypipe.serving.bundles import newest_bundle

app = deployment(newest_bundle(Path(__file__).parent))
