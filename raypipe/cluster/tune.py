"""Grids on Ray Tune."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune import ResultGrid


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


def grid(
    function: Callable[[dict[str, Any], Any], dict[str, float]], space: dict[str, list[Any]], data: Any, scratch: str
) -> list[dict[str, Any]]:
    """Evaluate `function(point, data)` at every point of a grid; returns the points with their values, in grid order."""
    parent, _, name = scratch.rpartition("/")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_Trial, function=function, data=data), {"CPU": 1}),
        param_space={key: tune.grid_search(list(values)) for key, values in space.items()},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(name=name, storage_path=parent, verbose=0),
    )
    results: ResultGrid = tuner.fit()
    if results.errors:
        raise results.errors[0]
    rows = []
    for number in range(len(results)):
        result = results[number]
        assert result.metrics is not None and result.config is not None
        known = {k: v for k, v in result.metrics.items() if isinstance(v, float)}
        rows.append({**known, **{k: result.config[k] for k in space}})
    return sorted(rows, key=lambda r: [r[k] for k in space])
