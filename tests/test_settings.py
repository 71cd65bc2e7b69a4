"""The source of each setting, the configuration as YAML, and the message about a wrong setting."""

from __future__ import annotations

import pytest
import yaml

from raypipe import __version__, config
from raypipe.config import HEADER, Layer, load_layers, read_preset
from raypipe.errors import ConfigError
from raypipe.papers import contract
from raypipe.settings import as_yaml, describe, source_of

PAPERS = [(name, contract.find(name)) for name in contract.names()]
PRESETS = [(p, preset) for _, p in PAPERS for preset in [None, *config.presets(p.presets)]]
LLAMA4REC = contract.find("llama4rec")


def loaded(preset="toy", **overrides):
    layers = [*read_preset(LLAMA4REC.presets, preset), Layer("command line", overrides)]
    return load_layers(LLAMA4REC.Config, layers)


def test_each_value_knows_its_source():
    result = loaded(**{"llm.tune.epochs": 7, "backbone_options.sasrec.layers": 3})
    sources = {
        "seeds": "default",
        "llm.tune.epochs": "command line",
        "llm.tune.instructions": "preset toy",
        "backbone_options.sasrec.layers": "command line",
        "backbone_options.sasrec.heads": "preset toy",
        "data.name": "preset toy",
        "data.protocol": "default",
    }
    assert {key: source_of(result.sources, key) for key in sources} == sources


def test_a_section_of_the_command_line_replaces_that_of_the_preset():
    result = loaded(**{"llm.tune": {"epochs": 7}})
    assert result.config.llm.tune.instructions == LLAMA4REC.Config().llm.tune.instructions
    assert source_of(result.sources, "llm.tune.instructions") == "default"
    assert source_of(result.sources, "llm.tune.epochs") == "command line"


def test_the_aggregation_of_a_preset_is_that_of_the_run(tmp_path):
    (tmp_path / "mine.yaml").write_text("aggregation: {alpha_1: [0.2]}")
    result = loaded(str(tmp_path / "mine.yaml"))
    assert result.config.aggregation.alpha_1 == (0.2,)
    assert source_of(result.sources, "aggregation.alpha_1").endswith("mine.yaml")


@pytest.mark.parametrize("paper,preset", PRESETS, ids=[f"{p.name}-{n}" for p, n in PRESETS])
@pytest.mark.parametrize("comments", [True, False])
def test_the_effective_configuration_can_be_loaded_as_a_preset(paper, preset, comments, tmp_path):
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "a: b # c"}
    extra = {"external_llm": endpoint} if paper.name == "llama4rec" else {"case": "17"}
    layers = [*read_preset(paper.presets, preset), Layer("command line", {"seeds": 3, **extra})]
    result = load_layers(paper.Config, layers)
    text = as_yaml(result.config.model_dump(mode="json"), result.sources)
    assert "seeds: 3  # command line" in text and "# default" in text
    if not comments:
        text = yaml.safe_dump(yaml.safe_load(text))
    (tmp_path / "config.yaml").write_text(text)
    again = config.load(paper.Config, paper.presets, str(tmp_path / "config.yaml"))
    assert again == result.config


@pytest.mark.parametrize(
    "key,value,parts",
    [
        ("llm.tune.epocs", 3, ["llm.tune.epocs: unknown setting", "did you mean llm.tune.epochs?"]),
        ("sed", 3, ["did you mean seed?"]),
        ("tune.epochs", 3, ["tune: unknown setting, did you mean llm.tune?"]),
        ("seeds", "many", ["seeds: ", "valid integer", "command line"]),
        ("zzz", 1, ["zzz: unknown setting"]),
    ],
)
def test_a_wrong_setting_gets_the_nearest_right_name(key, value, parts):
    with pytest.raises(ConfigError) as error:
        loaded(**{key: value})
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_a_faulty_preset_of_an_older_version_names_the_version(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text(HEADER.format("0.0.1") + " of llama4rec\nllm: {tune: {gone: 1}}\n")
    with pytest.raises(ConfigError) as error:
        loaded(str(file))
    message = str(error.value)
    assert "llm.tune.gone: unknown setting" in message and f"preset {file}" in message
    assert f"written by raypipe 0.0.1, this is {__version__}" in message


def test_a_wrong_preset_gets_the_nearest_and_broken_yaml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean toy\? choose one of ml-100k, toy"):
        loaded("toyy")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not YAML"):
        loaded(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("name,paper", PAPERS)
def test_every_setting_is_listed_with_its_type_and_default(name, paper):
    settings = {setting.key: setting for setting in describe(paper.Config)}
    assert settings["seeds"].type == "int >= 1" and settings["seeds"].default == "1"
    assert all(setting.type and setting.default for setting in settings.values())
    assert "teacher.endpoint.url" in settings or "external_llm.url" in settings


def test_types_and_defaults_are_in_words():
    settings = {setting.key: setting for setting in describe(LLAMA4REC.Config)}
    assert settings["rerank.k_prime"].type == "int >= 5, or none"
    assert settings["data.protocol"][1:3] == ("all | liked", "all")
    assert settings["aggregation.alpha_1"][1:3] == ("list of float", "[0.1, 0.3, 0.5, 0.7, 0.9]")
    assert settings["external_llm.url"].default == "must be given"
