"""Experiments as lists of runs, and what runs share."""

import pytest

from raypipe.backbones import registry
from raypipe.errors import ConfigError
from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.report import published
from raypipe.papers.llama4rec.reproduce import EXPERIMENTS, HINTS, able, settings, without_others
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.runner import Runner
from raypipe.pipeline.store import Store

RUNS = [(name, run) for name, e in EXPERIMENTS.items() for run in e.runs]


def planned(run, folder, **overrides):
    base = load("toy", {"seeds": 2, **overrides})
    return Runner(
        plan(load("toy", {"seeds": 2, **overrides, **settings(run, base)})), Store(str(folder))
    )


def test_experiments_need_their_endpoint():
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    assert (
        able("table2", load("toy"))
        and not able("figure7", load("toy"))
        and able("figure7", load("toy", {"external_llm": endpoint}))
    )
    both = load("toy", {"external_llm": endpoint, "judge": endpoint})
    names = [s.name for s in Runner(plan(both), Store("unused")).stages]
    assert names[-6:] == [
        "prompts/external_llm",
        "completions/external_llm",
        "external_llm",
        "prompts/judge",
        "completions/judge",
        "attribute_accuracy",
    ]
    with pytest.raises(ConfigError, match="the external LLM ranks lists"):
        plan(load("toy", {"external_llm": endpoint, "tasks": ["rating"]}))


def test_each_experiment_keeps_only_the_other_llm_that_it_shows():
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    config = load("toy", {"external_llm": endpoint, "judge": endpoint})
    kept = {
        name: {k for k in ("external_llm", "judge") if getattr(without_others(name, config), k)}
        for name in EXPERIMENTS
    }
    assert kept == {
        name: {"figure7": {"external_llm"}, "figure8": {"judge"}}.get(name, set())
        for name in EXPERIMENTS
    }


@pytest.mark.parametrize("name,run", RUNS, ids=[f"{n}-{r.label}" for n, r in RUNS])
def test_every_run_can_be_planned(name, run, tmp_path):
    stages = [s.name for s in planned(run, tmp_path).stages]
    assert {"llm/augmented", "evaluate", "bundle"} <= set(stages)
    if name.startswith("table"):
        (task,) = run.settings["tasks"]
        shown = {n for n in registry.names(task) if f"seed1/augmented_plain/{n}" in stages}
        assert shown == set(run.settings["backbones"][task])
        titles = {registry.title(n) for n in shown}
        assert all(
            published.value("ML-100K", n, "llama4rec", "RMSE" if task == "rating" else "H@3")
            for n in shown
        ), titles


def test_tables_share_one_llm_and_figures_of_the_llm_do_not(tmp_path):
    keys = {(n, r.label): planned(r, tmp_path).keys for n, r in RUNS}
    table2, table4, table6 = keys["table2", ""], keys["table4", ""], keys["table6", ""]
    assert {f"hint/{n}" for backbones in HINTS.values() for n in backbones} <= set(table2)
    for stage in ("llm/base", "llm/plain", "llm/augmented"):
        assert len({keys[n, ""][stage] for n in ("table2", "table4", "table5", "table6")}) == 1, (
            stage
        )
    assert table2["seed1/augmented/light_gcn"] == table6["seed1/augmented/light_gcn"]
    assert table2["completions/ift"] != table4["completions/ift"]
    small, large = keys["figure5", "smaller"], keys["figure5", "larger"]
    assert small["llm/augmented"] == table2["llm/augmented"] != large["llm/augmented"]
    assert small["seed1/base/sasrec"] == large["seed1/base/sasrec"]
    few, all_ = keys["figure6", "10-percent"], keys["figure6", "100-percent"]
    assert (
        few["llm/base"] == all_["llm/base"]
        and few["llm/augmented"] != all_["llm/augmented"] == table2["llm/augmented"]
    )


def test_settings_of_re_ranking_do_not_tune_the_llm_again(tmp_path):
    default, other, longer = (
        Runner(plan(load("toy", {"variants": ["wo_pa"], **changes})), Store(str(tmp_path))).keys
        for changes in ({}, {"rerank.pointwise": False}, {"rerank.k_prime": 30})
    )
    for stage in ("llm/plain", "llm/augmented", "prompts/augment", "completions/augment"):
        assert default[stage] == other[stage], stage
    assert default["prompts/llama4rec"] != other["prompts/llama4rec"]
    assert default["llm/plain"] != longer["llm/plain"], (
        "an instruction names as many candidates as a question"
    )


def test_datasets_share_one_llm_that_learns_from_all_of_them(tmp_path):
    sources = [{"data": {"name": "toy"}}, {"data": {"name": "folder", "dir": str(tmp_path)}}]
    keys = [
        Runner(plan(load("toy", {**data, "llm.tune.sources": sources})), Store(str(tmp_path))).keys
        for data in ({"data.name": "toy"}, {"data.name": "folder", "data.dir": str(tmp_path)})
    ]
    assert (
        keys[0]["llm/augmented"] == keys[1]["llm/augmented"] and keys[0]["data"] != keys[1]["data"]
    )
    assert keys[0]["toy/hint/sasrec"] == keys[1]["toy/hint/sasrec"] and "hint/sasrec" not in keys[0]
    stages = {s.name: s for s in plan(load("toy", {"llm.tune.sources": sources}))}
    assert {"toy/instructions/plain", "folder/instructions/plain", "llm/base"} == set(
        stages["llm/plain"].inputs.values()
    )
    assert {"toy/data", "toy/split", "folder/data", "folder/split"} == set(
        stages["llm/base"].inputs.values()
    )
    with pytest.raises(ConfigError, match="named twice"):
        plan(load("toy", {"llm.tune.sources": sources[:1] * 2}))


def test_a_given_llm_cannot_be_scaled():
    larger = EXPERIMENTS["figure5"].runs[1]
    with pytest.raises(ConfigError, match="the size it has"):
        settings(larger, load("toy", {"llm.source": "some/model"}))


def test_an_llm_that_is_not_tuned_for_a_task_is_refused():
    with pytest.raises(ConfigError, match="not tuned for rating"):
        plan(load("toy", {"llm.tune.backbones": {"direct": ["mf"], "sequential": ["sasrec"]}}))
