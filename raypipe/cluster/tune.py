"""Grids and searches on Ray Tune."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from raypipe.cluster import session


class _Trial(tune.Trainable):
    """Evaluates one point; reused for the next, so that a grid of quick points does not start a process for each."""

    def setup(self, config: dict[str, Any], function: Any = None, data: Any = None) -> None:
        self.function, self.data = function, data

    def step(self) -> dict[str, Any]:
        return {**self.function(self.config, self.data), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A point has no state."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """A point has no state."""


class _Progress(tune.Callback):
    """A line for each point that is over."""

    def __init__(self, label: str, total: int, say: Callable[[str], None]) -> None:
        self.label, self.total, self.say, self.done, self.best = label, total, say, 0, float("-inf")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.done += 1
        self.best = max(self.best, float((trial.last_result or {}).get("validation", "-inf")))
        self.say(f"    {self.label}: {self.done} of {self.total}, best so far {self.best:.4f}")


def grid(
    function: Callable[[dict[str, Any], Any], dict[str, float]],
    space: dict[str, list[Any]],
    data: Any,
    scratch: str,
    say: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate `function(point, data)` at every point of a grid; returns the points with their values, in grid order.

    `say` gets a line for each point that is over; its value "validation" is what counts there.
    """
    parent, _, name = scratch.rpartition("/")
    _tame()
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Trial, function=function, data=data), {"CPU": 1}),
        param_space={key: tune.grid_search(list(values)) for key, values in space.items()},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=parent,
            verbose=0,
            callbacks=[_Progress(name, math.prod(map(len, space.values())), say)] if say else None,
        ),
    )
    rows = []
    for result in _finished(tuner):
        assert result.metrics is not None and result.config is not None
        known = {k: v for k, v in result.metrics.items() if isinstance(v, float)}
        rows.append({**known, **{k: result.config[k] for k in space}})
    return sorted(rows, key=lambda r: [r[k] for k in space])


def search(
    trial: Callable[[dict[str, Any], Any, Callable[[dict[str, float]], None]], None],
    points: list[dict[str, Any]],
    data: Any,
    scratch: str,
    patience: int,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Try `points`, stop the weak ones early (ASHA), and return them with their best value, best first.

    A search of the same `scratch` that was cut off continues; one that was over is read.

    Args:
        trial: `trial(point, data, report)` calls report({"validation": value, ...}) again and again, larger is better.
        patience: reports that every point may make before it can be stopped.
        say: gets a line for each point that is over.
    """
    _tame()
    parent, _, name = scratch.rpartition("/")

    def body(config: dict[str, Any], data: Any) -> None:
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
    for result in _finished(tuner):
        assert result.config is not None and result.metrics_dataframe is not None
        curve = result.metrics_dataframe["validation"]
        rows.append(
            {**result.config["point"], "validation": float(curve.max()), "reports": len(curve)}
        )
    return sorted(rows, key=lambda row: -row["validation"])


def _finished(tuner: tune.Tuner) -> list[tune.Result]:
    """Every point's result, or the error of the first that failed."""
    with session.interruptible():
        results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    return [results[number] for number in range(len(results))]


def _tame() -> None:
    """Ray's newer output prints its settings even when it is told to be silent, and the older logs where it wrote its files.

    Where Tune takes Ctrl-C for itself, it gives back what is there as if it were all.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.WARNING)
