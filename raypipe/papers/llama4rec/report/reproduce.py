"""Pages over several runs: one for each figure, and an overview of all experiments."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.cluster import session
from raypipe.papers.llama4rec.report import plots
from raypipe.papers.llama4rec.report.compare import curve, load
from raypipe.papers.llama4rec.report.published import Baseline
from raypipe.papers.llama4rec.report.result_tables import (
    BackboneTable,
    TaskTable,
    task_tables,
)
from raypipe.pipeline.store import Store
from raypipe.reports import pages
from raypipe.reports.gains import Gain

TEMPLATES = Path(__file__).parent


def publish_figure(store: Store, name: str, title: str, labels: Sequence[str]) -> str:
    """Write NAME/report.html below the store's root from the reports of its runs.

    Args:
        labels: folders of the runs below NAME.

    Returns:
        a line for the terminal.
    """
    return session.in_worker(_publish, store, name, title, list(labels))


def _publish(store: Store, name: str, title: str, labels: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        reports = {}
        for label in labels:
            reports[label] = _fetch(store, f"{name}/{label}", folder)
        lines, figures = {}, []
        for metric in dict.fromkeys(row["metric"] for row in reports[labels[0]]["results"]):
            lines[metric] = curve(reports, metric)
            figures.append(plots.over_runs(labels, lines[metric], metric))
        facts = {
            "title": title,
            "labels": labels,
            "lines": lines,
            "figures": figures,
            "run": reports[labels[-1]]["run"],
        }
        page = Path(folder) / "page"
        page.mkdir()
        (page / "report.html").write_text(pages.page(TEMPLATES, "figure", facts))
        return f"\nfigure  {store.publish(page, name)}/report.html"


def publish_overview(store: Store, runs: Sequence[tuple[str, str, str]]) -> str:
    """Write experiments.html below the store's root: the gains of all runs, with links.

    Args:
        runs: (experiment, its title, label of the run); the label is "" where there is one run.

    Returns:
        a line for the terminal.
    """
    return session.in_worker(_publish_overview, store, list(runs))


@dataclass(frozen=True)
class Shown:
    """One run on the overview."""

    place: str
    title: str
    run: dict[str, Any]
    tables: list[TaskTable]


@dataclass(frozen=True)
class OverviewRow:
    """One backbone of a run, in its main metric.

    Attributes:
        heading: the run, in the first row of each run; else None.
        table: the task, in the first row of each task; else None.
        values: Base, IFT and Llama4Rec; None where a variant is missing.
    """

    heading: Shown | None
    table: TaskTable | None
    backbone: BackboneTable
    values: list[float | None]
    over_base: Gain
    over_better: Gain


def _publish_overview(store: Store, runs: list[tuple[str, str, str]]) -> str:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        shown = []
        for name, title, label in runs:
            place = f"{name}/{label}".rstrip("/")
            report = _fetch(store, place, folder)
            heading = f"{title}, {label}" if label else title
            shown.append(Shown(place, heading, report["run"], task_tables(report["results"])))
        facts = {
            "rows": _overview_rows(shown),
            "run": shown[-1].run,
            "datasets": list(dict.fromkeys(run.run["dataset"] for run in shown)),
            "baselines": _baselines(),
        }
        page = Path(folder) / "page"
        page.mkdir()
        (page / "experiments.html").write_text(pages.page(TEMPLATES, "overview", facts))
        return f"\noverview  {store.publish(page, '')}experiments.html"


def _baselines() -> list[tuple[Baseline, str]]:
    return [("base", "Base"), ("better", "the better of Base and IFT")]


def _overview_rows(shown: Sequence[Shown]) -> list[OverviewRow]:
    rows = []
    for run in shown:
        heading: Shown | None = run
        for table in run.tables:
            first: TaskTable | None = table
            for backbone in table.backbones:
                column = table.metrics.index(backbone.slice_metric)
                means = {line.variant: line.cells[column].mean for line in backbone.lines}
                rows.append(
                    OverviewRow(
                        heading,
                        first,
                        backbone,
                        [means.get(variant) for variant in ("Base", "IFT", "Llama4Rec")],
                        backbone.over_base[column],
                        backbone.over_better[column],
                    )
                )
                heading = first = None
    return rows


def _fetch(store: Store, place: str, folder: str) -> dict[str, Any]:
    return load(Path(store.fetch(place, ["report.json"], folder)))
