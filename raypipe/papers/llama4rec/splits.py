"""The stages that read a dataset and split it, with an audit that looks for leaks."""

from __future__ import annotations

from functools import partial
from typing import Any

from raypipe.cluster import session
from raypipe.data.audit import audit
from raypipe.data.dataset import Dataset
from raypipe.data.split import make_split
from raypipe.errors import DataError
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.pipeline.stage import Context, Stage
from raypipe.steps.dataset import read_stage

#: the settings of the data that the split depends on
PROTOCOL = {"protocol", "liked_from", "split", "temporal_cuts", "mask_history"}


def both(at: str = "") -> dict[str, str]:
    """The inputs of a stage that reads a dataset; `at` is the prefix of its stages."""
    return {"data": f"{at}data", "split": f"{at}split"}


def data_stages(config: Llama4RecConfig, at: str = "") -> list[Stage]:
    """The stages AT/data and AT/split."""
    protocol = [config.data.model_dump(include=PROTOCOL), config.llm.tune.holdout]
    rated = "rating" in {*config.tasks, *config.hint_backbones}
    return [
        read_stage(config.data, f"{at}data", rated),
        Stage(f"{at}split", partial(_split, config=config), {"data": f"{at}data"}, protocol),
    ]


def _split(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    split = make_split(
        Dataset.load(ctx.input("data")).interactions, config.data, config.llm.tune.holdout
    )
    if not (split.topk["part"] == "test").any():
        raise DataError(
            f"no user has a test row under the protocol {config.data.label!r}",
            f"dataset {config.data.name}",
            "give more data, or change data.protocol, data.split or data.temporal_cuts",
        )
    split.save(ctx.out)
    findings = audit(split)
    session.post("    leakage audit")
    for name, value in findings.items():
        session.post(f"      {name}: {value:.1%}" if "share" in name else f"      {name}: {value}")
    parts = split.topk["part"].value_counts().to_dict()
    rated = split.rating["part"].value_counts().to_dict()
    return {"rows": len(split.topk), "top-k rows": parts, "rating rows": rated, "audit": findings}
