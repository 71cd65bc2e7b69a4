"""The stages that a row needs, and the settings that change them."""

import pytest
from pydantic import ValidationError

from raypipe.errors import ConfigError
from raypipe.papers.reclm import (
    stages,
)
from raypipe.papers.reclm.config import ROWS, ReclmConfig, load


def test_a_row_has_the_stages_that_it_needs(config):
    def names(rows):
        return {stage.name for stage in stages.plan(config.model_copy(update={"rows": rows}))}

    base, taught, full = names(("base",)), names(("base", "teacher")), names(("base", "augment"))
    assert (
        not any(n.startswith(("llm/", "teacher/", "completions/")) for n in base)
        and "seed0/base/popularity" in base
    )
    assert "teacher/users" in taught and not any(n.startswith("llm/") for n in taught)
    assert {
        "llm/distil",
        "llm/dialogue",
        "reward",
        "llm/policy",
        "completions/items-cold",
        "smoothing",
    } <= full
    every = stages.plan(load("toy", {"rows": list(ROWS)}))
    reads = {s.name: s.inputs for s in every}
    assert reads["completions/users-gpt_kd"] == {
        "prompts": "prompts/users-alone",
        "llm": "llm/distil",
    }
    assert (
        reads["completions/users-untuned"]["llm"]
        == reads["completions/items-cold-untuned"]["llm"]
        == "llm/base"
    )
    assert reads["completions/users-naive_last_turn"] == {
        "prompts": "prompts/users",
        "llm": "llm/naive_last_turn",
    }
    assert (
        reads["completions/users-mask"]["llm"] == "llm/dialogue"
        and reads["completions/users"]["llm"] == "llm/policy"
    )
    assert (
        reads["seed0/mask/light_gcn"]["users"] == "vectors/users-mask@first"
        and reads["seed0/wo_user/light_gcn"].get("users") is None
    )
    alone = {s.name for s in stages.plan(load("toy", {"rows": ["gpt_kd"]}))}
    assert "examples/items" in alone and not alone & {"llm/dialogue", "llm/policy", "reward"}
    none = stages.plan(load("toy", {"llm.policy.method": "none", "rows": ["augment"]}))
    assert "reward" not in {s.name for s in none}
    assert next(s for s in none if s.name == "completions/users").inputs["llm"] == "llm/dialogue"


def keys(config):
    stage_keys = {}
    for stage in stages.plan(config):
        stage_keys[stage.name] = stage.key(stage_keys)
    return stage_keys


@pytest.mark.parametrize(
    ("setting", "value", "same", "new"),
    [
        ("llm.policy.beta", 0.2, "llm/dialogue", "llm/policy"),
        ("profiles.neighbours", 2, "teacher/users@", "prompts/users"),
        ("backbone_options", {"bias_mf": {"reg": 0.2}}, "llm/policy", "seed0/base/bias_mf"),
        ("llm.dialogue.loss", "last_turn", "llm/distil", "llm/dialogue"),
        ("data.validation_items", 0.2, "vectors/texts", "snapshots"),
        ("seed", 1, "vectors/texts", "llm/base"),
    ],
)
def test_a_setting_changes_the_keys_of_the_stages_that_depend_on_it(setting, value, same, new):
    before, after = keys(load("toy")), keys(load("toy", {setting: value}))
    assert same.endswith("@") or before[same] == after[same]
    assert before.get(new) != after[new]


def test_an_impossible_configuration_is_refused():
    with pytest.raises(ConfigError, match="none of the backbones can use texts"):
        stages.plan(load("toy", {"backbones": ["ease"]}))
    with pytest.raises(ConfigError, match="there is no direct backbone 'nothing'"):
        stages.plan(load("toy", {"backbones": ["nothing"]}))
    with pytest.raises(ConfigError, match=r"teacher\.endpoint"):
        load("toy", {"teacher.source": "endpoint"})
    with pytest.raises(ConfigError, match="LoRA saves nothing on the embedded LLM"):
        stages.plan(load("toy", {"llm.adapter.rank": 8}))
    with pytest.raises(ValidationError):
        ReclmConfig(rows=("nothing",))
