"""A search on toy data through Ray Tune; a second call continues it."""

import json

import numpy as np
import pytest

from raypipe.backbones import registry
from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cli.main import main
from raypipe.data.dataset import read
from raypipe.data.split import make_split
from raypipe.papers.llama4rec import config, sweep

pytestmark = pytest.mark.slow


SMALL = 'data.options={"users": 60, "items": 72, "mean_length": 12}'


def test_a_search_ends_in_a_preset_and_can_be_continued(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    (tmp_path / "space.yaml").write_text(
        "learning_rate: {log: [1.0e-3, 5.0e-2]}\nnegatives: {choice: [1, 2]}\n"
    )
    options = {
        "--backbone": "mf",
        "--samples": "4",
        "--finalists": "2",
        "--seeds": "2",
        "--space": str(tmp_path / "space.yaml"),
        "--out": str(tmp_path / "sweep"),
    }
    fit = 'backbone_options={"mf": {"epochs": 12, "embedding_size": 8, "negatives": 1}}'
    command = ["sweep", "--set", SMALL, "--set", fit]
    for option, value in options.items():
        command += [option, value]

    def run():
        code = main(command)
        printed = capsys.readouterr()
        assert code == 0, printed
        return printed.out, json.loads((tmp_path / "sweep" / "mf" / "sweep.json").read_text())

    printed, found = run()
    assert "4 points tried" in printed and "mf test" in printed
    assert len(found["points"]) == 4 and 2 <= len(found["finalists"]) <= 3
    values = [p["validation"] for p in found["points"]]
    assert values == sorted(values, reverse=True)
    assert all(
        1e-3 <= p["learning_rate"] <= 5e-2 and p["negatives"] in (1, 2) for p in found["points"]
    )
    configured = {
        "learning_rate": registry.options("direct", "mf", {}).learning_rate,
        "negatives": 1,
    }
    assert configured in [f["options"] for f in found["finalists"]], (
        "what is configured is always compared"
    )
    best = max(found["finalists"], key=lambda f: f["mean"])
    assert found["options"] == best["options"]
    settings = config.Llama4RecConfig(**found["config"])
    dataset = read(settings.data)
    source = InteractionMatrices(
        dataset, make_split(dataset.interactions, settings.data, settings.llm.tune.holdout)
    )
    own = {**settings.backbone_options["mf"], **found["options"]}
    alone = [sweep.measure(own, source, "direct", "mf", settings.seed + n) for n in range(2)]
    assert best["mean"] == pytest.approx(np.mean([a["validation"] for a in alone]), abs=1e-6), (
        "the values are the winner's own"
    )
    for part in ("validation", "test"):
        for metric, values in found[part].items():
            assert values == pytest.approx([a[f"{part} {metric}"] for a in alone], abs=1e-6)
    assert all(len(v) == 2 for v in found["test"].values()) and set(found["test"]) == {
        "H@3",
        "N@3",
        "H@5",
        "N@5",
    }
    loaded = config.load(str(tmp_path / "sweep" / "mf" / "preset.yaml"))
    assert loaded.backbone_options["mf"] == {"epochs": 12, "embedding_size": 8, **best["options"]}
    _, again = run()
    assert again["points"] == found["points"], "the search is not drawn anew"
    assert again["test"] == found["test"]
