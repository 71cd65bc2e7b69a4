"""Tuning an LLM: overlong examples, its workers, and a whole small training."""

import json
import os

import pandas as pd
import pytest
import torch

from raypipe.cluster import session
from raypipe.errors import ConfigError
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.steps.tuning import Tuning, refuse_long, run_tuning, tuning_workers
from raypipe.tuning.config import TrainingConfig


def test_a_training_is_refused_where_most_examples_are_too_long():
    refuse_long([5, 5, 90], 64, "llm/dialogue")  # one is left out and reported
    with pytest.raises(
        ConfigError,
        match=r"2 of 3 examples are longer than max_length = 64 tokens(?s:.)*longest has 91",
    ):
        refuse_long([5, 90, 91], 64, "llm/dialogue")


@pytest.fixture
def one_machine(one_process, monkeypatch):
    """A machine with four CPUs."""
    node = {"Alive": True, "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(session, "resources", lambda: node["Resources"])
    monkeypatch.setattr(session.ray, "nodes", lambda: [node])


def test_a_small_llm_gets_two_workers_on_cpus_and_a_large_one_gets_one(tmp_path, one_machine):
    even, odd = TrainingConfig(batch_size=16), TrainingConfig(batch_size=15)
    assert tuning_workers(even, str(tmp_path)) == (1, 4, False), "its size is not known"
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    assert tuning_workers(even, str(tmp_path)) == (2, 2, False)
    assert tuning_workers(odd, str(tmp_path)).number == 1, "two would get unequal batches"
    os.truncate(tmp_path / "model.safetensors", 200 * 2**20)  # a hole in it takes no space
    assert tuning_workers(even, str(tmp_path)).number == 1
    assert tuning_workers(TrainingConfig(workers=3), str(tmp_path)).number == 3
    with pytest.raises(ConfigError, match="5 workers do not fit on 4 CPUs and 0 GPUs"):
        tuning_workers(TrainingConfig(workers=5), str(tmp_path))


def test_a_small_llm_is_tuned_and_a_finished_training_is_not_repeated(
    llm, tmp_path, one_machine, monkeypatch
):
    from safetensors.torch import load_file

    model, titles = llm
    frame = pd.DataFrame(
        {
            "prompt": ["Which film?"] * 7 + ["", "Too long? " * 60],
            "answer": [f' "{title}"' for title in titles[:7]] + ["text " * 40, " yes"],
        }
    )
    frame.to_parquet(tmp_path / "examples.parquet")
    training = TrainingConfig(epochs=1, batch_size=2, max_length=32)
    task = Tuning(model, [str(tmp_path / "examples.parquet")], training, dropout=0.0)
    lines: list[str] = []
    monkeypatch.setattr(session, "post", lines.append)

    def run(out):
        (tmp_path / out).mkdir()
        store = Store(str(tmp_path))
        ctx = Context(store, "llm/own", "k" * 64, tmp_path / out, str(tmp_path / "scratch"), {})
        return run_tuning(ctx, task, 0, 0.0)

    facts = run("one")
    assert facts["workers"] == 2 and facts["too_long"] == 1 and facts["examples"] >= 9
    assert facts["steps"] == -(-facts["examples"] // 2) and facts["loss"] > 0
    assert "1 of" in lines[0] and "longer than max_length = 32" in lines[0]
    assert f"step {facts['steps']} of {facts['steps']}" in lines[-1]
    tuned = load_file(tmp_path / "one" / "model" / "model.safetensors")
    before = load_file(f"{model}/model.safetensors")
    assert set(tuned) == set(before)
    assert any(not torch.equal(tuned[name], before[name]) for name in tuned)
    assert json.loads((tmp_path / "one" / "model" / "training.json").read_text())["zero_stage"] == 0
    again = run("two")
    assert again == facts and "the training itself was done" in lines[-1]
