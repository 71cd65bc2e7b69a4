"""A hyper-parameter search on small toy data, in this process."""

import numpy as np
import pytest

from raypipe.backbones import registry
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import sweep
from raypipe.papers.llama4rec.config import load

BASE = {"epochs": 3, "embedding_size": 8}
SPACE = {"learning_rate": ("log", [1e-3, 1e-1]), "negatives": ("choice", [1, 2])}


@pytest.fixture(scope="module")
def found(one_process, toy):
    lines = []
    result = sweep.sweep(
        toy,
        "direct",
        "mf",
        BASE,
        SPACE,
        "scratch",
        samples=4,
        finalists=2,
        seeds=2,
        seed=0,
        say=lines.append,
    )
    return result, lines


def test_the_finalists_are_the_best_points_and_the_defaults(found):
    result, lines = found
    assert len(result.points) == 4
    best = [{name: point[name] for name in SPACE} for point in result.points[:2]]
    finalists = [row["options"] for row in result.finalists]
    assert finalists[:2] == best
    defaults = registry.options("direct", "mf", BASE).model_dump()
    assert {name: defaults[name] for name in SPACE} in finalists
    assert f"best {result.points[0]['validation']:.4f}" in lines[0]
    assert len(lines) == 1 + len(finalists)


def test_the_winner_has_the_best_mean_on_validation_over_the_seeds(found):
    result, _ = found
    means = [row["mean"] for row in result.finalists]
    winner = result.finalists[int(np.argmax(means))]
    assert result.options == winner["options"]
    assert set(result.validation) == set(result.test) == {"H@3", "H@5", "N@3", "N@5"}
    assert {len(values) for values in result.test.values()} == {2}, "one value a seed"


def test_a_fit_is_measured_as_the_search_measured_it(found, toy):
    result, _ = found
    first = sweep.measure({**BASE, **result.options}, toy, "direct", "mf", 0)
    assert first["test N@5"] == pytest.approx(result.test["N@5"][0])
    assert first["epochs"] == 3


def test_ratings_are_measured_by_their_errors(toy):
    values = sweep.measure({"epochs": 1}, toy, "rating", "deepfm", 0)
    assert {"validation RMSE", "test RMSE", "test MAE"} <= set(values)
    assert 0 < values["test MAE"] <= values["test RMSE"]


def test_a_search_reads_the_data_of_its_configuration(one_process, toy):
    options = {"users": 60, "items": 72, "mean_length": 12}
    config = load("toy", {"data.options": options, "llm.tune.holdout": 2, "seeds": 1})
    config = config.model_copy(update={"backbone_options": {"mf": BASE}})
    result = sweep.run(config, "direct", "mf", {}, "scratch", samples=4, finalists=1)
    assert result.options == {} and len(result.points) == 1, "nothing to search"
    (finalist,) = result.finalists
    again = sweep.measure(BASE, toy, "direct", "mf", 0)
    assert finalist["mean"] == pytest.approx(again["validation"])


def test_a_backbone_without_a_search_space_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no search space for mf"):
        sweep.read_space(tmp_path / "mf.yaml", "direct", "mf")
