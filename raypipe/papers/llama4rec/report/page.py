"""report.html of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from raypipe.backbones import registry
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.report import plots
from raypipe.papers.llama4rec.report.answer import TASKS, Answer
from raypipe.papers.llama4rec.report.result_tables import TaskTable
from raypipe.papers.llama4rec.report.samples import samples
from raypipe.papers.llama4rec.report.text import GAIN_HEAD, HOW_TO_READ, WEIGHT, cost_facts
from raypipe.reports import pages

#: fits whose learning curves are shown, and the data that they read
FITS = {"base": "Base", "augmented": "augmented data"}

#: counts of generated attributes in report.json -> what the page calls them
ATTRIBUTE_COLUMNS = {
    "drawn": "values",
    "not known": "LLM answered unknown",
    "truth known": "true value known",
    "right": "right",
}


def artifact_facts(
    config: Llama4RecConfig, artifact: Callable[[str], Path], report: Mapping[str, Any]
) -> dict[str, object]:
    """What the page shows beyond report.json: plots and sample prompts.

    Args:
        artifact: name of a stage -> its output.
    """
    chosen = json.loads((artifact("chosen/llama4rec") / "chosen.json").read_text())
    return {
        "heat_maps": _heat_maps(chosen),
        "weights": plots.weights(chosen),
        "curves": _curves(config, artifact, report),
        "samples": samples(config, artifact, chosen),
    }


def _curves(
    config: Llama4RecConfig, artifact: Callable[[str], Path], report: Mapping[str, Any]
) -> list[str]:
    """Learning curves of the first seed: a plot for ranking, and one for rating prediction."""
    rating = config.backbones["rating"] if "rating" in config.tasks else ()
    lines: dict[str, dict[str, list[dict[str, float]]]] = {}
    for stage in report["stages"]:
        seed, _, fit = stage["name"].partition("/")
        data, _, backbone = fit.partition("/")
        if seed == f"seed{config.seed}" and data in FITS:
            metric = "RMSE" if backbone in rating else "N@10"
            points = json.loads((artifact(stage["name"]) / "curve.json").read_text())
            name = f"{registry.title(backbone)}, {FITS[data]}"
            lines.setdefault(metric, {})[name] = points
    return [plots.curves(fits, metric) for metric, fits in lines.items()]


def _heat_maps(chosen: Sequence[Mapping[str, Any]]) -> list[str]:
    maps = []
    for choice in chosen:
        if choice["grid"]:
            point = choice["alpha_1"], choice["alpha_2"]
            label = f"{choice['task']} · {registry.title(choice['backbone'])}"
            maps.append(plots.heat_map(choice["grid"], point, label))
    return maps


def render(
    answer: Answer,
    tables: Sequence[TaskTable],
    report: Mapping[str, Any],
    facts: Mapping[str, object],
) -> str:
    """The page.

    Args:
        facts: as `artifact_facts` returns them; plots and samples that are missing are left out.
    """
    shown = {
        "answer": answer,
        "gain_head": GAIN_HEAD,
        "how_to_read": HOW_TO_READ,
        "tables": tables,
        "task_names": TASKS,
        "attribute_columns": ATTRIBUTE_COLUMNS,
        "weight_note": WEIGHT,
        "titles": _titles(report["aggregation"]),
        "report": report,
        "run": report["run"],
        "costs": cost_facts(report["llm"]),
    }
    return pages.page(Path(__file__).parent, "page", {**shown, **facts})


def _titles(aggregation: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    backbones = [weights["backbone"] for weights in aggregation]
    return dict(zip(backbones, map(registry.title, backbones), strict=True))
