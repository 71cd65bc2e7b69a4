"""The rows of results in report.json: each metric of each variant, averaged over seeds."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import numpy as np

from raypipe.papers.llama4rec.report import published

#: format of report.json
SCHEMA = "raypipe-report/2"


class ThirdsDifference(TypedDict):
    """How the lowest third of users differs from the highest, and the uncorrected p value."""

    difference: float
    p: float


class ResultRow(TypedDict):
    """One metric of one variant, as report.json keeps it; docs/run-folder.md describes the keys."""

    task: str
    backbone: str
    variant: str
    metric: str
    mean: float
    std: float
    values: list[float]
    n_users: int
    published: float | None
    slices: dict[str, dict[str, float]]
    tails: NotRequired[dict[str, dict[str, ThirdsDifference]]]
    against: NotRequired[str]
    p: NotRequired[float]
    base_p: NotRequired[float]
    effect: NotRequired[float]
    detectable: NotRequired[float]
    oracle: NotRequired[float]


def base_p(row: ResultRow) -> float | None:
    """p of a variant's difference from Base, or None where an older report did not test it."""
    if "base_p" in row:
        return row["base_p"]
    return row["p"] if row["against"] == "base" else None


def results(
    dataset: str, published_as: str, protocol: str, measured: list[dict[str, Any]]
) -> list[ResultRow]:
    """One row for each task, backbone, variant and metric, with the value of each seed.

    Args:
        published_as: name of the dataset in the paper, or "".
        measured: rows that the stage `evaluate` wrote.
    """
    rows: list[ResultRow] = []
    for measured_row in measured:
        values = measured_row["values"]
        identity = {
            "dataset": dataset,
            "protocol": protocol,
            "task": measured_row["task"],
            "backbone": measured_row["backbone"],
            "variant": measured_row["variant"],
            "split": "test",
            "metric": measured_row["metric"],
        }
        statistics = {
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            "published": published.value(
                published_as,
                measured_row["backbone"],
                measured_row["variant"],
                measured_row["metric"],
            ),
        }
        rows.append({**identity, **measured_row, **statistics})  # type: ignore[typeddict-item]
    return rows
