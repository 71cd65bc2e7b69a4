"""Grids and searches on Ray Tune."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

from raypipe.cluster import session

#: what every trial reads
Data = TypeVar("Data")
#: a point of a grid: setting -> value
Point = dict[str, Any]


class _PointTrial(tune.Trainable):
    """Evaluates a point. The process is reused for the next one: quick points start no others."""

    def setup(
        self,
        config: Point,
        function: Callable[[Point, object], dict[str, float]] | None = None,
        data: object = None,
    ) -> None:
        assert function is not None
        self.function, self.data = function, data

    def step(self) -> dict[str, Any]:
        return {**self.function(self.config, self.data), "done": True}

    def reset_config(self, new_config: Point) -> bool:
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A point has no state."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """A point has no state."""


class _Progress(tune.Callback):
    """Prints a line for each finished point."""

    def __init__(self, label: str, total: int, say: Callable[[str], None]) -> None:
        self.label, self.total, self.say = label, total, say
        self.finished, self.best = 0, float("-inf")

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        self.finished += 1
        self.best = max(self.best, float((trial.last_result or {}).get("validation", "-inf")))
        self.say(f"    {self.label}: {self.finished} of {self.total}, best so far {self.best:.4f}")


def grid(
    function: Callable[[Point, Data], dict[str, float]],
    space: dict[str, list[Any]],
    data: Data,
    scratch: str,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate `function(point, data)` at every point of a grid.

    Args:
        say: gets a line for each finished point, with the best "validation" so far.

    Returns:
        The points with their values, in grid order.
    """
    parent, _, name = scratch.rpartition("/")
    _quiet()
    trainable = tune.with_parameters(_PointTrial, function=function, data=data)
    points = math.prod(map(len, space.values()))
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space={key: tune.grid_search(list(values)) for key, values in space.items()},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=parent,
            verbose=0,
            callbacks=[_Progress(name, points, say)] if say else None,
        ),
    )
    rows = []
    for result in _results(tuner):
        assert result.metrics is not None and result.config is not None
        values = {key: value for key, value in result.metrics.items() if isinstance(value, float)}
        rows.append({**values, **{key: result.config[key] for key in space}})
    return sorted(rows, key=lambda row: [row[key] for key in space])


def search(
    trial: Callable[[Point, Data, Callable[[dict[str, float]], None]], None],
    points: list[Point],
    data: Data,
    scratch: str,
    patience: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Try `points`, stop weak ones early (ASHA), and return them with their best value, best first.

    An interrupted search with the same `scratch` continues; a finished one is read.

    Args:
        trial: `trial(point, data, report)` calls report({"validation": value, ...}) repeatedly;
            larger values are better.
        patience: reports of each point before it can be stopped.
        say: gets a line for each finished point.
    """
    _quiet()
    parent, _, name = scratch.rpartition("/")

    def body(config: Point, data: Data) -> None:
        trial(config["point"], data, lambda line: tune.report(line))

    trainable = tune.with_resources(tune.with_parameters(body, data=data), {"CPU": 1})
    space = {"point": tune.grid_search(points)}
    if tune.Tuner.can_restore(scratch):
        tuner = tune.Tuner.restore(
            scratch, trainable, param_space=space, resume_unfinished=True, restart_errored=True
        )
    else:
        scheduler = ASHAScheduler(max_t=100_000, grace_period=patience, reduction_factor=3)
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(metric="validation", mode="max", scheduler=scheduler),
            run_config=tune.RunConfig(
                name=name,
                storage_path=parent,
                verbose=0,
                callbacks=[_Progress("search", len(points), say)],
            ),
        )
    rows = []
    for result in _results(tuner):
        assert result.config is not None and result.metrics_dataframe is not None
        values = result.metrics_dataframe["validation"]
        row = {"validation": float(values.max()), "reports": len(values)}
        rows.append({**result.config["point"], **row})
    return sorted(rows, key=lambda row: -row["validation"])


def _results(tuner: tune.Tuner) -> list[tune.Result]:
    """The result of every point; raises the error of the first that failed."""
    with session.interruptible():
        results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    return [results[number] for number in range(len(results))]


def _quiet() -> None:
    """Keep Ray Tune off the terminal, and leave Ctrl-C to us.

    Its new output prints settings even with verbose=0. Its own Ctrl-C handler returns partial
    results as if they were complete.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.WARNING)
