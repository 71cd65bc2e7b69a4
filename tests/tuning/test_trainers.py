"""TRL's trainers under DeepSpeed on a tiny LLM: whole, sharded, with adapters, and resumed."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from raypipe.tuning import dialogue, reward_model, sft, trainers
from raypipe.tuning.reward_model import RewardModel
from raypipe.tuning.trainers import Adapter
from raypipe.tuning.training_run import TrainingRun
from tests.support.tiny_llms import PROMPTS, Crew

pytestmark = pytest.mark.usefixtures("alone")

GOOD, BAD = " User identity: film fan.", " golf golf golf."


@pytest.mark.parametrize("stage", [0, 3])
def test_a_training_on_dialogues_learns_and_resumes_from_a_checkpoint(models, tmp_path, stage):
    model = str(models / "llm")
    tokenizer = AutoTokenizer.from_pretrained(model)
    turns = [
        (f"The user watched film {n}. Profile:", " User identity: film fan; User interests: golf.")
        for n in range(16)
    ]
    examples = [dialogue.tokens(tokenizer, [turn], "responses") for turn in turns]
    settings = sft.Settings(2, 1e-2, 8, 0, stage, 5)
    lines = []

    def run(folder, crew, resume=None):
        (tmp_path / folder).mkdir()
        trainers.dialogues(
            model,
            examples,
            settings,
            Adapter(0, 0, 0.0),
            TrainingRun(crew, lines.append, resume, tmp_path / folder),
        )
        return load_file(tmp_path / folder / "model.safetensors")

    whole = run("whole", Crew(tmp_path / "kept"))
    before = load_file(models / "llm" / "model.safetensors")
    assert whole.keys() >= before.keys() and any(
        not torch.equal(whole[k], before[k]) for k in before
    )
    kept = sorted((tmp_path / "kept").iterdir(), key=lambda p: int(p.name))
    assert len(kept) == 4, "two epochs of two batches, a checkpoint after each batch"
    again = run("again", Crew(), kept[1])
    assert all(torch.allclose(again[k], whole[k], atol=1e-6) for k in whole), (
        "the training resumes where it was"
    )


def test_a_reward_model_with_adapters_learns_to_prefer_and_is_written_whole(models, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(models / "llm")
    chosen, rejected = [], []
    for prompt in PROMPTS:
        chosen.append(reward_model.tokens(tokenizer, prompt, GOOD))
        rejected.append(reward_model.tokens(tokenizer, prompt, BAD))
    torch.manual_seed(0)
    lines = []
    trainers.rewards(
        str(models / "llm"),
        chosen,
        rejected,
        sft.Settings(
            epochs=5, learning_rate=3e-2, batch_size=8, warmup_steps=0, zero_stage=0, seed=1
        ),
        Adapter(rank=4, alpha=8, dropout=0.0),
        TrainingRun(Crew(), lines.append, None, tmp_path),
    )
    assert not (tmp_path / "adapter_config.json").exists(), "adapters are merged into the weights"
    judge = RewardModel(str(tmp_path), Crew.device)
    good, bad = (judge.score(PROMPTS, [answer] * len(PROMPTS)) for answer in (GOOD, BAD))
    assert all(better > worse for better, worse in zip(good, bad, strict=True))
    assert {"step", "steps", "loss", "accuracy"} <= set(lines[-1])
