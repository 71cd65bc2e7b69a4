"""Reproduce the paper's tables and figures, each by one command; what one has made, the next takes over.

python jobs/experiment.py table2 --data ml-100k --data-dir DIR
python jobs/experiment.py table4 --backbones sasrec --variants ift --seeds 3
python jobs/experiment.py table2 --data ml-100k,ml-1m --data-dir DIR_1,DIR_2 --out runs/both     (one LLM for both)
python jobs/experiment.py all
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import _start  # noqa: F401
from options import configuration, guarded, parser, say

from raypipe.errors import ConfigError
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.reproduce import EXPERIMENTS, Run, able, settings, without_others


class Cell(NamedTuple):
    """One run of an experiment: where its report goes below the folder `out`, and what it is."""

    place: str
    name: str
    run: Run
    config: Llama4RecConfig
    out: str


def main() -> int:
    p = parser("Reproduce a table or figure of Llama4Rec.")
    p.add_argument(
        "what",
        choices=[*EXPERIMENTS, "all"],
        help="; ".join(f"{n}: {e.title}" for n, e in EXPERIMENTS.items()),
    )
    p.add_argument(
        "--dry-run", action="store_true", help="print what is done and what is to run, and stop"
    )
    p.add_argument("--verbose", action="store_true", help="show the output of all workers")
    p.set_defaults(seeds=5)
    options = p.parse_args()
    from raypipe.papers.llama4rec.config_checks import check_resources
    from raypipe.papers.llama4rec.report.publish import publish
    from raypipe.papers.llama4rec.report.reproduce import publish_figure, publish_overview
    from raypipe.papers.llama4rec.stages import plan
    from raypipe.pipeline.store import Store
    from raypipe.steps.ray_runner import runner

    shown = datasets(options)
    given = shown[0][-1]
    wanted = (
        [name for name in EXPERIMENTS if not missing(name, options, given)]
        if options.what == "all"
        else [options.what]
    )
    for name in EXPERIMENTS if options.what == "all" else ():
        if name not in wanted:
            say(f"{name} is left out ({'; to show it, '.join(missing(name, options, given))})")
    if not wanted:
        raise ConfigError(
            "no experiment is left",
            "--backbones, --tasks",
            "choose among those that the tables show",
        )
    if lack := missing(wanted[0], options, given):
        raise ConfigError(f"{wanted[0]} has nothing to show", *lack)
    shared = one_llm([config for *_, config in shown])
    cells = [
        Cell(f"{name}/{place}".rstrip("/"), name, run, *configured(name, own, config, run, shared))
        for name in wanted
        for place, own, config in shown
        for run in EXPERIMENTS[name].runs
    ]
    store = Store(cells[0].out)
    runners = [
        runner(plan(cell.config), store, say) for cell in cells
    ]  # everything is checked before anything starts
    if options.dry_run:
        keys: dict[str, bool] = {}
        for cell, own in zip(cells, runners, strict=True):
            cached = {planned.key: planned.cached for planned in own.plan()}
            keys |= cached
            say(
                f"{cell.place + ' ' + cell.run.label:24s} {sum(cached.values())} of {len(cached)} stages done"
            )
        say(f"{sum(keys.values())} of {len(keys)} in all; what runs share is counted once")
        return 0
    store.check_writable()
    store.check_space(1.0)
    from raypipe.cluster import session

    with session.connected(say, options.verbose):
        for number, (cell, own) in enumerate(zip(cells, runners, strict=True), 1):
            check_resources(cell.config)
            began, of, label = time.time(), EXPERIMENTS[cell.name], cell.run.label
            title = of.title + (f", {cell.config.data.name}" if len(shown) > 1 else "")
            say(f"\n({number} of {len(cells)}) {title}" + (f", {label}" if label else ""))
            say(publish(cell.config, store, own.run(), began, f"{cell.place}/{label}".rstrip("/")))
            if label and cell.run is of.runs[-1]:
                say(publish_figure(store, cell.place, title, [r.label for r in of.runs]))
        if len(wanted) > 1 or len(shown) > 1:
            say(
                publish_overview(
                    store,
                    [(cell.place, EXPERIMENTS[cell.name].title, cell.run.label) for cell in cells],
                )
            )
    return 0


def datasets(options: argparse.Namespace) -> list[tuple[str, argparse.Namespace, Llama4RecConfig]]:
    """For each dataset named: its folder below that of an experiment, "" where there is one, the options that name it alone, and
    its configuration.
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
    own = [
        argparse.Namespace(
            **{**vars(options), "data": name or None, "data_dir": folder or None, "out": out}
        )
        for name, folder in zip(names, folders, strict=True)
    ]
    made = [configuration(one)[0] for one in own]
    return [
        (config.data.name if len(own) > 1 else "", one, config)
        for one, config in zip(own, made, strict=True)
    ]


def one_llm(shown: Sequence[Llama4RecConfig]) -> dict[str, Any]:
    """Settings by which all datasets share an LLM that learns from each of them; none where there is one dataset."""
    if len(shown) < 2:
        return {}
    first = shown[0].model_dump(mode="json", include={"llm", "prompts", "augment", "rerank"})
    first["llm"]["tune"]["sources"] = [
        config.model_dump(mode="json", include={"data", "backbone_options"}) for config in shown
    ]
    return first


def missing(name: str, options: argparse.Namespace, given: Llama4RecConfig) -> tuple[str, ...]:
    """The option without which the experiment has nothing to show, and what to do; empty where nothing is missing."""
    experiment = EXPERIMENTS[name]
    if not able(name, given):
        endpoint = '{"url": "https://.../v1", "model": "NAME"}'
        return experiment.other, f"give an endpoint: --set '{experiment.other}={endpoint}'"
    if all(chosen(options, given, run) for run in experiment.runs):
        return ()
    able_to = dict.fromkeys(
        n for run in experiment.runs for own in run.settings["backbones"].values() for n in own
    )
    return "--backbones, --tasks", f"choose among {', '.join(able_to)}"


def chosen(options: argparse.Namespace, given: Llama4RecConfig, run: Run) -> dict[str, list[str]]:
    """Task -> backbones of a run, narrowed to those that the user names."""
    own: dict[str, list[str]] = run.settings["backbones"]
    if not (options.backbones or options.tasks):
        return own
    named = {
        b
        for task in given.tasks
        for b in (given.backbones.get(task) if options.backbones else own.get(task)) or ()
    }
    kept = {task: [b for b in names if b in named] for task, names in own.items()}
    return {task: names for task, names in kept.items() if names}


def configured(
    name: str, options: argparse.Namespace, given: Llama4RecConfig, run: Run, shared: dict[str, Any]
) -> tuple[Llama4RecConfig, str]:
    """The configuration of one run of an experiment, its settings over the preset's, narrowed by what the user names; and the
    run folder.
    """
    backbones = chosen(options, given, run)
    made = {**shared, **settings(run, given), "backbones": backbones, "tasks": list(backbones)}
    narrowed = argparse.Namespace(**{**vars(options), "backbones": None, "tasks": None})
    config, out = configuration(narrowed, made)
    return without_others(name, config), out


if __name__ == "__main__":
    sys.exit(guarded(main))
