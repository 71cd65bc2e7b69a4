"""The page of a figure that takes several runs: each metric over the runs, and where to find the runs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2

from raypipe.cluster import session
from raypipe.pipeline.store import Store
from raypipe.reports import plots
from raypipe.reports.compare import curve, load


def publish_figure(store: Store, name: str, title: str, labels: Sequence[str]) -> str:
    """Write NAME/report.html below the store's root from the reports of its runs; returns a line for the terminal."""
    return session.in_worker(_publish, store, name, title, list(labels))


def _publish(store: Store, name: str, title: str, labels: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        reports = {label: load(Path(store.fetch(f"{name}/{label}", ["report.json"], folder))) for label in labels}
        metrics = list(dict.fromkeys(r["metric"] for r in next(iter(reports.values()))["results"]))
        lines = {metric: curve(reports, metric) for metric in metrics}
        template = jinja2.Environment(autoescape=True).from_string((Path(__file__).parent / "figure.html.j2").read_text())
        page = template.render(
            title=title, labels=labels, lines=lines, figures=[plots.over_runs(labels, lines[m], m) for m in metrics],
            run=reports[labels[-1]]["run"],
        )  # fmt: skip
        made = Path(folder) / "page"
        made.mkdir()
        (made / "report.html").write_text(page)
        return f"\nfigure  {store.publish(made, name)}/report.html"
