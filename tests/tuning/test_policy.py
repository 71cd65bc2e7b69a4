"""Reinforcement learning by TRL on a tiny LLM: both methods, and resuming after a round."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from raypipe.errors import ConfigError
from raypipe.tuning import policy, policy_trainers, reward_model
from raypipe.tuning.trainers import Adapter
from raypipe.tuning.training_run import TrainingRun
from tests.support.tiny_llms import PROMPTS, Crew

pytestmark = pytest.mark.usefixtures("alone")


def run(models, to, method, crew, resume=None, rounds=2, rate=1e-3, length=8):
    settings = policy.Policy(method, rounds, 8, rate, 0.05, 0.9, 4, length, ".", 2, 1)
    lines: list[dict] = []
    curve = policy.reinforce(
        policy.Models(str(models / "llm"), str(models / "judge")),
        PROMPTS,
        settings,
        Adapter(0, 16, 0.0),
        TrainingRun(crew, lines.append, resume, to),
    )
    return curve, lines


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_policy_learns_in_rounds_and_resumes_after_one(models, tmp_path, method):
    crew = Crew(tmp_path / "kept")
    curve, lines = run(models, tmp_path / "whole", method, crew)
    assert crew.kept == 2 and [line["round"] for line in lines] == [1, 2]
    assert all({"score", "kl", "entropy", "round"} <= set(line) for line in curve)
    before, after = (
        load_file(models / "llm" / "model.safetensors"),
        load_file(tmp_path / "whole" / "model.safetensors"),
    )
    assert before.keys() == after.keys() and any(
        not torch.equal(before[k], after[k]) for k in before
    )
    assert json.loads((tmp_path / "kept" / "1" / policy.ROUNDS).read_text())["done"] == 1
    shutil.copytree(tmp_path / "kept" / "1", tmp_path / "cut off")
    again, more = run(models, tmp_path / "again", method, Crew(), tmp_path / "cut off")
    assert [line["round"] for line in more] == [2] and len(again) == len(curve)
    assert again[: len(curve) // 2] == curve[: len(curve) // 2], (
        "the lines of the first round are kept"
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_answers_end_at_a_token_and_the_llm_keeps_its_own_end(
    models, tmp_path, method, monkeypatch
):
    """An untrained LLM mostly writes a full stop within 600 tokens, and rarely as its first."""
    scored_answers: list[str] = []
    score = reward_model.RewardModel.score
    monkeypatch.setattr(
        reward_model.RewardModel,
        "score",
        lambda self, prompts, answers: (
            scored_answers.extend(answers) or score(self, prompts, answers)
        ),
    )
    short, _ = run(models, tmp_path / "short", method, Crew(), rounds=1, rate=1e-12, length=1)
    long, _ = run(models, tmp_path / "long", method, Crew(), rounds=1, rate=1e-12, length=600)
    if method == "ppo":  # an answer without a full stop loses 1, and this judge gives all some 0.1
        assert short[0]["score"] < long[0]["score"] - 0.2
    assert all(a.endswith(".") or a.count(".") == 0 for a in scored_answers) and (
        method == "ppo" or any(len(a) > 1 for a in scored_answers)
    )
    for file in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / "long" / file).read_text())["eos_token_id"] == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "long")
    assert tokenizer.eos_token == "</s>"


def test_an_llm_whose_tokenizer_lacks_the_end_token_is_refused(models):
    tokenizer = AutoTokenizer.from_pretrained(models / "llm")
    text = "The user watched film 3. Profile: user identity: U.S. fan."
    assert (
        policy_trainers.stopping(tokenizer, ".")(text)["input_ids"] == tokenizer(text)["input_ids"]
    ), "the end token does not change how texts are split"
    assert tokenizer.eos_token == "</s>"
    with pytest.raises(ConfigError, match=r"llm\.policy\.method"):
        policy_trainers.stopping(tokenizer, "no token")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_the_divergence_is_taken_from_the_tuned_llm_in_every_round(models, tmp_path, method):
    """A round starts with other weights than the tuned LLM's, and hardly learns. Its divergence is
    that of these weights.
    """
    other = shutil.copytree(models / "llm", tmp_path / "kept" / "policy")
    weights = load_file(models / "llm" / "model.safetensors")
    torch.manual_seed(1)
    save_file(
        {k: v + 0.3 * torch.randn_like(v) for k, v in weights.items()},
        other / "model.safetensors",
        {"format": "pt"},
    )
    (tmp_path / "kept" / policy.ROUNDS).write_text(json.dumps({"done": 1, "curve": []}))
    far, _ = run(models, tmp_path / "far", method, Crew(), tmp_path / "kept", rate=1e-12)
    near, _ = run(models, tmp_path / "near", method, Crew(), rate=1e-12)
    assert far and near
    assert abs(near[-1]["kl"]) < 1e-3 < 0.05 < abs(far[-1]["kl"])


def test_the_reward_of_an_answer_does_not_depend_on_its_batch(models):
    judge = reward_model.RewardModel(str(models / "judge"), Crew.device)
    answers = [
        " User identity: film fan.",
        " .",
        " User identity: film fan; User interests: golf and golf and golf.",
    ]
    together = judge.score(PROMPTS[:3], answers)
    alone = [judge.score([p], [a])[0] for p, a in zip(PROMPTS[:3], answers, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5) and len(set(together)) == 3


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_prompt_begins_with_one_start_token(models, by_itself):
    """Whether the tokenizer of a given LLM puts it there or not."""
    tokenizer = AutoTokenizer.from_pretrained(models / "llm")
    if by_itself:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    ids = tokenizer(policy_trainers.with_start_token(tokenizer, PROMPTS))["input_ids"]
    assert ids == [[1, *tokenizer(p, add_special_tokens=False)["input_ids"]] for p in PROMPTS]
