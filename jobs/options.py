"""The options that jobs share, and how they become a configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raypipe.backbones import registry
from raypipe.config import presets
from raypipe.errors import DryRun, RaypipeError
from raypipe.papers.llama4rec import config as llama4rec
from raypipe.papers.llama4rec.config import VARIANTS, Llama4RecConfig, load
from raypipe.papers.reclm import config as reclm
from raypipe.pipeline.runner import Done
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.schema import TASKS
from raypipe.trees import parse_set


def say(line: str) -> None:
    """Progress, at once."""
    print(line, flush=True)


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a job; an error that says what to do is one line, without a stack."""
    try:
        return main()
    except DryRun as told:
        say(str(told))
        return 0
    except RaypipeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        say("\nstopped; the same command continues where it was")
        return 130


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the run options of Llama4Rec."""
    p = run_parser(description, presets(llama4rec.PRESETS), "llm.tune.epochs=3")
    p.add_argument("--tasks", help=f"comma-separated among {', '.join(TASKS)}")
    p.add_argument(
        "--variants",
        help=f"comma-separated among {', '.join(VARIANTS)} (default: base,ift,llama4rec)",
    )
    return p


def run_parser(description: str, shipped: Sequence[str], setting: str) -> argparse.ArgumentParser:
    """An argument parser with the options that the runs of both papers have.

    Args:
        shipped: names of the presets.
        setting: an example of a setting.
    """
    p = argparse.ArgumentParser(description=description)
    p.add_argument(
        "--preset",
        help=f"one of {', '.join(shipped)}, or a YAML file (default: that of --data, if any; toy without --data)",
    )
    p.add_argument("--data", help="dataset: a file of raypipe/data/sources (default: the preset's)")
    p.add_argument("--data-dir", help="folder of the dataset's files")
    p.add_argument(
        "--backbones", help="comma-separated, e.g. light_gcn,sgl (default: the preset's)"
    )
    p.add_argument("--llm", help="embedded, a local LLaMA-type folder, or a hub id")
    p.add_argument("--engine", help="vllm, transformers or scripted")
    p.add_argument("--seeds", type=int, help="repetitions")
    p.add_argument("--out", help="run folder or URI (default: runs/NAME-OF-DATA)")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"any setting, e.g. {setting}",
    )
    return p


def reclm_parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the run options of RecLM."""
    p = run_parser(description, presets(reclm.PRESETS), "llm.policy.method=grpo")
    p.add_argument(
        "--rows",
        help=f"whose profiles the backbones are given: comma-separated among {', '.join(reclm.ROWS)}",
    )
    return p


def reclm_configuration(options: argparse.Namespace) -> tuple[reclm.ReclmConfig, str]:
    """The configuration of a RecLM run, and the run folder."""
    preset, overrides = common(options, presets(reclm.PRESETS))
    for name in ("backbones", "rows"):
        if getattr(options, name):
            overrides[name] = [one.strip() for one in getattr(options, name).split(",")]
    config = reclm.load(preset, overrides | dict(parse_set(s) for s in options.set))
    return config, folder_of(options, preset, "reclm-")


def add_stage_options(p: argparse.ArgumentParser) -> None:
    """The options of jobs that run a list of stages."""
    p.add_argument("--list", action="store_true", help="print the stages and stop")
    p.add_argument(
        "--from",
        dest="start",
        metavar="STAGE",
        help="run this stage again, and all that depend on it",
    )
    p.add_argument("--only", metavar="STAGE", help="run this stage alone")
    p.add_argument(
        "--dry-run", action="store_true", help="print stages, resources and what is done, and stop"
    )
    p.add_argument("--verbose", action="store_true", help="show the output of all workers")


def run_stages(
    options: argparse.Namespace,
    stages: Sequence[Stage],
    out: str,
    fits: Callable[[], None],
    publish: Callable[[Store, Sequence[Done]], str],
) -> int:
    """What a job does with its stages, as its options say: list them, show the plan, or run them and publish.

    Args:
        out: the run folder.
        fits: refuses, on the cluster, what does not fit on it.
        publish: writes the report; gets the store and the record, and returns the summary.
    """
    from raypipe.steps.ray_runner import runner as make_runner

    store = Store(out)
    if options.list:
        for stage in stages:
            say(stage.name)
        return 0
    if not options.dry_run:
        store.check_writable()
        store.check_space(1.0)
    runner = make_runner(stages, store, say)
    if options.dry_run:
        for planned in runner.plan():
            state = "done" if planned.cached else "to run"
            say(
                f"{planned.stage.name:40s} {planned.key[:12]}  {state:7s} {planned.stage.resources}"
            )
        return 0
    for option, name in (("--from", options.start), ("--only", options.only)):
        if name:
            runner.matching(name, option)
    from raypipe.cluster import session

    with session.connected(say, options.verbose):
        fits()
        record = runner.run(options.start, options.only)
        if not options.only:
            say(publish(store, record))
    return 0


def configuration(
    options: argparse.Namespace, settings: dict[str, Any] | None = None
) -> tuple[Llama4RecConfig, str]:
    """The configuration and the run folder.

    Where no preset is named, that with the dataset's name is used; for other data the defaults, without data the preset toy.

    Args:
        settings: dotted settings of the job's own, over those of the preset and under those that the user gives.
    """
    preset, overrides = common(options, presets(llama4rec.PRESETS))
    overrides = {**(settings or {}), **overrides}
    if options.tasks:
        overrides["tasks"] = [t.strip() for t in options.tasks.split(",")]
    if options.backbones:
        named: dict[str, list[str]] = {}
        for name in (b.strip() for b in options.backbones.split(",")):
            named.setdefault(registry.task_of(name), []).append(name)
        overrides["backbones"] = named
        overrides.setdefault("tasks", [t for t in TASKS if t in named])
    if options.variants:
        overrides["variants"] = [v.strip() for v in options.variants.split(",")]
    overrides |= dict(parse_set(s) for s in options.set)
    return load(preset, overrides), folder_of(options, preset)


def common(
    options: argparse.Namespace, shipped: Sequence[str]
) -> tuple[str | None, dict[str, Any]]:
    """The preset, and the dotted settings that the options of both papers stand for; `shipped`: names of presets."""
    data = (options.data or "").replace("-", "_")
    of_data = data.replace("_", "-")
    preset = options.preset or (of_data if of_data in shipped else None if data else "toy")
    overrides: dict[str, Any] = {}
    if data:
        overrides["data.name"] = data
    if options.data_dir:
        overrides["data.dir"] = options.data_dir
    if options.llm:
        local = Path(options.llm).expanduser()
        overrides["llm.source"] = str(local.resolve()) if local.is_dir() else options.llm
    if options.engine:
        overrides["llm.engine.name"] = options.engine
    if options.seeds is not None:
        overrides["seeds"] = options.seeds
    return preset, overrides


def folder_of(options: argparse.Namespace, preset: str | None, kind: str = "") -> str:
    """The run folder: the one given, or runs/NAME, with what `kind` of run it is."""
    name = (options.data or "").replace("_", "-") or Path(preset or "").stem
    return options.out or f"runs/{kind}{name}"
