"""Rows of the report: our values over seeds, the published ones beside them."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np

from raypipe.backbones import registry

TITLES = {"base": "Base", "ift": "IFT", "llama4rec": "Llama4Rec"}


@functools.cache
def _published() -> dict[tuple[str, str, str, str], float]:
    with open(Path(__file__).parent / "published.csv", newline="") as stream:
        return {
            (r["dataset"], r["backbone"], r["variant"], r["metric"]): float(r["value"])
            for r in csv.DictReader(stream)
            if r["table"] in ("II", "IV", "V")
        }


def published(dataset: str, backbone: str, variant: str, metric: str) -> float | None:
    """The value that Llama4Rec prints (Tables II, IV, V), or None. IFT of the rating task is one row, "LLaMA"."""
    table, name = _published(), registry.title(backbone)
    own = table.get((dataset, name, TITLES[variant], metric))
    return own if own is not None or variant != "ift" else table.get((dataset, "LLaMA", "IFT", metric))


def results(dataset: str, published_as: str, protocol: str, per_seed: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per task, backbone, variant and metric, with the value of each seed.

    Args:
        per_seed: what the stage `evaluate` measured, a list for each seed, in the same order.
    """
    rows = []
    for same in zip(*per_seed, strict=True):
        values = [r["value"] for r in same]
        first = same[0]
        row: dict[str, Any] = {
            "dataset": dataset,
            "protocol": protocol,
            "task": first["task"],
            "backbone": first["backbone"],
            "variant": first["variant"],
            "split": "test",
            "metric": first["metric"],
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            "values": values,
            "n_users": first["n_users"],
            "published": published(published_as, first["backbone"], first["variant"], first["metric"]),
            "slices": {k: float(np.mean([r["slices"][k] for r in same])) for k in first["slices"]},
        }
        if "p" in first:
            row |= {
                "against": first["against"],
                "p_by_seed": [r["p"] for r in same],
                "effect_by_seed": [r["effect"] for r in same],
            }
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """The result table as text for a terminal."""
    lines = []
    for task, backbone in dict.fromkeys((r["task"], r["backbone"]) for r in rows):
        own = [r for r in rows if (r["task"], r["backbone"]) == (task, backbone)]
        names = list(dict.fromkeys(r["metric"] for r in own))
        lines.append(f"{task} / {backbone} ({own[0]['n_users']} users)")
        lines.append("  " + f"{'':12s}" + "".join(f"{m:>10s}" for m in names))
        for variant in TITLES:
            cells = {r["metric"]: r["mean"] for r in own if r["variant"] == variant}
            lines.append("  " + f"{variant:12s}" + "".join(f"{cells[m]:10.4f}" for m in names))
    return "\n".join(lines)
