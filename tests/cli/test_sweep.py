"""`raypipe sweep`: the winner becomes a preset, and its values are written down and printed."""

import json

import pytest
import yaml

from raypipe.backbones import registry
from raypipe.cli.main import main
from raypipe.papers.llama4rec import config

WORDS = ["sweep", "--backbone", "mf", "--out", "here", "--seeds", "2", "--finalists", "1"]
SMALL = [
    "--set",
    'data.options={"users": 40, "items": 60, "mean_length": 10}',
    "--set",
    'backbone_options={"mf": {"epochs": 2, "embedding_size": 8}}',
]


@pytest.fixture(autouse=True)
def folder(one_process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_best_drawn_point_becomes_a_preset(tmp_path, capsys):
    (tmp_path / "space.yaml").write_text("learning_rate: {log: [1.0e-3, 5.0e-2]}\n")
    words = [*WORDS, "--samples", "3", "--space", "space.yaml", *SMALL]
    assert main(words) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "here" / "mf" / "sweep.json").read_text())
    assert len(record["points"]) == 3 and 1 <= len(record["finalists"]) <= 2
    winner = max(record["finalists"], key=lambda row: row["mean"])
    assert record["options"] == winner["options"] and set(winner["options"]) == {"learning_rate"}
    assert all(len(values) == 2 for values in record["test"].values())
    preset = tmp_path / "here" / "mf" / "preset.yaml"
    assert preset.read_text().startswith("# chosen on validation by: ")
    loaded = config.load(str(preset)).backbone_options["mf"]
    assert loaded == {"epochs": 2, "embedding_size": 8, **record["options"]}
    output = capsys.readouterr().out
    assert "mf validation" in output and "(2 seeds)" in output and "preset.yaml" in output


def test_without_samples_the_configured_options_alone_are_measured(tmp_path, capsys):
    assert main([*WORDS, "--samples", "0", *SMALL]) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "here" / "mf" / "sweep.json").read_text())
    (only,) = record["finalists"]
    configured = registry.options("direct", "mf", {"epochs": 2, "embedding_size": 8}).model_dump()
    assert record["options"] == only["options"]
    assert only["options"] == {name: configured[name] for name in only["options"]}
    preset = yaml.safe_load((tmp_path / "here" / "mf" / "preset.yaml").read_text())
    assert preset["data"] == {"name": "toy", "protocol": "all"}


@pytest.mark.parametrize(
    "words,part",
    [
        (["--finalists", "0"], "--samples, --finalists, --seeds"),
        (["--space", "absent.yaml"], "there is no search space for mf"),
        (["--backbone", "mff"], "mff"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_it_starts(words, part, tmp_path, capsys):
    assert main(["sweep", "--backbone", "mf", "--out", "here", *words]) == 2
    assert part in capsys.readouterr().err and not list(tmp_path.iterdir())
