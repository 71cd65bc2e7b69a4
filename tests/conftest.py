"""Shared pieces: small toy data, and the jobs folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "jobs"))

from raypipe.backbones.tables import Tables  # noqa: E402
from raypipe.config import DataConfig  # noqa: E402
from raypipe.data.dataset import read  # noqa: E402
from raypipe.data.split import make_split  # noqa: E402


@pytest.fixture(scope="session")
def toy() -> Tables:
    config = DataConfig(name="toy", options={"users": 60, "items": 72, "mean_length": 12})
    dataset = read(config)
    return Tables(dataset, make_split(dataset.interactions, config, 2))


@pytest.fixture
def ml_100k() -> Path:
    """The folder of MovieLens-100K, where a developer has it."""
    folder = ROOT.parent / "shared" / "data" / "ml-100k"
    if not (folder / "u.data").is_file():
        pytest.skip("MovieLens-100K is not there: its licence forbids shipping it")
    return folder
