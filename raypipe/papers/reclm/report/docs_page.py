"""Pages of the documentation from report.json: one for each experiment, and the headline table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.papers.reclm.report.answer import answer, main_row
from raypipe.papers.reclm.report.result_tables import (
    TITLES,
    SettingTable,
    ablation,
    setting_tables,
)
from raypipe.papers.reclm.report.text import (
    GAIN_HEAD,
    ablation_lines,
    result_lines,
    signal_text,
)
from raypipe.reports.docs_page import Experiment, dated_page
from raypipe.reports.markdown import table as markdown_table
from raypipe.reports.wording import listed

HEADLINE = ("Setting", "Dataset", "Backbones", "Seeds", "Profiles", "Gain over Base", "Date")


def experiment_page(report: Mapping[str, Any], experiment: Experiment) -> str:
    """A dated Markdown page about one run: question, command, tables, conclusion.

    Args:
        report: report.json of the run.
    """
    tables = setting_tables(report["results"], report["random"])
    head = answer(tables, report)
    lines = [head.text, "", *markdown_table(GAIN_HEAD, head.gains)]
    for table in tables:
        lines += ["", f"## {table.setting.capitalize()}", ""]
        lines += result_lines(table, report["run"]["seeds"] > 1)
    parts = ablation(report["results"])
    if parts:
        lines += ["", "## What each part adds", "", *ablation_lines(parts)]
    lines += ["", signal_text(report["text signal"])]
    lines += ["", "In brackets: the paper's value. *: significant (p at most 0.05, corrected by"]
    lines[-1] += " Holm)."
    return dated_page(experiment, report["run"], lines)


def headline_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with one row for each run and setting.

    A star marks a mean gain with significant improvements and no significant loss among its
    results.
    """
    rows = []
    for report in reports:
        tables = setting_tables(report["results"], report["random"])
        row = main_row(tables)
        for table in tables if row else ():
            rows.append(_headline_row(table, row, report["run"]))
    return "\n".join(markdown_table(HEADLINE, rows)) + "\n"


def _headline_row(table: SettingTable, row: str, run: Mapping[str, Any]) -> list[str]:
    return [
        table.setting,
        run["dataset"],
        listed([backbone.title for backbone in table.backbones]),
        str(run["seeds"]),
        TITLES[row],
        table.over_base(row).starred_mean,
        run["finished"][:10],
    ]
