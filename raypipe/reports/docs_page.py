"""Pages of docs/experiments/: dated experiments, written from report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raypipe.reports import environment
from raypipe.reports.wording import count, duration


class Experiment(NamedTuple):
    """What a person writes about an experiment.

    Attributes:
        question: the title of the page, such as "Does prompt augmentation help?".
        command: the command that repeats the run.
        conclusion: what follows from the tables, as Markdown.
        date: when the run finished, as YYYY-MM-DD.
    """

    question: str
    command: str
    conclusion: str
    date: str


def dated_page(experiment: Experiment, run: Mapping[str, Any], table: Sequence[str]) -> str:
    """A Markdown page with question, command, table and conclusion.

    Args:
        run: `run` of report.json.
        table: the lines between command and conclusion.
    """
    lines = [
        f"# {experiment.question}",
        "",
        f"{experiment.date} · {run['dataset']} · {count(run['seeds'], 'seed')}"
        f" · commit {run['commit']} · {duration(run['seconds'])}",
        "",
        "```bash",
        experiment.command.strip(),
        "```",
        "",
        *table,
        "",
        "## Conclusion",
        "",
        experiment.conclusion.strip(),
        "",
        environment.sentence(run),
    ]
    return "\n".join(lines) + "\n"
