"""A new backbone is one file: the example of docs/backbones.md is found, fitted and planned."""

import re

import pytest

from raypipe.backbones import direct, registry
from raypipe.backbones.fit import fit
from raypipe.backbones.scoring import top_k
from raypipe.papers.llama4rec import config
from raypipe.papers.llama4rec.stages import plan
from tests.support.backbone_cases import checkerboard
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "backbones.md"


@pytest.fixture
def metric(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    (tmp_path / "metric.py").write_text(code)
    monkeypatch.setattr(direct, "__path__", [*direct.__path__, str(tmp_path)])


def test_the_example_is_found_planned_and_learns(metric):
    assert "metric" in registry.names("direct") and registry.task_of("metric") == "direct"
    run = config.load(
        "toy",
        {
            "backbones": {"direct": ["metric"]},
            "tasks": ["direct"],
            "backbone_options.metric": {"epochs": 60},
        },
    )
    assert "seed0/augmented/metric" in [s.name for s in plan(run)]
    data = checkerboard("direct")
    options = registry.options(
        "direct", "metric", {"epochs": 60, "learning_rate": 0.01, "batch_size": 64}
    )
    result = fit(registry.find("direct", "metric").Model, data, options, 0)
    same = top_k(result.model, data.validation, 1, 0).items[:, 0] == data.validation.target
    assert same.mean() > 0.9


def test_the_page_of_backbones_lists_every_backbone():
    text = PAGE.read_text()
    for task in registry.FOLDERS:
        for name in registry.names(task):
            assert f"`{name}`" in text, name
