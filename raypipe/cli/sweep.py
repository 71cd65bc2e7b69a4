"""`raypipe sweep`: search the hyper-parameters of one backbone; the best by validation becomes a
preset.

The search space is tune_configs/backbones/NAME.yaml. A search that was interrupted continues with
the same command.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from raypipe.cli.arguments import RunSettings, configured, run_options, run_params
from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP
from raypipe.errors import ConfigError
from raypipe.papers import contract

if TYPE_CHECKING:
    from raypipe.papers.llama4rec.sweep import Found
    from raypipe.pipeline.store import Store

PAPER = contract.find("llama4rec")
USUAL = {"seeds": 5}


class Search(NamedTuple):
    """What is searched, and how."""

    backbone: str
    samples: int
    finalists: int
    space: Path | None


def call(**params: Any) -> None:
    """Search, and write sweep.json and preset.yaml."""
    search = Search(**{name: params.pop(name) for name in Search._fields})
    options = run_options(PAPER, params)
    run = configured(PAPER, options, USUAL)
    from raypipe.backbones import registry
    from raypipe.papers.llama4rec import sweep

    name = search.backbone.replace("-", "_")
    task = registry.task_of(name)
    registry.options(task, name, run.config.backbone_options.get(name, {}))
    space = sweep.read_space(search.space or sweep.SPACES / f"{name}.yaml", task, name)
    if min(search.samples, search.finalists - 1, run.config.seeds - 1) < 0:
        raise ConfigError(
            "too small a number", "--samples, --finalists, --seeds", "at least 0, 1 and 1"
        )
    from raypipe.cluster import session
    from raypipe.pipeline.store import Store

    place = options.out or f"runs/sweep-{Path(run.out).name}"
    store = Store(f"{place.rstrip('/')}/{name}")
    store.check_writable()
    with session.connected(say):
        found = session.in_worker(
            sweep.run,
            run.config,
            task,
            name,
            space,
            store.uri,
            search.samples,
            search.finalists,
            cpus=0,
        )
    write_results(store, run, name, found)
    print_results(name, found, run.config.seeds)
    say(f"{store.uri}/preset.yaml")


def write_results(store: Store, run: RunSettings, name: str, found: Found) -> None:
    """Write sweep.json, with every point, and preset.yaml, with the winner."""
    import yaml

    from raypipe.reports.environment import commit

    words = " ".join([Path(sys.argv[0]).name, shlex.join(sys.argv[1:])])
    record = {
        "command": words,
        "commit": commit(),
        "config": run.config.model_dump(mode="json"),
        **found._asdict(),
    }
    options = {**run.config.backbone_options.get(name, {}), **found.options}
    data = run.config.data.model_dump(include={"name", "protocol"})
    preset = yaml.safe_dump({"data": data, "backbone_options": {name: options}})
    with tempfile.TemporaryDirectory(prefix="raypipe-") as folder:
        Path(folder, "sweep.json").write_text(json.dumps(record, indent=1))
        Path(folder, "preset.yaml").write_text(f"# chosen on validation by: {words}\n{preset}")
        store.publish(Path(folder), "")


def print_results(name: str, found: Found, seeds: int) -> None:
    """Print mean and standard deviation of each metric."""
    import numpy as np

    for part, values in (("validation", found.validation), ("test", found.test)):
        texts = []
        for metric, of_seeds in values.items():
            spread = np.std(of_seeds, ddof=min(1, len(of_seeds) - 1))
            texts.append(f"{metric} {np.mean(of_seeds):.4f} +- {spread:.4f}")
        say(f"{name} {part:10s} {'  '.join(texts)}  ({seeds} seeds)")


command = click.Command(
    "sweep",
    context_settings=HELP,
    params=[
        click.Option(["--backbone"], required=True, help="the name of its file, e.g. light_gcn"),
        click.Option(
            ["--samples"],
            type=int,
            default=30,
            show_default=True,
            help="points drawn; 0 measures the configured options alone",
        ),
        click.Option(
            ["--finalists"],
            type=int,
            default=3,
            show_default=True,
            help="best points that are compared over all seeds",
        ),
        click.Option(
            ["--space"],
            type=click.Path(path_type=Path),
            help="search space (default: tune_configs/backbones/NAME.yaml)",
        ),
        *run_params(PAPER),
    ],
    callback=call,
    help=f"{COMMANDS['sweep']} The best point on validation becomes a preset. --seeds is 5 by "
    "default.",
    short_help=COMMANDS["sweep"],
)
