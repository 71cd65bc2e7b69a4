"""`raypipe reproduce table2|...|all`: the paper's tables and figures; what one run has computed,
the next reuses.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from raypipe.cli.arguments import RunOptions, RunSettings, configured, run_options, run_params
from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP
from raypipe.cli.run_folder import keep_configuration
from raypipe.config import Layer
from raypipe.errors import ConfigError
from raypipe.papers import contract
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.reproduce import EXPERIMENTS, Run, able, settings, without_others

if TYPE_CHECKING:
    from raypipe.pipeline.runner import Runner
    from raypipe.pipeline.store import Store

PAPER = contract.find("llama4rec")
#: what the command takes where neither preset nor command line says otherwise
USUAL = {"seeds": 5}


class Source(NamedTuple):
    """A dataset of the command line.

    Attributes:
        place: its folder below that of an experiment; "" where there is one dataset.
        options: the options that name it alone.
        config: the configuration that they give.
    """

    place: str
    options: RunOptions
    config: Llama4RecConfig


class Cell(NamedTuple):
    """One run of an experiment, and where its report goes below the run folder."""

    place: str
    name: str
    run: Run
    settings: RunSettings


def call(what: str, dry_run: bool, verbose: bool, **params: Any) -> None:
    """Print the plan of the chosen experiments, or run them."""
    sources = datasets(run_options(PAPER, params))
    chosen_names = choose_experiments(what, sources[0])
    shared = one_llm([source.config for source in sources])
    cells = [
        Cell(
            f"{name}/{source.place}".rstrip("/"),
            name,
            run,
            cell_settings(name, source, run, shared),
        )
        for name in chosen_names
        for source in sources
        for run in EXPERIMENTS[name].runs
    ]
    from raypipe.pipeline.store import Store
    from raypipe.steps.ray_runner import runner

    store = Store(cells[0].settings.out)
    # every run is checked before the first one starts
    runners = [runner(PAPER.plan(cell.settings.config), store, say) for cell in cells]
    if dry_run:
        print_plan(cells, runners)
        return
    store.check_writable()
    store.check_space(1.0)
    from raypipe.cluster import session

    with session.connected(say, verbose):
        for number, (cell, own_runner) in enumerate(zip(cells, runners, strict=True), 1):
            say(f"\n({number} of {len(cells)}) {heading(cell, len(sources) > 1)}")
            run_cell(cell, own_runner, store, title(cell, len(sources) > 1))
        if len(chosen_names) > 1 or len(sources) > 1:
            from raypipe.papers.llama4rec.report.reproduce import publish_overview

            runs = [(c.place, EXPERIMENTS[c.name].title, c.run.label) for c in cells]
            say(publish_overview(store, runs))


def choose_experiments(what: str, source: Source) -> list[str]:
    """The experiments to run; those of `all` that have nothing to show are left out, and the reason
    is printed.

    Raises:
        ConfigError: no experiment is left.
    """
    if what != "all":
        if lack := missing(what, source):
            raise ConfigError(f"{what} has nothing to show", *lack)
        return [what]
    chosen_names = []
    for name in EXPERIMENTS:
        if lack := missing(name, source):
            say(f"{name} is left out ({'; to show it, '.join(lack)})")
        else:
            chosen_names.append(name)
    if not chosen_names:
        raise ConfigError(
            "no experiment is left",
            "--backbones, --tasks",
            "choose among those that the tables show",
        )
    return chosen_names


def print_plan(cells: Sequence[Cell], runners: Sequence[Runner]) -> None:
    """Print how many stages of each run are done."""
    keys: dict[str, bool] = {}
    for cell, runner in zip(cells, runners, strict=True):
        cached = {planned.key: planned.cached for planned in runner.plan()}
        keys |= cached
        label = f"{cell.place} {cell.run.label}"
        say(f"{label:24s} {sum(cached.values())} of {len(cached)} stages done")
    say(f"{sum(keys.values())} of {len(keys)} in all; what runs share is counted once")


def title(cell: Cell, named: bool) -> str:
    """The title of an experiment; `named`: with its dataset."""
    suffix = f", {cell.settings.config.data.name}" if named else ""
    return EXPERIMENTS[cell.name].title + suffix


def heading(cell: Cell, named: bool) -> str:
    """The title of one run of an experiment."""
    return title(cell, named) + (f", {cell.run.label}" if cell.run.label else "")


def run_cell(cell: Cell, runner: Runner, store: Store, experiment_title: str) -> None:
    """Run one cell and publish its report; behind the last run of a figure, the figure's page."""
    from raypipe.papers.llama4rec.report.publish import publish
    from raypipe.papers.llama4rec.report.reproduce import publish_figure

    config, label, began = cell.settings.config, cell.run.label, time.time()
    PAPER.check_resources(config)
    place = f"{cell.place}/{label}".rstrip("/")
    keep_configuration(store, cell.settings, place)
    say(publish(config, store, runner.run(), began, place))
    runs = EXPERIMENTS[cell.name].runs
    if label and cell.run is runs[-1]:
        say(publish_figure(store, cell.place, experiment_title, [run.label for run in runs]))


