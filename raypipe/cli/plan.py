"""`raypipe plan PAPER`: what a run would do; nothing starts."""

from __future__ import annotations

from typing import Any

import click

from raypipe.cli.arguments import Papers, configured, run_options, run_params, settings_summary
from raypipe.cli.main import COMMANDS
from raypipe.cli.run import StageOptions, run_stages
from raypipe.papers.contract import Paper


def build(paper: Paper) -> click.Command:
    """The subcommand of a paper."""

    def call(names: bool, **params: Any) -> None:
        stages = StageOptions(list=names, dry_run=True)
        run_stages(configured(paper, run_options(paper, params)), stages)

    names = click.Option(["--list", "names"], is_flag=True, help="print the names of stages alone")
    return click.Command(
        paper.name,
        params=[*run_params(paper), names],
        callback=call,
        help="Print each stage of a run, its key, whether it is done, and what it needs.",
        short_help=paper.title,
        epilog=settings_summary(paper),
    )


command = Papers(build, name="plan", help=COMMANDS["plan"])
