"""Two or more run folders beside each other: what was set differently, and what came out differently."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones import registry
from raypipe.errors import ArtifactError
from raypipe.evaluation import metrics, significance
from raypipe.papers.llama4rec.config import VARIANTS
from raypipe.papers.llama4rec.evaluation import per_user
from raypipe.papers.llama4rec.report.result_tables import TITLES
from raypipe.schema import USER

Key = tuple[str, str, str, str]


def load(folder: Path) -> dict[str, Any]:
    """report.json of a run folder.

    Raises:
        ArtifactError: there is none, or it is of another format.
    """
    file = folder / "report.json"
    if not file.is_file():
        raise ArtifactError(
            "there is no report.json",
            str(folder),
            "name a run folder, such as runs/toy or runs/toy/table2",
        )
    report = json.loads(file.read_text())
    if report["schema"] != "raypipe-report/2":
        raise ArtifactError(
            f"the report's format is {report['schema']}, not raypipe-report/2",
            str(file),
            "run it again",
        )
    return report


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    made: dict[str, Any] = {}
    for key, value in tree.items():
        made |= (
            flat(value, f"{before}{key}.")
            if isinstance(value, Mapping) and value
            else {f"{before}{key}": value}
        )
    return made


def differences(one: dict[str, Any], two: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings, and the commit, in which two reports differ: name, value of the first, value of the second."""
    left, right = ({"commit": r["run"]["commit"], **flat(r["run"]["config"])} for r in (one, two))
    return [
        (k, left.get(k), right.get(k))
        for k in dict.fromkeys([*left, *right])
        if left.get(k) != right.get(k)
    ]


def cells(report: dict[str, Any]) -> dict[Key, dict[str, Any]]:
    """Results by task, backbone, variant and metric."""
    return {(r["task"], r["backbone"], r["variant"], r["metric"]): r for r in report["results"]}


def values(folder: Path, report: dict[str, Any], key: Key) -> pd.DataFrame:
    """Each user's value of a metric (RMSE: squared error), one column a seed, from the run's predictions."""
    task, backbone, variant, metric = key
    first, count = report["run"]["config"]["seed"], report["run"]["seeds"]
    parts = []
    for seed in range(first, first + count):
        place = folder / "predictions" / ("" if seed == first else f"seed{seed}")
        frame = pd.read_parquet(place / f"{task}.{backbone}.{variant}.parquet")
        parts.append(pd.Series(per_user(task, frame)[metric], frame[USER].drop_duplicates()))
    return pd.concat(parts, axis=1)


def compare(one: Path, two: Path) -> tuple[list[tuple[str, Any, Any]], list[dict[str, Any]]]:
    """Differing settings; and a row for each result that both runs have: its means over so many seeds as both have, the first of
    each, with a test paired over users and seeds.

    Raises:
        ArtifactError: a folder is not a run's, or the two have no result in common.
    """
    reports = load(one), load(two)
    left, right = map(cells, reports)
    rows = []
    for key in left:
        if key not in right:
            continue
        a, b = values(one, reports[0], key).align(
            values(two, reports[1], key), join="inner", axis=0
        )
        seeds = min(a.shape[1], b.shape[1])
        test = significance.paired_test(b.to_numpy().T[:seeds], a.to_numpy().T[:seeds])
        means = {
            side: float(np.mean(of[key]["values"][:seeds]))
            for side, of in (("one", left), ("two", right))
        }
        rows.append({"key": key, **means, "users": len(a), "seeds": seeds, "p": test.p})
    if not rows:
        raise ArtifactError(
            "the two runs have no result in common",
            f"{one}, {two}",
            "compare runs with a backbone in common",
        )
    for row, p in zip(rows, significance.holm([r["p"] for r in rows]), strict=True):
        row["p"] = p
    return differences(*reports), rows


def text(
    one: str, two: str, settings: list[tuple[str, Any, Any]], rows: list[dict[str, Any]]
) -> str:
    """The comparison for a terminal."""
    lines = [f"A  {one}", f"B  {two}", ""]
    lines += [f"  {name}: {a} -> {b}" for name, a, b in settings] or [
        "  the same settings and commit"
    ]
    for task, backbone in dict.fromkeys(r["key"][:2] for r in rows):
        own = [r for r in rows if r["key"][:2] == (task, backbone)]
        seeds = own[0]["seeds"]
        lines += [
            "",
            f"{task} / {backbone} ({own[0]['users']} users in both, {seeds} seed{'s' * (seeds > 1)} of each)",
        ]
        lines.append(
            f"  {'':12s}{'':8s}{'A':>10s}{'B':>10s}{'B - A':>10s}{'relative':>10s}{'p (Holm)':>10s}"
        )
        for row in sorted(own, key=lambda r: VARIANTS.index(r["key"][2])):
            _, _, variant, metric = row["key"]
            gain = row["two"] - row["one"]
            better = (gain < 0) == (metric in metrics.RATING) and gain != 0 and row["p"] <= 0.05
            share = f"{gain / row['one']:+.1%}" if row["one"] else ""
            lines.append(
                f"  {variant:12s}{metric:8s}{row['one']:10.4f}{row['two']:10.4f}{gain:+10.4f}{share:>10s}{row['p']:10.3f}"
                + (" B is better" if better else "")
            )
    return "\n".join(lines)


def curve(reports: Mapping[str, dict[str, Any]], metric: str) -> dict[str, list[float]]:
    """What a figure over runs draws: "BACKBONE, VARIANT" -> the mean of each run that all runs have."""
    every = {label: cells(report) for label, report in reports.items()}
    keys = [
        k
        for k in next(iter(every.values()))
        if k[3] == metric and all(k in c for c in every.values())
    ]
    return {
        f"{registry.title(k[1])}, {TITLES[k[2]]}": [
            float(np.mean(c[k]["values"])) for c in every.values()
        ]
        for k in keys
    }
