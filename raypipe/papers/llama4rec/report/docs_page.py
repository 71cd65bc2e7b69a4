"""Pages of the documentation from report.json: one for each experiment, and the headline table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.papers.llama4rec.report.answer import answer
from raypipe.papers.llama4rec.report.result_tables import TaskTable, task_tables
from raypipe.papers.llama4rec.report.text import GAIN_HEAD, result_lines
from raypipe.reports.docs_page import Experiment, dated_page
from raypipe.reports.gains import Comparison
from raypipe.reports.markdown import table as markdown_table
from raypipe.reports.wording import listed, signed_percent

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


def experiment_page(
    report: Mapping[str, Any], question: str, command: str, conclusion: str, date: str
) -> str:
    """A dated Markdown page about one run: question, command, tables, conclusion.

    Args:
        report: report.json of the run.
        question: the title of the page.
        command: the command that repeats the run.
        conclusion: what follows from the tables, as Markdown.
        date: YYYY-MM-DD.
    """
    tables = task_tables(report["results"])
    head = answer(tables, report)
    lines = [head.text, "", *markdown_table(GAIN_HEAD, head.gains)]
    for table in tables:
        lines += ["", f"## {table.task.capitalize()}", ""]
        lines += result_lines(table, report["run"]["seeds"] > 1)
    lines += ["", "In brackets: the paper's value. *: significantly better than the better of Base"]
    lines[-1] += " and IFT (p at most 0.05, corrected by Holm)."
    return dated_page(Experiment(question, command, conclusion, date), report["run"], lines)


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
        _gain(base),
        base.claim,
        _gain(better),
        better.claim,
        run["finished"][:10],
    ]


def _gain(comparison: Comparison) -> str:
    star = "*" if comparison.verdict == "gain" else ""
    return signed_percent(comparison.mean) + star
