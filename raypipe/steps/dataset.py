"""The first stage of a run: read and clean the interactions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from raypipe.data.config import SourceConfig
from raypipe.data.dataset import read
from raypipe.errors import DataError
from raypipe.pipeline.stage import Context, Stage
from raypipe.schema import RATING
from raypipe.steps.artifacts import file_hashes


def fingerprint(origin: SourceConfig) -> Any:
    """Name and hash of each source file, so that a copy elsewhere counts as the same data."""
    folder = Path(origin.dir) if origin.dir else None
    return file_hashes(folder) if folder is not None and folder.is_dir() else None


def read_stage(origin: SourceConfig, name: str, rated: bool = False) -> Stage:
    """The stage that reads and cleans a dataset.

    Args:
        rated: the run predicts ratings, so they must differ.
    """
    settings = {
        **origin.model_dump(include={"name", "options", "min_interactions", "repeated"}),
        "files": fingerprint(origin),
        "rating": rated,
    }
    return Stage(name, partial(_read, origin=origin, rated=rated), config=settings)


def _read(ctx: Context, origin: SourceConfig, rated: bool) -> dict[str, Any]:
    dataset = read(origin)
    if rated and dataset.interactions[RATING].nunique() < 2:
        raise DataError(
            "all ratings are equal, so there is nothing to predict",
            "task rating",
            "leave it out: --tasks direct,sequential",
        )
    dataset.save(ctx.out)
    log = dataset.interactions
    return {
        "rows": len(log),
        "users": len(dataset.users),
        "items": len(dataset.items),
        "quality": dataset.quality,
        "published_as": dataset.published_as,
    }
