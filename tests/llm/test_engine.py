"""Which engine a configuration names, and the scripted one."""

import re
from types import SimpleNamespace

import pytest

from raypipe import extras
from raypipe.errors import ConfigError
from raypipe.llm import scripted, transformers, vllm
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import check_installed, completion, make_engine
from raypipe.prompts.profiles import ProfileForm


@pytest.mark.parametrize("module", [scripted, transformers, vllm])
def test_the_configured_engine_is_made(module):
    name = module.__name__.rpartition(".")[2]
    engine = make_engine("a/model", EngineConfig(name=name, concurrency=3))
    assert type(engine) is module.Engine and engine.config.concurrency == 3


def test_an_engine_that_is_not_installed_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setitem(extras.MODULES, "vllm", ("no_such_module",))
    with pytest.raises(ConfigError, match=r"pip install 'raypipe\[vllm\]'.*name=transformers"):
        check_installed(EngineConfig(name="vllm"))
    check_installed(EngineConfig(name="transformers"))


def test_the_last_bits_of_a_score_are_cut_off():
    row = completion("1", "", [-1.000041, -1.000049, -2.0], 3, 1, 0.0)
    assert row["logprobs"] == [-1.0, -1.0, -2.0]


def scripted_answer(mode, options=(), pattern="", prompt="Films about golf and the open sea."):
    row = SimpleNamespace(prompt_id="1", prompt=prompt, mode=mode, pattern=pattern, options=options)
    return scripted.script(row)


def test_scripted_answers_have_the_form_that_is_asked_for():
    options = [" A", " B", " C", " D"]
    scores = scripted_answer("score", options)["logprobs"]
    assert scores == scripted_answer("score", options)["logprobs"] and len(set(scores)) == 4
    best_first = sorted(options, key=lambda option: -scores[options.index(option)])
    assert scripted_answer("choose", options)["answer"] == best_first[0]
    ranking = scripted_answer("form", options, "[A-D](,[A-D]){2}")["answer"]
    assert ranking.split(",") == best_first[:3]
    pattern = ProfileForm(2, 12).pattern
    assert re.fullmatch(pattern, scripted_answer("form", pattern=pattern)["answer"])
