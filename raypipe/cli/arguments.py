"""The options that commands share, and how they become a configuration: defaults, preset, command
line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from raypipe.cli.main import HELP, known
from raypipe.config import Config, Layer, Loaded, load_layers, presets, read_preset
from raypipe.errors import ConfigError
from raypipe.papers import contract
from raypipe.papers.contract import Paper
from raypipe.trees import parse_set

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class RunOptions:
    """The options of a run, as given; None where one is not given.

    Attributes:
        assignments: the `--set KEY=VALUE` options.
        own: the options that the paper has beside those of all papers.
    """

    preset: str | None = None
    data: str | None = None
    data_dir: str | None = None
    llm: str | None = None
    engine: str | None = None
    seeds: int | None = None
    out: str | None = None
    assignments: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()

    def without(self, *names: str) -> RunOptions:
        """The options without some of the paper's own."""
        return replace(self, own=tuple(pair for pair in self.own if pair[0] not in names))


class Given(NamedTuple):
    """A setting of the command line, and the option that gives it; `implied` where another option
    stands for it.
    """

    option: str
    key: str
    value: Any
    implied: bool = False


class RunSettings(NamedTuple):
    """The configuration of a run, where its settings come from, and the run folder."""

    paper: Paper
    config: Any
    sources: dict[str, str]
    out: str


def run_params(paper: Paper) -> list[click.Parameter]:
    """The options that decide what a run of the paper does."""
    shipped = ", ".join(presets(paper.presets))
    own = [_once(f"--{option.name}", help=option.help) for option in paper.options]
    return [
        _once(
            "--preset",
            help=f"{shipped}, or a YAML file (default: that of --data, if any; toy without --data)",
        ),
        _once("--data", help="dataset: a file of raypipe/data/sources (default: the preset's)"),
        _once("--data-dir", help="folder of the dataset's files"),
        *own,
        _once("--llm", help="embedded, a local LLaMA-type folder, or a hub id"),
        _once("--engine", help="vllm, transformers or scripted"),
        _once("--seeds", type=int, help="repetitions"),
        _once("--out", help="run folder or URI (default: runs/NAME-OF-DATA)"),
        click.Option(
            ["--set", "assignments"],
            multiple=True,
            metavar="KEY=VALUE",
            help=f"any setting, e.g. {paper.example}",
        ),
    ]


def _once(flag: str, **attributes: Any) -> click.Option:
    """An option that may be given once; twice with different values is refused."""
    kind = attributes.pop("type", str)

    def single(ctx: click.Context, param: click.Parameter, values: Sequence[Any]) -> Any:
        if len(set(values)) > 1:
            texts = " and ".join(f"{flag} {value}" for value in values)
            raise click.UsageError(f"{texts}: two values for one option; give one of them")
        return values[0] if values else None

    metavar = "INTEGER" if kind is int else "TEXT"
    return click.Option(
        [flag], multiple=True, callback=single, type=kind, metavar=metavar, **attributes
    )


def run_options(paper: Paper, params: dict[str, Any]) -> RunOptions:
    """The options of a run among the parameters of a command."""
    shared: dict[str, Any] = {
        name: params.get(name) for name in RunOptions.__dataclass_fields__ if name != "own"
    }
    names = [option.name for option in paper.options]
    own = tuple((name, params[name]) for name in names if params.get(name))
    return RunOptions(**shared, own=own)


def configured(
    paper: Paper,
    options: RunOptions,
    usual: dict[str, Any] | None = None,
    purpose: Layer | None = None,
) -> RunSettings:
    """The configuration and the run folder that options stand for.

    Without --preset, the preset with the dataset's name is taken; for other data none; without
    --data the preset toy.

    Args:
        usual: dotted settings that the command has as defaults of its own, under those of the
            preset.
        purpose: settings of the command's own, over those of the preset and under the user's, e.g.
            of an experiment.

    Raises:
        ConfigError: wrong or contradictory options.
    """
    preset = preset_of(paper, options)
    layers = [
        Layer("default", usual or {}),
        *read_preset(paper.presets, preset),
        *([purpose] if purpose else []),
        Layer(COMMAND_LINE, command_line(paper, options)),
    ]
    loaded: Loaded[Config] = load_layers(paper.Config, layers)
    return RunSettings(paper, loaded.config, loaded.sources, run_folder(paper, options, preset))


