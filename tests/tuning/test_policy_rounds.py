"""The rounds of reinforcement learning: what each begins with, and how one resumes."""

import json

import pytest

from raypipe.tuning import policy
from raypipe.tuning.trainers import Adapter
from raypipe.tuning.training_run import TrainingRun
from tests.support.tiny_llms import PROMPTS, Crew

ROUNDS = 3


@pytest.fixture
def performed(monkeypatch):
    """The rounds that `reinforce` asks for; the folders that each leaves hold its number."""
    rounds = []

    def train(work):
        rounds.append(work)
        for part in ("policy", "value") if work.settings.method == "ppo" else ("policy",):
            (work.folder / part).mkdir(parents=True)
            (work.folder / part / "round").write_text(str(work.number))
        return [{"score": float(work.number), "kl": 0.0, "entropy": 1.0}] * 2

    monkeypatch.setattr(policy, "train_ppo", train)
    monkeypatch.setattr(policy, "train_grpo", train)
    return rounds


def reinforce(models, folder, method, crew, resume=None):
    settings = policy.Policy(method, ROUNDS, 8, 1e-3, 0.05, 0.9, 4, 8, ".", 2, 1)
    lines = []
    llms = policy.Models(str(models / "llm"), str(models / "judge"))
    run = TrainingRun(crew, lines.append, resume, folder)
    curve = policy.reinforce(llms, PROMPTS, settings, Adapter(0, 16, 0.0), run)
    return curve, lines


def source(work, model):
    """The last two parts of the path that a round starts from."""
    return "/".join(getattr(work, model).split("/")[-2:])


def test_each_round_begins_with_the_models_of_the_last_and_its_own_prompts(
    models, tmp_path, performed
):
    curve, lines = reinforce(models, tmp_path, "ppo", Crew())
    first, *later = performed
    assert first.start == first.tuned and first.value == first.reward
    assert [source(work, "start") for work in later] == ["round0/policy", "round1/policy"]
    assert [source(work, "value") for work in later] == ["round0/value", "round1/value"]
    assert {work.tuned for work in performed} == {str(models / "llm")}, "the reference stays"
    assert [prompt for work in performed for prompt in work.prompts] == PROMPTS
    assert [line["round"] for line in curve] == [1, 1, 2, 2, 3, 3]
    assert [(line["round"], line["rounds"], line["score"]) for line in lines] == [
        (1, 3, 0.0),
        (2, 3, 1.0),
        (3, 3, 2.0),
    ]
    assert (tmp_path / "round").read_text() == "2", "the last policy is the result"


def test_a_method_without_a_value_model_starts_each_round_with_the_reward_model(
    models, tmp_path, performed
):
    reinforce(models, tmp_path, "grpo", Crew())
    assert {work.value for work in performed} == {str(models / "judge")}


def test_an_interrupted_training_goes_on_with_the_next_round(models, tmp_path, performed):
    whole, _ = reinforce(models, tmp_path / "whole", "ppo", Crew(tmp_path / "kept"))
    kept = tmp_path / "kept" / "2"
    assert json.loads((kept / policy.ROUNDS).read_text()) == {"done": 2, "curve": whole[:4]}
    performed.clear()
    again, lines = reinforce(models, tmp_path / "again", "ppo", Crew(), kept)
    (last,) = performed
    assert (last.number, last.start, last.value) == (2, str(kept / "policy"), str(kept / "value"))
    assert again == whole and [line["round"] for line in lines] == [3]


def test_only_worker_0_writes_the_result_and_the_checkpoints(models, tmp_path, performed):
    crew = Crew(tmp_path / "kept")
    shared = []
    crew.rank, crew.broadcast_folder = 1, lambda folder: shared.append(folder.name)
    reinforce(models, tmp_path / "result", "ppo", crew)
    assert crew.kept == ROUNDS and not (tmp_path / "result").exists()
    assert not list((tmp_path / "kept").rglob(policy.ROUNDS))
    assert shared == ["round0", "round1"], "no worker reads the last round again"
