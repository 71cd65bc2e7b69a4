"""The options that jobs share, and how they become a configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from raypipe.backbones import registry
from raypipe.config import VARIANTS, RunConfig, load, parse_set, presets
from raypipe.errors import RaypipeError
from raypipe.sections import TASKS

GRID = Path(__file__).parents[1] / "tune_configs" / "aggregation.yaml"


def say(line: str) -> None:
    """Progress, at once."""
    print(line, flush=True)


def guarded(main: Callable[[], int]) -> int:
    """The exit code of a job; an error that says what to do is one line, without a stack."""
    try:
        return main()
    except RaypipeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 2


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the run options."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument(
        "--preset",
        help=f"one of {', '.join(presets())}, or a YAML file (default: that of --data, if any; toy without --data)",
    )
    p.add_argument("--data", help="dataset: a file of raypipe/data/sources (default: the preset's)")
    p.add_argument("--data-dir", help="folder of the dataset's files")
    p.add_argument("--backbones", help="comma-separated, e.g. light_gcn,sasrec (default: the preset's)")
    p.add_argument("--tasks", help=f"comma-separated among {', '.join(TASKS)}")
    p.add_argument("--llm", help="embedded, a local LLaMA-type folder, or a hub id")
    p.add_argument("--engine", help="vllm, transformers or scripted")
    p.add_argument("--variants", help=f"comma-separated among {', '.join(VARIANTS)} (default: base,ift,llama4rec)")
    p.add_argument("--seeds", type=int, help="repetitions")
    p.add_argument("--out", help="run folder or URI (default: runs/NAME-OF-DATA)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, e.g. llm.tune.epochs=3")
    return p


def configuration(options: argparse.Namespace, settings: dict[str, Any] | None = None) -> tuple[RunConfig, str]:
    """The configuration and the run folder.

    Where no preset is named, that with the dataset's name is used; for other data the defaults, without data the preset toy.

    Args:
        settings: dotted settings of the job's own, over those of the preset and under those that the user gives.
    """
    data = (options.data or "").replace("-", "_")
    of_data = data.replace("_", "-")
    preset = options.preset or (of_data if of_data in presets() else None if data else "toy")
    overrides: dict[str, Any] = dict(settings or {})
    if data:
        overrides["data.name"] = data
    if options.data_dir:
        overrides["data.dir"] = options.data_dir
    if options.tasks:
        overrides["tasks"] = [t.strip() for t in options.tasks.split(",")]
    if options.backbones:
        named: dict[str, list[str]] = {}
        for name in (b.strip() for b in options.backbones.split(",")):
            named.setdefault(registry.task_of(name), []).append(name)
        overrides["backbones"] = named
        overrides.setdefault("tasks", [t for t in TASKS if t in named])
    if options.llm:
        local = Path(options.llm).expanduser()
        overrides["llm.source"] = str(local.resolve()) if local.is_dir() else options.llm
    if options.engine:
        overrides["llm.engine.name"] = options.engine
    if options.variants:
        overrides["variants"] = [v.strip() for v in options.variants.split(",")]
    if options.seeds is not None:
        overrides["seeds"] = options.seeds
    grid = yaml.safe_load(GRID.read_text())
    overrides |= {f"aggregation.{key}": values for key, values in grid.items()}
    overrides |= dict(parse_set(s) for s in options.set)
    return load(preset, overrides), options.out or f"runs/{of_data or Path(preset or '').stem}"
