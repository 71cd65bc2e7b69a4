"""Two or more run folders side by side: which settings differ, and which results differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones import registry
from raypipe.config import with_new_names
from raypipe.errors import ArtifactError
from raypipe.evaluation import metrics, significance
from raypipe.papers.llama4rec.config import VARIANTS, Llama4RecConfig
from raypipe.papers.llama4rec.evaluation import per_user
from raypipe.papers.llama4rec.report.published import TITLES
from raypipe.papers.llama4rec.report.result_rows import SCHEMA, ResultRow
from raypipe.reports.cells import SIGNIFICANT
from raypipe.reports.wording import count, signed_percent
from raypipe.schema import USER


class Key(NamedTuple):
    """What a result measures."""

    task: str
    backbone: str
    variant: str
    metric: str


class Setting(NamedTuple):
    """A setting in which two runs differ."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Difference:
    """A result that both runs have.

    Attributes:
        first, second: mean over the seeds that are compared, of each run.
        users: number of users that both runs evaluate.
        seeds: number of seeds that are compared.
        p: of a paired test over users and seeds, corrected by Holm over all results.
    """

    key: Key
    first: float
    second: float
    users: int
    seeds: int
    p: float

    @property
    def change(self) -> float:
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """Which run is significantly better, or ""."""
        if self.p > SIGNIFICANT or not self.change:
            return ""
        second_is_better = (self.change < 0) == (self.key.metric in metrics.RATING)
        return "B is better" if second_is_better else "A is better"


def load(folder: Path) -> dict[str, Any]:
    """report.json of a run folder.

    Raises:
        ArtifactError: there is none, or it has another format.
    """
    file = folder / "report.json"
    if not file.is_file():
        raise ArtifactError(
            "there is no report.json",
            str(folder),
            "name a run folder, such as runs/toy or runs/toy/table2",
        )
    report = json.loads(file.read_text())
    if report["schema"] != SCHEMA:
        raise ArtifactError(
            f"the report has the format {report['schema']}, not {SCHEMA}",
            str(file),
            "compare runs of Llama4Rec, made with this version of raypipe",
        )
    return report


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    settings: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = value
    return settings


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Setting]:
    """Settings in which two reports differ, and the commit where that differs."""
    left, right = _settings(first), _settings(second)
    differing = []
    for name in dict.fromkeys([*left, *right]):
        if left.get(name) != right.get(name):
            differing.append(Setting(name, left.get(name), right.get(name)))
    return differing


