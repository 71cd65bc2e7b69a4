"""Presets, settings and what they refuse."""

import pytest

from raypipe.config import presets
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import config
from raypipe.papers.llama4rec.config_checks import check
from raypipe.papers.llama4rec.stages import plan
from raypipe.papers.reclm import config as reclm
from raypipe.trees import over


@pytest.mark.parametrize("name", presets(config.PRESETS))
def test_presets_are_valid_and_plan(name):
    loaded = config.load(name)
    assert len({s.name for s in plan(loaded)}) == len(plan(loaded)) > 20


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
def test_messages_name_the_bad_setting(key, value, expected):
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
def test_the_plan_refuses_impossible_settings(overrides, expected):
    with pytest.raises(ConfigError) as error:
        check(config.load("toy", overrides))
    assert expected in str(error.value)


def test_a_folder_that_is_no_llm_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"tokenizer\.json.*safetensors"):
        check(config.load("toy", {"llm.source": str(tmp_path)}))