def preset_of(paper: Paper, options: RunOptions) -> str | None:
    """The preset of a run: the named one, else that of its data."""
    shipped = presets(paper.presets)
    if options.preset:
        return options.preset
    name = (options.data or "toy").replace("_", "-")
    return name if name in shipped else None


def run_folder(paper: Paper, options: RunOptions, preset: str | None) -> str:
    """The run folder: --out, else runs/NAME, after the dataset or the preset."""
    if options.out:
        return options.out
    name = (options.data or "").replace("_", "-")
    file = Path(preset or "")
    if not name:  # the configuration that a run keeps is called config.yaml in each run folder
        name = file.resolve().parent.name if file.name == "config.yaml" else file.stem
    return f"runs/{paper.run_prefix}{name.removeprefix(paper.run_prefix)}"


def command_line(paper: Paper, options: RunOptions) -> dict[str, Any]:
    """The dotted settings of the command line.

    Raises:
        ConfigError: two options give different values to one setting.
    """
    explicit = [*_shared(options), *_own(paper, options), *_assigned(options)]
    given = [g for g in explicit if not g.implied]
    for number, one in enumerate(given):
        for other in given[number + 1 :]:
            if _same_place(one.key, other.key) and (one.key, one.value) != (other.key, other.value):
                key = min(one.key, other.key)
                raise ConfigError(
                    f"{one.option} and {other.option} give two values for {key}",
                    COMMAND_LINE,
                    "give one of them",
                )
    settings = {g.key: g.value for g in explicit if g.implied}
    for setting in given:
        settings.pop(setting.key, None)
    return settings | {g.key: g.value for g in given}


def _shared(options: RunOptions) -> Iterator[Given]:
    """The settings of the options that all papers have."""
    if options.data:
        yield Given(f"--data {options.data}", "data.name", options.data.replace("-", "_"))
    if options.data_dir:
        yield Given(f"--data-dir {options.data_dir}", "data.dir", options.data_dir)
    if options.llm:
        folder = Path(options.llm).expanduser()
        source = str(folder.resolve()) if folder.is_dir() else options.llm
        yield Given(f"--llm {options.llm}", "llm.source", source)
    if options.engine:
        yield Given(f"--engine {options.engine}", "llm.engine.name", options.engine)
    if options.seeds is not None:
        yield Given(f"--seeds {options.seeds}", "seeds", options.seeds)


def _own(paper: Paper, options: RunOptions) -> Iterator[Given]:
    """The settings of the paper's own options."""
    own = dict(options.own)
    if not own:
        return
    for key, value in paper.settings(own).items():
        option = f"--{key} {own[key]}" if key in own else ", ".join(f"--{name}" for name in own)
        yield Given(option, key, value, implied=key not in own)


def _assigned(options: RunOptions) -> Iterator[Given]:
    """The settings of --set."""
    for assignment in options.assignments:
        key, value = parse_set(assignment)
        yield Given(f"--set {assignment}", key, value)


def _same_place(one: str, other: str) -> bool:
    """Whether two dotted keys are one setting, or one holds the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


class Papers(click.Group):
    """A command with a subcommand for each paper; papers are found by listing."""

    def __init__(self, build: Any, **attributes: Any) -> None:
        super().__init__(context_settings=HELP, **attributes)
        self.build = build

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the papers."""
        return contract.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand of a paper."""
        if name not in contract.names():
            return None
        command: click.Command = self.build(contract.find(name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in Click, but an unknown paper gets the nearest known one."""
        known(args[0], contract.names(), "paper")
        return super().resolve_command(ctx, args)


def settings_summary(paper: Paper) -> str:
    """What can be set with --set, in a few lines: the sections of the configuration."""
    sections = ", ".join(paper.Config.model_fields)
    return (
        f"Settings for --set, by section: {sections}. "
        f"`raypipe config list {paper.name}` describes each, `raypipe config show {paper.name}` "
        "shows the values of a run and where each comes from."
    )
