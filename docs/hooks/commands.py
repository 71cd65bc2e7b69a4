"""Fill the marker `<!-- commands -->` with the help text of every command."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.testing import CliRunner

MARKER = "<!-- commands -->"


def help_of(app: typer.Typer, words: list[str]) -> str:
    """The help text of a command, without colours and boxes of a terminal."""
    environment = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    text = CliRunner().invoke(app, [*words, "--help"], env=environment).output
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()


def commands(group: Any, words: list[str]) -> list[list[str]]:
    """The words of every command below a group, in the order of its help."""
    found = []
    for name, command in getattr(group, "commands", {}).items():
        found += [[*words, name], *commands(command, [*words, name])]
    return found


def reference() -> str:
    """All commands with their help."""
    from raypipe.cli.main import app

    group = typer.main.get_command(app)
    parts = [f"```text\n{help_of(app, [])}\n```"]
    for words in commands(group, []):
        parts.append(f"## raypipe {' '.join(words)}\n\n```text\n{help_of(app, words)}\n```")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return markdown.replace(MARKER, reference()) if MARKER in markdown else markdown
