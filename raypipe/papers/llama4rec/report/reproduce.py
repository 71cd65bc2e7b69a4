"""Pages over several runs: a figure's, with each metric over its runs, and that of all experiments."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raypipe.cluster import session
from raypipe.papers.llama4rec.report import plots, result_tables
from raypipe.papers.llama4rec.report.compare import curve, load
from raypipe.pipeline.store import Store
from raypipe.reports import pages


def publish_figure(store: Store, name: str, title: str, labels: Sequence[str]) -> str:
    """Write NAME/report.html below the store's root from the reports of its runs; returns a line for the terminal."""
    return session.in_worker(_publish, store, name, title, list(labels))


def _publish(store: Store, name: str, title: str, labels: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        reports = {
            label: load(Path(store.fetch(f"{name}/{label}", ["report.json"], folder)))
            for label in labels
        }
        metrics = list(dict.fromkeys(r["metric"] for r in next(iter(reports.values()))["results"]))
        lines = {metric: curve(reports, metric) for metric in metrics}
        made = Path(folder) / "page"
        made.mkdir()
        page = pages.page(
            Path(__file__).parent,
            "figure",
            title=title,
            labels=labels,
            lines=lines,
            figures=[plots.over_runs(labels, lines[m], m) for m in metrics],
            run=reports[labels[-1]]["run"],
        )
        (made / "report.html").write_text(page)
        return f"\nfigure  {store.publish(made, name)}/report.html"


def publish_overview(store: Store, runs: Sequence[tuple[str, str, str]]) -> str:
    """Write experiments.html below the store's root: what each run gained, and where its report is; returns a line for a terminal.

    Args:
        runs: (experiment, its title, label of the run), label "" where there is one run.
    """
    return session.in_worker(_publish_overview, store, list(runs))


def _publish_overview(store: Store, runs: list[tuple[str, str, str]]) -> str:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        shown: list[dict[str, Any]] = []
        for name, title, label in runs:
            place = f"{name}/{label}".rstrip("/")
            report = load(Path(store.fetch(place, ["report.json"], folder)))
            shown.append(
                {
                    "place": place,
                    "title": title,
                    "label": label,
                    "report": report,
                    "sheets": result_tables.sheets(report["results"]),
                }
            )
        made = Path(folder) / "page"
        made.mkdir()
        datasets = list(dict.fromkeys(one["report"]["run"]["dataset"] for one in shown))
        (made / "experiments.html").write_text(
            pages.page(
                Path(__file__).parent,
                "overview",
                shown=shown,
                run=shown[-1]["report"]["run"],
                datasets=datasets,
            )
        )
        return f"\noverview  {store.publish(made, '')}experiments.html"
