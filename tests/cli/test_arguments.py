"""The options of the command line become a configuration: defaults, preset, command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.cli.arguments import RunOptions, configured
from raypipe.config import Layer
from raypipe.errors import ConfigError
from raypipe.papers import contract
from raypipe.settings import source_of

PAPER, RECLM = contract.find("llama4rec"), contract.find("reclm")


def run(*assignments, paper=PAPER, own=None, **options):
    run_options = RunOptions(assignments=assignments, own=tuple((own or {}).items()), **options)
    return configured(paper, run_options)


def test_a_dataset_selects_its_preset_and_run_folder(tmp_path):
    result = run("llm.tune.epochs=7", data="ml-100k", data_dir=str(tmp_path), seeds=3)
    config = result.config
    assert (config.data.name, config.data.protocol, config.seeds) == ("ml_100k", "liked", 3)
    assert config.llm.tune.epochs == 7 and result.out == "runs/ml-100k"
    result_of_folder = run(data="folder", data_dir=str(tmp_path))
    assert result_of_folder.config.data.name == "folder" and result_of_folder.out == "runs/folder"
    assert result_of_folder.config.backbone_options == {}, (
        "options that were searched on toy data are not used for other data"
    )


def test_the_papers_own_options_are_settings():
    result = run(own={"variants": "wo_da, ift"})
    assert result.config.variants == ("base", "ift", "wo_da", "llama4rec")
    assert result.config.backbone_options and result.out == "runs/toy"
    config = run(own={"backbones": "sasrec"}).config
    assert config.tasks == ("sequential",) and config.backbones["sequential"] == ("sasrec",)
    both = run('tasks=["sequential"]', own={"backbones": "sasrec,mf"}).config
    assert both.tasks == ("sequential",), "named tasks override those that the backbones imply"
    reclm = run(paper=RECLM, own={"rows": "teacher", "backbones": "mf, bias_mf"})
    assert reclm.config.rows == ("base", "teacher") and reclm.out == "runs/reclm-toy"
    assert reclm.config.backbones == ("mf", "bias_mf")


def test_a_preset_sets_the_grid_of_aggregation(tmp_path):
    assert run().config.aggregation.alpha_1 == (0.1, 0.3, 0.5, 0.7, 0.9)
    (tmp_path / "mine.yaml").write_text("aggregation: {alpha_1: [0.2]}")
    assert run(preset=str(tmp_path / "mine.yaml")).config.aggregation.alpha_1 == (0.2,)
    assert run("aggregation.alpha_1=[0.4]").config.aggregation.alpha_1 == (0.4,)


@pytest.mark.parametrize("preset", sorted(Path("tune_configs").glob("*.yaml")))
def test_the_shipped_partial_presets_are_valid(preset):
    assert run(preset=str(preset)).config


def test_defaults_of_a_command_lie_below_the_preset_and_its_purpose_above(tmp_path):
    (tmp_path / "mine.yaml").write_text("seeds: 4\ntasks: [direct]")
    preset, usual = str(tmp_path / "mine.yaml"), {"seeds": 5}
    purpose = Layer("experiment x", {"tasks": ["rating"]})
    assert configured(PAPER, RunOptions(), usual).config.seeds == 5
    result = configured(PAPER, RunOptions(preset=preset), usual, purpose)
    assert result.config.seeds == 4 and result.config.tasks == ("rating",)
    assert source_of(result.sources, "tasks") == "experiment x"
    assert configured(PAPER, RunOptions(preset=preset, seeds=2), usual).config.seeds == 2


@pytest.mark.parametrize(
    "assignments,options,parts",
    [
        (["seeds=5"], {"seeds": 3}, ["--seeds 3 and --set seeds=5", "seeds"]),
        (["seeds=5", "seeds=6"], {}, ["--set seeds=5 and --set seeds=6"]),
        (["data.name=toy"], {"data": "ml-100k"}, ["--data ml-100k and --set data.name=toy"]),
        (["llm.tune.epochs=2", 'llm={"source": "embedded"}'], {}, ["two values for llm"]),
        (['backbones.direct=["mf"]'], {"own": {"backbones": "sgl"}}, ["--backbones sgl and --set"]),
    ],
)
def test_two_values_for_one_setting_are_refused(assignments, options, parts):
    with pytest.raises(ConfigError) as error:
        run(*assignments, **options)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_the_same_value_given_twice_is_accepted():
    assert run("seeds=5", "seeds=5").config.seeds == 5
    assert run("seeds=5", seeds=5).config.seeds == 5


@pytest.mark.parametrize(
    "preset,out",
    [
        ("runs/toy/config.yaml", "runs/toy"),
        ("runs/reclm-toy/config.yaml", "runs/reclm-toy"),
        ("mine.yaml", "runs/reclm-mine"),
    ],
)
def test_the_run_folder_follows_the_preset(preset, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(preset).parent.mkdir(parents=True, exist_ok=True)
    Path(preset).write_text("seeds: 2")
    paper = RECLM if "reclm" in out else PAPER
    assert run(preset=preset, paper=paper).out == out


def test_an_assignment_needs_a_key_and_a_value():
    with pytest.raises(ConfigError, match="key=value"):
        run("llm")
