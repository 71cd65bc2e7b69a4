"""Small toy data, and MovieLens-100K where a developer has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from raypipe.backbones.interaction_matrices import InteractionMatrices


@pytest.fixture(scope="session")
def toy() -> InteractionMatrices:
    from raypipe.backbones.interaction_matrices import InteractionMatrices
    from raypipe.data.config import DataConfig
    from raypipe.data.dataset import read
    from raypipe.data.split import make_split

    config = DataConfig(name="toy", options={"users": 60, "items": 72, "mean_length": 12})
    dataset = read(config)
    return InteractionMatrices(dataset, make_split(dataset.interactions, config, 2))


@pytest.fixture
def ml_100k() -> Path:
    """The folder of MovieLens-100K."""
    folder = ROOT.parent / "shared" / "data" / "ml-100k"
    if not (folder / "u.data").is_file():
        pytest.skip("MovieLens-100K is not there: its licence forbids shipping it")
    return folder
