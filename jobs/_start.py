"""Lets `python jobs/x.py` run the package beside it, where another one or none is installed."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.find_spec("raypipe")
if spec is None or not str(spec.origin).startswith(f"{ROOT}/"):
    sys.path.insert(0, str(ROOT))
