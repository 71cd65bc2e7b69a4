"""Pages of the documentation from report.json: one for each experiment, and the headline table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.papers.llama4rec.report.answer import answer
from raypipe.papers.llama4rec.report.result_tables import TaskTable, task_tables
from raypipe.papers.llama4rec.report.text import GAIN_HEAD, result_lines
from raypipe.reports.docs_page import Experiment, dated_page
from raypipe.reports.markdown import table as markdown_table
from raypipe.reports.wording import listed

HEADLINE = (
    "Task",
    "Dataset",
    "Backbones",
    "Seeds",
    "Over Base",
    "Paper",
    "Over the better of Base and IFT",
    "Paper",
    "Date",
)


def experiment_page(report: Mapping[str, Any], experiment: Experiment) -> str:
    """A dated Markdown page about one run: question, command, tables, conclusion.

    Args:
        report: report.json of the run.
    """
    tables = task_tables(report["results"])
    head = answer(tables, report)
    lines = [head.text, "", *markdown_table(GAIN_HEAD, head.gains)]
    for table in tables:
        lines += ["", f"## {table.task.capitalize()}", ""]
        lines += result_lines(table, report["run"]["seeds"] > 1)
    lines += ["", "In brackets: the paper's value. *: significantly better than the better of Base"]
    lines[-1] += " and IFT (p at most 0.05, corrected by Holm)."
    return dated_page(experiment, report["run"], lines)


def headline_table(reports: Sequence[Mapping[str, Any]], task: str = "") -> str:
    """A Markdown table with one row for each run and task.

    A star marks a mean gain with significant improvements and no significant loss among its
    results.

    Args:
        reports: report.json of each run.
        task: only this task; "" for all.
    """
    rows = []
    for report in reports:
        for table in task_tables(report["results"]):
            if task in ("", table.task):
                rows.append(_headline_row(table, report["run"]))
    return "\n".join(markdown_table(HEADLINE, rows)) + "\n"


def _headline_row(table: TaskTable, run: Mapping[str, Any]) -> list[str]:
    base, better = table.over("base"), table.over("better")
    return [
        table.task,
        run["dataset"],
        listed([backbone.backbone for backbone in table.backbones]),
        str(run["seeds"]),
        base.starred_mean,
        base.claim,
        better.starred_mean,
        better.claim,
        run["finished"][:10],
    ]
