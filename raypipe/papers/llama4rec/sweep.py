"""Hyper-parameter search for one backbone: many points with one seed, the best few with several,
the winner by the mean.

Everything is decided on validation. The fits of the last comparison are asked for test too, but
those values are looked at for the winner alone, when it is known.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from raypipe.backbones import registry
from raypipe.backbones.contract import Queries, Ranker, Rater, RatingQueries
from raypipe.backbones.fit import FitContext, fit
from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.backbones.scoring import predict, top_k
from raypipe.cluster import session, tune
from raypipe.data.dataset import read
from raypipe.data.split import make_split
from raypipe.errors import ConfigError
from raypipe.evaluation import metrics
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.seeding import derive, generator

#: the shipped search spaces: one file for each backbone, found in a checkout and in an installed
#: wheel
SPACES = Path(__file__).parents[2] / "tune_configs" / "backbones"
KINDS = ("choice", "uniform", "log")
#: validations that every point may make before it can be stopped
GRACE = 8


class Found(NamedTuple):
    """The winner, and all that was tried.

    Attributes:
        options: the winner's hyper-parameters, those of the space alone.
        validation, test: metric -> one value a seed.
        finalists: options, mean and standard deviation of the deciding value over the seeds.
        points: every drawn point with its best value, best first.
    """

    options: dict[str, Any]
    validation: dict[str, list[float]]
    test: dict[str, list[float]]
    finalists: list[dict[str, Any]]
    points: list[dict[str, Any]]


def read_space(file: Path, task: str, name: str) -> dict[str, tuple[str, list[Any]]]:
    """The search space of a backbone: option -> (kind, values).

    Raises:
        ConfigError: no such file, an unknown option or kind, or a value that the option does not
            allow.
    """
    if not file.is_file():
        raise ConfigError(
            f"there is no search space for {name}",
            str(file),
            "write one; see the others in that folder",
        )
    space: dict[str, tuple[str, list[Any]]] = {}
    for option, given in (yaml.safe_load(file.read_text()) or {}).items():
        if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in KINDS:
            raise ConfigError(
                f"{option} must be one of {', '.join(KINDS)} with its values",
                str(file),
                "for example {log: [1.0e-3, 1.0e-2]}",
            )
        ((kind, values),) = given.items()
        for value in values:
            registry.options(task, name, {option: value})
        space[option] = (kind, values)
    return space


def draw(
    space: dict[str, tuple[str, list[Any]]], first: dict[str, Any], samples: int, seed: int
) -> list[dict[str, Any]]:
    """`first`, then points drawn by seed; numbers have three digits, as nobody wants a preset with
    seventeen.
    """
    points = [first]
    for number in range(1, samples):
        rng, point = generator(seed, "point", number), {}
        for option, (kind, values) in space.items():
            if kind == "choice":
                point[option] = values[int(rng.integers(len(values)))]
            else:
                low, high = (np.log(values) if kind == "log" else values)[:2]
                value = rng.uniform(low, high)
                point[option] = float(f"{np.exp(value) if kind == 'log' else value:.3g}")
        points.append(point)
    return points


def measure(
    point: dict[str, Any], source: InteractionMatrices, task: str, name: str, seed: int
) -> dict[str, float]:
    """Fit once and return the metrics of both parts, as "PART METRIC", and the value that
    validation decides by.
    """
    options = registry.options(task, name, point)
    fitted = fit(
        registry.find(task, name).Model,
        source.fit_data(task),
        options,
        derive(seed, name),
    )
    found = {
        "validation": max(line["validation"] for line in fitted.curve),
        "epochs": float(len(fitted.curve)),
    }
    for part in ("validation", "test"):
        queries = source.queries(task, part)
        if isinstance(queries, RatingQueries):
            assert isinstance(fitted.model, Rater)
            got: dict[str, Any] = metrics.rating(predict(fitted.model, queries), queries.rating)
        else:
            assert isinstance(queries, Queries) and isinstance(fitted.model, Ranker)
            got = metrics.ranking(top_k(fitted.model, queries, 1, seed).target_rank)
        found |= {f"{part} {metric}": float(np.mean(value)) for metric, value in got.items()}
    return found


def sweep(
    source: InteractionMatrices,
    task: str,
    name: str,
    base: dict[str, Any],
    space: dict[str, tuple[str, list[Any]]],
    scratch: str,
    samples: int,
    finalists: int,
    seeds: int,
    seed: int,
    say: Callable[[str], None],
) -> Found:
    """Search, then compare the best points over `seeds` seeds, then read the test values of the
    winner.

    Args:
        base: options that stay as they are.
        space: see `read_space`.
        scratch: where the search keeps its state; a second call continues it.
        samples: points drawn; none of them compares the defaults alone.
    """
    first = {k: v for k, v in registry.options(task, name, base).model_dump().items() if k in space}
    points: list[dict[str, Any]] = [{**first, "validation": float("nan"), "reports": 0}]
    if samples and space:
        drawn = draw(space, first, samples, seed)
        key = hashlib.sha256(json.dumps([drawn, base]).encode()).hexdigest()[
            :12
        ]  # another search starts anew
        points = tune.search(
            _trial, drawn, (source, task, name, base, seed), f"{scratch}/search-{key}", GRACE, say
        )
        say(f"    {len(points)} points tried, best {points[0]['validation']:.4f}")
    best = [{k: p[k] for k in space} for p in points[:finalists]]
    best += [first] if first not in best else []
    grid = {"finalist": list(range(len(best))), "seed": list(range(seed, seed + seeds))}
    rows = tune.grid(_finalist, grid, (source, task, name, base, best), f"{scratch}/finalists", say)
    table: list[dict[str, Any]] = []
    for number, point in enumerate(best):
        values = [r["validation"] for r in rows if r["finalist"] == number]
        table.append(
            {
                "options": point,
                "mean": float(np.mean(values)),
                "std": float(np.std(values, ddof=min(1, seeds - 1))),
            }
        )
        say("    {mean:.4f} +- {std:.4f}  {options}".format_map(table[-1]))
    winner = int(np.argmax([row["mean"] for row in table]))
    rows = [r for r in rows if r["finalist"] == winner]

    def of(part: str) -> dict[str, list[float]]:
        return {
            k.removeprefix(f"{part} "): [r[k] for r in rows]
            for k in rows[0]
            if k.startswith(f"{part} ")
        }

    return Found(best[winner], of("validation"), of("test"), table, points)


def run(
    config: Llama4RecConfig,
    task: str,
    name: str,
    space: dict[str, tuple[str, list[Any]]],
    scratch: str,
    samples: int,
    finalists: int,
) -> Found:
    """Read the data and `sweep` in this process; meant for a Ray worker, so that the driver holds
    no data.
    """
    dataset = read(config.data)
    source = InteractionMatrices(
        dataset, make_split(dataset.interactions, config.data, config.llm.tune.holdout)
    )
    base = config.backbone_options.get(name, {})
    return sweep(
        source,
        task,
        name,
        base,
        space,
        scratch,
        samples,
        finalists,
        config.seeds,
        config.seed,
        session.post,
    )


def _trial(point: dict[str, Any], data: Any, report: Callable[[dict[str, float]], None]) -> None:
    torch.set_num_threads(1)
    source, task, name, base, seed = data
    options = registry.options(task, name, {**base, **point})
    fit(
        registry.find(task, name).Model,
        source.fit_data(task),
        options,
        derive(seed, name),
        FitContext(report),
    )


def _finalist(point: dict[str, Any], data: Any) -> dict[str, float]:
    torch.set_num_threads(1)
    source, task, name, base, best = data
    return measure({**base, **best[point["finalist"]]}, source, task, name, point["seed"])
