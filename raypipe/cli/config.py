"""`raypipe config show` and `raypipe config list`: the values of settings, and what there is to
set.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
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
from raypipe.config import Config
from raypipe.papers.contract import Paper

DEFAULT = "llama4rec"
LISTED = (
    "List every setting with its type, default and description: first those of the paper, then the "
    "options of each backbone and of each dataset."
)


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
        print_settings(paper.Config)
        for task, name, options in backbone_options(paper):
            say(f"\nOptions of the backbone {name} (task {task}):")
            print_settings(options, f"backbone_options.{name}.")
        for name, options in dataset_options():
            if options.model_fields:
                say(f"\nOptions of the dataset {name}:")
                print_settings(options, "data.options.")

    return click.Command(paper.name, callback=call, help=LISTED, short_help=paper.title)


def backbone_options(paper: Paper) -> Iterator[tuple[str, str, type[Config]]]:
    """Task, name and class of the options of each backbone that the paper can fit."""
    from raypipe.backbones import registry

    for task in paper.backbone_tasks:
        for name in registry.names(task):
            yield task, name, registry.find(task, name).Options


def dataset_options() -> Iterator[tuple[str, type[Config]]]:
    """Name and class of the options of each dataset."""
    from raypipe import plugins
    from raypipe.data import sources

    for name in plugins.names(sources):
        yield name, plugins.find(sources, name, "dataset").Options


def print_settings(section: type[Config], path: str = "") -> None:
    """Print each setting of a section, whose dotted names begin with `path`."""
    from raypipe.settings import describe

    for setting in describe(section, path):
        say(f"{setting.key}  ({setting.type}; default {setting.default})")
        if setting.description:
            say(textwrap.indent(textwrap.fill(setting.description, 94), "      "))


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
            help=LISTED,
        ),
    },
)
