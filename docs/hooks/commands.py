"""Fill the marker `<!-- commands -->` with the help text of every command."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import click

MARKER = "<!-- commands -->"


def help_texts(command: click.Command, words: list[str], parent: click.Context | None) -> list[str]:
    """The help of a command and of all commands below it, one section each."""
    context = click.Context(command, parent, info_name=words[-1], terminal_width=100)
    text = f"```text\n{command.get_help(context)}\n```"
    sections = [f"## {' '.join(words)}\n\n{text}" if parent else text]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                sections += help_texts(below, [*words, name], context)
    return sections


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    if MARKER not in markdown or not importlib.util.find_spec("raypipe.cli"):
        return markdown
    app = importlib.import_module("raypipe.cli.main").app
    return markdown.replace(MARKER, "\n\n".join(help_texts(app, ["raypipe"], None)))
