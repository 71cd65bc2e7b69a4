"""`raypipe run PAPER`: run a paper's pipeline."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import click

from raypipe.cli.arguments import (
    Papers,
    RunSettings,
    configured,
    run_options,
    run_params,
    settings_summary,
)
from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS
from raypipe.cli.run_folder import keep_configuration
from raypipe.papers.contract import Paper


class StageOptions(NamedTuple):
    """Which stages run, and what is shown."""

    start: str | None = None
    only: str | None = None
    list: bool = False
    dry_run: bool = False
    verbose: bool = False


def stage_params() -> list[click.Parameter]:
    """The options of a command that runs stages."""
    return [
        click.Option(
            ["--from", "start"],
            metavar="STAGE",
            help="run this stage again, and all that depend on it",
        ),
        click.Option(["--only"], metavar="STAGE", help="run this stage alone"),
        click.Option(["--list"], is_flag=True, help="print the stages and stop"),
        click.Option(
            ["--dry-run"], is_flag=True, help="the same as `raypipe plan`: print the plan and stop"
        ),
        click.Option(["--verbose"], is_flag=True, help="show the output of all workers"),
    ]


def build(paper: Paper) -> click.Command:
    """The subcommand of a paper."""

    def call(**params: Any) -> None:
        stages = StageOptions(**{name: params.pop(name) for name in StageOptions._fields})
        run_stages(configured(paper, run_options(paper, params)), stages)

    return click.Command(
        paper.name,
        params=[*run_params(paper), *stage_params()],
        callback=call,
        help=f"{paper.title}. A run that was interrupted resumes with the same command.",
        short_help=paper.title,
        epilog=settings_summary(paper),
    )


def run_stages(run: RunSettings, options: StageOptions) -> None:
    """List the stages of a run, print its plan, or run it and publish report and bundle."""
    began = time.time()
    stages = run.paper.plan(run.config)
    if options.list:
        for stage in stages:
            say(stage.name)
        return
    from raypipe.pipeline.store import Store

    store = Store(run.out)
    if not options.dry_run:
        store.check_writable()
        store.check_space(1.0)
    from raypipe.steps.ray_runner import runner as ray_runner

    runner = ray_runner(stages, store, say)
    if options.dry_run:
        for planned in runner.plan():
            state = "done" if planned.cached else "to run"
            stage = planned.stage
            say(f"{stage.name:40s} {planned.key[:12]}  {state:7s} {stage.resources}")
        return
    for option, name in (("--from", options.start), ("--only", options.only)):
        if name:
            runner.matching(name, option)
    keep_configuration(store, run)
    from raypipe.cluster import session

    with session.connected(say, options.verbose):
        run.paper.check_resources(run.config)
        record = runner.run(options.start, options.only)
        if not options.only:
            say(run.paper.publish(run.config, store, record, began))


command = Papers(build, name="run", help=COMMANDS["run"])
