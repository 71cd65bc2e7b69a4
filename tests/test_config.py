"""Bad configuration fails before anything starts, and says what to do."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from options import configuration

from raypipe.backbones import registry
from raypipe.config import presets
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import config
from raypipe.papers.llama4rec.config_checks import check
from raypipe.papers.llama4rec.stages import plan
from raypipe.papers.llama4rec.sweep import draw, read_space
from raypipe.papers.reclm import config as reclm
from raypipe.steps.dataset import fingerprint
from raypipe.trees import over

ROOT = Path(__file__).parents[1]


def options(**given):
    names = (
        "preset",
        "data",
        "data_dir",
        "backbones",
        "tasks",
        "llm",
        "engine",
        "variants",
        "seeds",
        "out",
    )
    return Namespace(**{n: None for n in names} | {"set": []} | given)


@pytest.mark.parametrize("name", presets(config.PRESETS))
def test_presets_are_valid_and_plan(name):
    loaded = config.load(name)
    assert len({s.name for s in plan(loaded)}) == len(plan(loaded)) > 20


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


def test_no_search_space_is_left_without_a_backbone():
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


@pytest.mark.parametrize(
    "key,value,expected",
    [
        ("llm.tune.epocs", 3, "llm.tune.epocs"),
        ("llm.tune.epochs", 0, "greater than or equal to 1"),
        ("rerank.k_prime", "many", "rerank.k_prime"),
        ("aggregation.alpha_1", [0.5, 1.5], "between 0 and 1"),
        ("llm.embedded", {"hidden_size": 48}, "multiple of 32"),
        ("data.protocol", "loved", "'all' or 'liked'"),
        ("tasks", [], "at least one task"),
        ("seed.x", 1, "seed"),
    ],
)
def test_bad_settings_are_named(key, value, expected):
    with pytest.raises(ConfigError) as error:
        config.load("toy", {key: value})
    assert expected in str(error.value)


def test_a_section_given_in_part_keeps_the_rest_of_its_default():
    llm = reclm.load(None, {"llm.dialogue.dialogues": 90, "llm.items": {"learning_rate": 1e-3}}).llm
    usual = reclm.load(None).llm
    assert (llm.dialogue.dialogues, llm.dialogue.max_length) == (
        90,
        usual.dialogue.max_length,
    ) and llm.dialogue.max_length > 384
    assert llm.items == usual.items.model_copy(update={"learning_rate": 1e-3})
    assert over({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, {"a": {"c": {"f": 4}}}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 4}},
        "e": 3,
    }


def test_a_preset_may_be_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("backbone_options: {sasrec: {layers: 3}}")
    assert config.load(str(file)).backbone_options == {"sasrec": {"layers": 3}}
    file.write_text("- a\n- b")
    with pytest.raises(ConfigError, match="sections of settings"):
        config.load(str(file))
    with pytest.raises(ConfigError, match="no preset"):
        config.load(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    "overrides,expected",
    [
        (
            {"data.name": "ml_1000k"},
            "choose one of book_crossing, folder, mind_reclm, ml_100k, ml_1m, toy",
        ),
        ({"data.options": {"userz": 3}}, "userz"),
        ({"backbone_options": {"sasrec": {"layerz": 3}}}, "layerz"),
        ({"backbone_options": {"sasreck": {}}}, "no backbone 'sasreck'"),
        (
            {"backbones": {"direct": ["deepfm"], "sequential": ["sasrec"], "rating": ["deepfm"]}},
            "no direct backbone 'deepfm'",
        ),
        ({"llm.source": "/nowhere"}, "no LLM folder /nowhere"),
        ({"llm.source": "a/b", "rerank.k_prime": 30}, "30 candidates"),
    ],
)
def test_what_cannot_work_is_refused_by_the_plan(overrides, expected):
    with pytest.raises(ConfigError) as error:
        check(config.load("toy", overrides))
    assert expected in str(error.value)


def test_a_folder_that_is_no_llm_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json.*safetensors"):
        check(config.load("toy", {"llm.source": str(tmp_path)}))


def test_options_become_a_configuration(tmp_path):
    made, out = configuration(
        options(data="ml-100k", data_dir=str(tmp_path), seeds=3, set=["llm.tune.epochs=7"])
    )
    assert (made.data.name, made.data.protocol, made.seeds, made.llm.tune.epochs) == (
        "ml_100k",
        "liked",
        3,
        7,
    )
    assert out == "runs/ml-100k"
    own, out = configuration(options(data="folder", data_dir=str(tmp_path)))
    assert (own.data.name, own.backbone_options, out) == ("folder", {}, "runs/folder"), (
        "what was searched on toy data stays there"
    )
    made, out = configuration(options(variants="wo_da, ift"))
    assert (
        made.variants == ("base", "ift", "wo_da", "llama4rec")
        and made.backbone_options
        and out == "runs/toy"
    )
    made, _ = configuration(options(backbones="sasrec"))
    assert made.tasks == ("sequential",) and made.backbones["sequential"] == ("sasrec",)
    assert made.aggregation.alpha_1 == tuple(
        yaml.safe_load((ROOT / "tune_configs" / "aggregation.yaml").read_text())["aggregation"][
            "alpha_1"
        ]
    )
    made, _ = configuration(options(set=["aggregation.alpha_1=[0.2]"]))
    assert made.aggregation.alpha_1 == (0.2,)
    with pytest.raises(ConfigError, match="key=value"):
        configuration(options(set=["llm"]))


def test_the_job_works_from_any_folder_and_refuses_with_one_message(tmp_path):
    def job(*arguments):
        command = [sys.executable, str(ROOT / "jobs" / "full_pipeline.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    listed = job("--list")
    assert listed.returncode == 0 and "seed0/base/light_gcn" in listed.stdout
    dry = job("--dry-run")
    assert dry.returncode == 0 and "to run" in dry.stdout and not (tmp_path / "runs").exists()
    refused = job("--set", "llm.tune.epocs=3")
    assert (
        refused.returncode == 2
        and "llm.tune.epocs" in refused.stderr
        and "Traceback" not in refused.stderr
    )


def test_data_files_are_known_by_their_content(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "items.csv").write_text("item_id,title\n1,A\n")
    one, two = (
        config.load(None, {"data.name": "folder", "data.dir": str(tmp_path / place)}).data
        for place in ("one", "two")
    )
    assert fingerprint(one) == fingerprint(two) and fingerprint(config.load("toy").data) is None
    (tmp_path / "two" / "items.csv").write_text("item_id,title\n1,B\n")
    assert fingerprint(one) != fingerprint(two)