def _settings(report: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run and its commit; those of an older report under their present names."""
    settings = with_new_names(Llama4RecConfig, report["run"]["config"], announce=lambda _: None)
    return {"commit": report["run"]["commit"], **flat(settings)}


def results(report: Mapping[str, Any]) -> dict[Key, ResultRow]:
    """The results of a report by what they measure."""
    rows = {}
    for row in report["results"]:
        rows[Key(row["task"], row["backbone"], row["variant"], row["metric"])] = row
    return rows


def values(folder: Path, report: Mapping[str, Any], key: Key) -> pd.DataFrame:
    """Each user's value of a metric (RMSE: squared error) from the predictions of a run.

    Returns:
        one row for each user, one column for each seed.
    """
    first, seeds = report["run"]["config"]["seed"], report["run"]["seeds"]
    columns = []
    for seed in range(first, first + seeds):
        place = folder / "predictions" / ("" if seed == first else f"seed{seed}")
        frame = pd.read_parquet(place / f"{key.task}.{key.backbone}.{key.variant}.parquet")
        by_user = per_user(key.task, frame)[key.metric]
        columns.append(pd.Series(by_user, frame[USER].drop_duplicates()))
    return pd.concat(columns, axis=1)


def compare(first: Path, second: Path) -> tuple[list[Setting], list[Difference]]:
    """Compare two run folders.

    Each result that both runs have is tested over the users that both evaluate. Where one run has
    more seeds, its first ones are compared.

    Returns:
        the settings that differ, and a row for each common result.

    Raises:
        ArtifactError: a folder has no report, or the runs have no result in common.
    """
    reports = load(first), load(second)
    left, right = results(reports[0]), results(reports[1])
    differences = []
    for key in left:
        if key in right:
            samples = values(first, reports[0], key), values(second, reports[1], key)
            differences.append(_difference(key, (left[key], right[key]), samples))
    if not differences:
        raise ArtifactError(
            "the two runs have no result in common",
            f"{first}, {second}",
            "compare runs with a backbone in common",
        )
    return differing_settings(*reports), _corrected(differences)


def _difference(
    key: Key, rows: tuple[ResultRow, ResultRow], samples: tuple[pd.DataFrame, pd.DataFrame]
) -> Difference:
    """One result of two runs, with an uncorrected p value."""
    left, right = samples[0].align(samples[1], join="inner", axis=0)
    seeds = min(left.shape[1], right.shape[1])
    test = significance.paired_test(right.to_numpy().T[:seeds], left.to_numpy().T[:seeds])
    first, second = (float(np.mean(row["values"][:seeds])) for row in rows)
    return Difference(key, first, second, len(left), seeds, test.p)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    p_values = significance.holm([difference.p for difference in differences])
    corrected = []
    for difference, p in zip(differences, p_values, strict=True):
        corrected.append(replace(difference, p=p))
    return corrected


def text(
    first: str, second: str, settings: Sequence[Setting], differences: Sequence[Difference]
) -> str:
    """The comparison for a terminal."""
    lines = [f"A  {first}", f"B  {second}", "", *_conclusion(differences), ""]
    if settings:
        lines.append("Settings that differ:")
    else:
        lines.append("Both runs have the same settings and commit.")
    for setting in settings:
        lines.append(f"  {setting.name}: {setting.first} -> {setting.second}")
    groups: dict[tuple[str, str], list[Difference]] = {}
    for difference in differences:
        groups.setdefault((difference.key.task, difference.key.backbone), []).append(difference)
    for (task, backbone), group in groups.items():
        heading = f"{task} / {registry.title(backbone)}"
        lines += ["", f"{heading} ({_sample(group[0])})", *_table(group)]
    lines += ["", "p: paired t-test over users and seeds, corrected by Holm over all rows."]
    return "\n".join(lines)


def _conclusion(differences: Sequence[Difference]) -> Iterator[str]:
    if not any(difference.change for difference in differences):
        yield f"The runs have equal values ({count(len(differences), 'result')} compared)."
        return
    verdicts = [difference.verdict for difference in differences]
    better, worse = verdicts.count("B is better"), verdicts.count("A is better")
    results = count(len(differences), "result")
    if better or worse:
        yield f"Of {results}, B is significantly better in {better} and A in {worse}."
    else:
        yield f"No difference is statistically significant ({results} compared)."


def _sample(difference: Difference) -> str:
    return f"{count(difference.users, 'user')} in both, {count(difference.seeds, 'seed')} of each"


def _table(group: Sequence[Difference]) -> Iterator[str]:
    yield f"  {'':12s}{'':8s}{'A':>10s}{'B':>10s}{'B - A':>10s}{'relative':>10s}{'p':>10s}"
    for row in sorted(group, key=lambda difference: VARIANTS.index(difference.key.variant)):
        share = signed_percent(row.change / row.first) if row.first else ""
        line = (
            f"  {TITLES[row.key.variant]:12s}{row.key.metric:8s}{row.first:10.4f}{row.second:10.4f}"
            f"{row.change:+10.4f}{share:>10s}{significance.format_p(row.p):>10s}  {row.verdict}"
        )
        yield line.rstrip()


def curve(reports: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, list[float]]:
    """A metric over runs, for the results that all runs have.

    Returns:
        "BACKBONE, VARIANT" -> the mean over seeds in each run.
    """
    runs = list(map(results, reports.values()))
    lines = {}
    for key in runs[0]:
        if key.metric == metric and all(key in run for run in runs):
            name = f"{registry.title(key.backbone)}, {TITLES[key.variant]}"
            lines[name] = [float(np.mean(run[key]["values"])) for run in runs]
    return lines