def datasets(options: RunOptions) -> list[Source]:
    """The datasets of --data, each with the folder of --data-dir at its place.

    Raises:
        ConfigError: a dataset is named twice, or the numbers of datasets and folders differ.
    """
    names = (options.data or "").split(",")
    folders = options.data_dir.split(",") if options.data_dir else [""] * len(names)
    if len(set(names)) < len(names):
        raise ConfigError("a dataset is named twice", f"--data {options.data}", "name each once")
    if len(names) != len(folders):
        raise ConfigError(
            f"{len(folders)} folders for {len(names)} datasets",
            "--data-dir",
            "give as many as datasets, comma-separated; an empty one for a dataset that needs none",
        )
    out = options.out or ("runs/" + "-".join(names) if len(names) > 1 else None)
    sources = []
    for name, folder in zip(names, folders, strict=True):
        single = replace(options, data=name or None, data_dir=folder or None, out=out)
        config = configured(PAPER, single, USUAL).config
        sources.append(Source(config.data.name if len(names) > 1 else "", single, config))
    return sources


def one_llm(configs: Sequence[Llama4RecConfig]) -> dict[str, Any]:
    """Settings by which all datasets share an LLM that learns from each of them; none where there
    is one dataset.
    """
    if len(configs) < 2:
        return {}
    first = configs[0].model_dump(mode="json", include={"llm", "prompts", "augment", "rerank"})
    first["llm"]["tune"]["sources"] = [
        config.model_dump(mode="json", include={"data", "backbone_options"}) for config in configs
    ]
    return first


def missing(name: str, source: Source) -> tuple[str, ...]:
    """The option without which the experiment has nothing to show, and what to do; empty where
    nothing is missing.
    """
    experiment = EXPERIMENTS[name]
    if not able(name, source.config):
        endpoint = '{"url": "https://.../v1", "model": "NAME"}'
        return experiment.other, f"give an endpoint: --set '{experiment.other}={endpoint}'"
    if all(chosen_backbones(source, run) for run in experiment.runs):
        return ()
    backbones: dict[str, None] = {}
    for run in experiment.runs:
        for names in run.settings["backbones"].values():
            backbones |= dict.fromkeys(names)
    return "--backbones, --tasks", f"choose among {', '.join(backbones)}"


def chosen_backbones(source: Source, run: Run) -> dict[str, list[str]]:
    """Task -> backbones of a run, narrowed to those that the user names."""
    of_run: dict[str, list[str]] = run.settings["backbones"]
    named = dict(source.options.own)
    if not ("backbones" in named or "tasks" in named):
        return of_run
    allowed: set[str] = set()
    for task in source.config.tasks:
        backbones = source.config.backbones if "backbones" in named else of_run
        allowed |= set(backbones.get(task) or ())
    kept = {}
    for own_task, names in of_run.items():
        if both := [name for name in names if name in allowed]:
            kept[own_task] = both
    return kept


def cell_settings(name: str, source: Source, run: Run, shared: dict[str, Any]) -> RunSettings:
    """The settings of one run of an experiment, over the preset's and under the user's."""
    backbones = chosen_backbones(source, run)
    experiment = {**shared, **settings(run, source.config)}
    experiment |= {"backbones": backbones, "tasks": list(backbones)}
    options = source.options.without("backbones", "tasks")
    result = configured(PAPER, options, USUAL, Layer(f"experiment {name}", experiment))
    return result._replace(config=without_others(name, result.config))


def experiment_list() -> str:
    """Every experiment with its title."""
    lines = [f"{name:9s} {experiment.title}" for name, experiment in EXPERIMENTS.items()]
    return "\b\n" + "\n".join([*lines, "all       every one of them; they share their artifacts"])


command = click.Command(
    "reproduce",
    context_settings=HELP,
    params=[
        click.Argument(["what"], type=click.Choice([*EXPERIMENTS, "all"]), metavar="EXPERIMENT"),
        *run_params(PAPER),
        click.Option(["--dry-run"], is_flag=True, help="print what is done and what is to run"),
        click.Option(["--verbose"], is_flag=True, help="show the output of all workers"),
    ],
    callback=call,
    help=f"{COMMANDS['reproduce']} --seeds is 5 by default. --data and --data-dir take several "
    f"datasets, comma-separated, which share one LLM.\n\n{experiment_list()}",
    short_help=COMMANDS["reproduce"],
)
