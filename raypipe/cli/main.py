"""The command `raypipe`. Commands are imported when they are used, so that `raypipe --help` is
quick.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from raypipe import __version__, plugins
from raypipe.cli.exit_codes import SUMMARY, guarded

#: command -> what it does; each has a file of its name with a Click command of its name
COMMANDS = {
    "run": "Run a paper's pipeline: from an interaction log to a report and a bundle.",
    "plan": "Print what `run` would do, and what is already done.",
    "check": "Read a dataset as a run would; print counts and data quality.",
    "recommend": "Recommend items from a bundle.",
    "serve": "Serve a bundle over HTTP.",
    "sweep": "Search the hyper-parameters of a backbone.",
    "reproduce": "Reproduce a table or figure of Llama4Rec.",
    "compare": "Compare two runs.",
    "submit": "Submit a run to a Ray cluster and follow it.",
    "config": "Show or list settings.",
    "doctor": "Say what this machine can run, and what is missing.",
    "completion": "Print the line that sets up shell completion.",
}
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """The commands of raypipe, found by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """A command, imported now; None where there is none of this name."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"raypipe.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in Click, but an unknown command gets the nearest known one."""
        known(args[0], list(COMMANDS), "command")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def known(name: str, choices: list[str], kind: str) -> None:
    """Refuse an unknown name on the command line.

    Raises:
        click.UsageError: names the nearest known one, and lists all.
    """
    if name not in choices:
        raise click.UsageError(f"there is no {kind} {name!r}; {plugins.choose(name, choices)}")


@click.group(
    cls=Commands,
    context_settings=HELP,
    epilog=f"`raypipe COMMAND --help` shows the options of a command. {SUMMARY}",
)
@click.version_option(__version__, prog_name="raypipe")
def app() -> None:
    """LLM-augmented recommendations on Ray, from an interaction log to a served model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: the words after `raypipe`; None: those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: app.main(words, prog_name="raypipe", standalone_mode=False))
