"""`raypipe config show` and `raypipe config list`: the values of settings, and what there is to
set.
"""

from __future__ import annotations

import textwrap
from typing import Any

import click

from raypipe.cli.arguments import (
    Papers,
    configured,
    run_options,
    run_params,
)
from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP
from raypipe.cli.run_folder import effective
from raypipe.papers.contract import Paper

DEFAULT = "llama4rec"


class OfPaper(Papers):
    """A command whose paper may be left out: it is Llama4Rec then."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in Click, with the default paper before the first option."""
        if (not args or args[0].startswith("-")) and not {"-h", "--help"} & set(args):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


def build_show(paper: Paper) -> click.Command:
    """`config show` of a paper."""

    def call(**params: Any) -> None:
        run = configured(paper, run_options(paper, params))
        paper.check(run.config)
        say(effective(run).rstrip("\n"))

    return click.Command(
        paper.name,
        params=run_params(paper),
        callback=call,
        help="Print the whole configuration of a run as YAML, with the source of each value.",
        short_help=paper.title,
        epilog="Redirect the output to a file, change it, and give it to --preset.",
    )


def build_list(paper: Paper) -> click.Command:
    """`config list` of a paper."""

    def call() -> None:
        from raypipe.settings import describe

        for setting in describe(paper.Config):
            say(f"{setting.key}  ({setting.type}; default {setting.default})")
            if setting.description:
                say(textwrap.indent(textwrap.fill(setting.description, 94), "      "))

    return click.Command(
        paper.name,
        callback=call,
        help="List every setting with its type, default and description.",
        short_help=paper.title,
    )


command = click.Group(
    "config",
    context_settings=HELP,
    help=f"{COMMANDS['config']} The paper is {DEFAULT} where none is named.",
    commands={
        "show": OfPaper(
            build_show,
            name="show",
            help="Print the effective configuration of a run, and where each value comes from.",
        ),
        "list": OfPaper(
            build_list,
            name="list",
            help="List every setting with its type, default and description.",
        ),
    },
)
