"""Markdown tables, and how the Markdown reports of all papers begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from raypipe.evaluation import significance
from raypipe.reports import environment
from raypipe.reports.wording import count


class Beginning(NamedTuple):
    """What a report says before its tables.

    Attributes:
        title: the question that the report answers.
        answer: the answer in words.
        gains: the lines of the table of gains; empty where there is nothing to compare.
        protocol: what stands before the number of seeds, such as "Protocol `all`, "; may be "".
        how_to_read: what the columns and marks of the tables mean.
    """

    title: str
    answer: str
    gains: Sequence[str]
    protocol: str
    how_to_read: Sequence[str]


def beginning(report: Beginning, run: Mapping[str, Any]) -> list[str]:
    """The lines before the tables.

    Args:
        run: `run` of report.json.
    """
    lines = [
        f"# {report.title}",
        "",
        report.answer,
        "",
        *report.gains,
        "",
        f"{report.protocol}{count(run['seeds'], 'seed')}, commit {run['commit']},"
        f" {run['finished']}.",
        "",
        "How to read this:",
        "",
    ]
    for explanation in (*report.how_to_read, "In brackets: the paper's value, where it has one."):
        lines.append(f"- {explanation}")
    if run["seeds"] == 1:
        lines.append(f"- {significance.single_seed_caution(run['seeds']).strip()}")
    return lines


def ending(run: Mapping[str, Any]) -> list[str]:
    """The lines after the tables: where the run was computed."""
    return ["", "## Environment", "", environment.sentence(run)]


def row(*cells: object) -> str:
    """One line of a table; an empty string makes an empty cell."""
    texts = []
    for cell in cells:
        texts.append(f" {cell} " if cell != "" else " ")
    return "|" + "|".join(texts) + "|"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table: its heading, the rule below, and its rows."""
    lines = [row(*names), "|" + "---|" * len(names)]
    for cells in rows:
        lines.append(row(*cells))
    return lines
