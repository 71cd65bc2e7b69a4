"""Search spaces of the backbones."""

import pytest

from raypipe.backbones import registry
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec.sweep import draw, read_space
from tests.support.paths import ROOT

BACKBONES = [(task, name) for task in registry.FOLDERS for name in registry.names(task)]


@pytest.mark.parametrize("task,name", BACKBONES)
def test_each_backbone_has_a_search_space_of_allowed_values(task, name):
    space = read_space(ROOT / "tune_configs" / "backbones" / f"{name}.yaml", task, name)
    assert bool(space) == (name != "popularity")


def test_points_are_drawn_by_seed_within_the_space():
    space = {
        "learning_rate": ("log", [1e-3, 1e-1]),
        "layers": ("choice", [1, 2, 3]),
        "reg": ("uniform", [0.0, 0.5]),
    }
    first = {"learning_rate": 0.005, "layers": 2, "reg": 1e-4}
    points = draw(space, first, 200, 0)
    assert (
        points[0] == first
        and len(points) == 200
        and points == draw(space, first, 200, 0) != draw(space, first, 200, 1)
    )
    rates = sorted(p["learning_rate"] for p in points[1:])
    assert rates[0] >= 1e-3 and rates[-1] <= 1e-1 and 5e-3 < rates[100] < 2e-2, (
        "half of the draws lie below the geometric mean"
    )
    assert {p["layers"] for p in points} == {1, 2, 3} and all(0 <= p["reg"] <= 0.5 for p in points)
    assert all(len(f"{p['learning_rate']:.10g}".lstrip("0.")) <= 3 for p in points[1:])


def test_every_search_space_has_a_backbone():
    assert {f.stem for f in (ROOT / "tune_configs" / "backbones").glob("*.yaml")} == {
        name for _, name in BACKBONES
    }


@pytest.mark.parametrize(
    "text,expected",
    [
        ("layrs: {choice: [1]}", "layrs"),
        ("layers: {choice: [-1]}", "layers"),
        ("layers: [1, 2]", "choice, uniform, log"),
    ],
)
def test_a_wrong_search_space_is_refused(tmp_path, text, expected):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_space(tmp_path / "space.yaml", "direct", "light_gcn")
