"""The first stages of a run: read and clean the log, split it, audit the split; and where later ones find an LLM."""

from __future__ import annotations

import functools
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from raypipe.cluster import session
from raypipe.config import RunConfig
from raypipe.data.audit import audit
from raypipe.data.dataset import Dataset, read
from raypipe.data.split import make_split
from raypipe.errors import DataError
from raypipe.pipeline.stage import Context, Stage
from raypipe.schema import RATING
from raypipe.sections import OriginConfig

DATA = ("data", "schema.py")

#: the settings of the data that the split depends on
PROTOCOL = {"protocol", "liked_from", "split", "temporal_cuts", "mask_history"}


def model_of(folder: Path) -> str:
    """The LLM of a stage's output: its own folder, or what the reference names."""
    reference = folder / "source.json"
    return json.loads(reference.read_text())["model"] if reference.is_file() else str(folder / "model")


def fingerprint(origin: OriginConfig) -> Any:
    """What identifies the source files: the name and the content of each, so that a copy elsewhere is the same data."""
    folder = Path(origin.dir) if origin.dir else None
    return contents(folder) if folder is not None and folder.is_dir() else None


def contents(folder: Path) -> list[tuple[str, str]]:
    """Name and hash of each file of a folder."""
    return [(f.name, _content(f)) for f in sorted(folder.iterdir()) if f.is_file()]


def _content(file: Path) -> str:
    known = file.stat()
    return _digest(str(file), known.st_size, known.st_mtime_ns)


@functools.cache
def _digest(path: str, size: int, changed: int) -> str:
    """The hash of a file that is so large and was changed then; an experiment's many runs read it once."""
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def both(at: str = "") -> dict[str, str]:
    """The inputs of a stage that reads a dataset; `at` is the prefix of its stages."""
    return {"data": f"{at}data", "split": f"{at}split"}


def data_stages(config: RunConfig, at: str = "") -> list[Stage]:
    """The stages AT/data and AT/split."""
    protocol = [config.data.model_dump(include=PROTOCOL), config.llm.tune.holdout]
    rated = "rating" in {*config.tasks, *config.learnt}
    return [
        read_stage(config.data, f"{at}data", rated),
        Stage(f"{at}split", partial(_split, config=config), {"data": f"{at}data"}, protocol, DATA),
    ]


def read_stage(origin: OriginConfig, name: str, rated: bool = False) -> Stage:
    """The stage that reads and cleans a dataset; `rated`: its ratings are to be predicted."""
    settings = {
        **origin.model_dump(include={"name", "options", "min_interactions", "repeated"}),
        "files": fingerprint(origin),
        "rating": rated,
    }
    return Stage(name, partial(_read, origin=origin, rated=rated), config=settings, code=DATA)


def _read(ctx: Context, origin: OriginConfig, rated: bool) -> dict[str, Any]:
    dataset = read(origin)
    if rated and dataset.interactions[RATING].nunique() < 2:
        raise DataError(
            "all ratings are equal, so there is nothing to predict", "task rating", "leave it out: --tasks direct,sequential"
        )
    dataset.save(ctx.out)
    log = dataset.interactions
    return {"rows": len(log), "users": len(dataset.users), "items": len(dataset.items), "quality": dataset.quality,
            "published_as": dataset.published_as}  # fmt: skip


def _split(ctx: Context, config: RunConfig) -> dict[str, Any]:
    made = make_split(Dataset.load(ctx.input("data")).interactions, config.data, config.llm.tune.holdout)
    if not (made.topk["part"] == "test").any():
        raise DataError(
            f"no user has a test row under the protocol {config.data.label!r}", f"dataset {config.data.name}",
            "give more data, or change data.protocol, data.split or data.temporal_cuts",
        )  # fmt: skip
    made.save(ctx.out)
    findings = audit(made)
    session.post("    leakage audit")
    for name, value in findings.items():
        session.post(f"      {name}: {value:.1%}" if "share" in name else f"      {name}: {value}")
    parts = made.topk["part"].value_counts().to_dict()
    rated = made.rating["part"].value_counts().to_dict()
    return {"rows": len(made.topk), "top-k rows": parts, "rating rows": rated, "audit": findings}
