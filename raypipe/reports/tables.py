"""Rows of the report: our values over seeds, the published ones beside them."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.backbones import registry

TITLES = {"base": "Base", "ift": "IFT", "wo_da": "w/o DA", "wo_pa": "w/o PA", "wo_aa": "w/o AA", "llama4rec": "Llama4Rec"}


@functools.cache
def _published() -> dict[tuple[str, str, str, str], float]:
    with open(Path(__file__).parent / "published.csv", newline="") as stream:
        return {
            (r["dataset"], r["backbone"], r["variant"], r["metric"]): float(r["value"])
            for r in csv.DictReader(stream)
            if r["table"] in ("II", "IV", "V", "VI")
        }


def published(dataset: str, backbone: str, variant: str, metric: str) -> float | None:
    """The value that Llama4Rec prints (Tables II, IV, V, VI), or None. IFT of the rating task is one row, "LLaMA"."""
    table, name = _published(), registry.title(backbone)
    own = table.get((dataset, name, TITLES[variant], metric))
    return own if own is not None or variant != "ift" else table.get((dataset, "LLaMA", "IFT", metric))


def results(dataset: str, published_as: str, protocol: str, measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per task, backbone, variant and metric, with the value of each seed.

    Args:
        measured: what the stage `evaluate` wrote.
    """
    rows = []
    for own in measured:
        values = own["values"]
        about = {"dataset": dataset, "protocol": protocol, "task": own["task"], "backbone": own["backbone"],
                 "variant": own["variant"], "split": "test", "metric": own["metric"], "mean": float(np.mean(values)),
                 "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}  # fmt: skip
        printed = published(published_as, own["backbone"], own["variant"], own["metric"])
        rows.append({**about, **own, "published": printed})
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """The result table as text for a terminal."""
    lines = []
    for task, backbone in dict.fromkeys((r["task"], r["backbone"]) for r in rows):
        own = [r for r in rows if (r["task"], r["backbone"]) == (task, backbone)]
        names = list(dict.fromkeys(r["metric"] for r in own))
        lines.append(f"{task} / {backbone} ({own[0]['n_users']} users)")
        lines.append("  " + f"{'':12s}" + "".join(f"{m:>10s}" for m in names))
        for variant in dict.fromkeys(r["variant"] for r in own):
            cells = {r["metric"]: r["mean"] for r in own if r["variant"] == variant}
            lines.append("  " + f"{variant:12s}" + "".join(f"{cells[m]:10.4f}" for m in names))
    return "\n".join(lines)
