"""TRL's trainers under DeepSpeed on a tiny LLM: whole, sharded, and resumed from a checkpoint."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from raypipe.tuning import dialogue, sft, trainers
from raypipe.tuning.trainers import Adapter
from raypipe.tuning.training_run import TrainingRun
from tests.support.tiny_llms import Crew

pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize("stage", [0, 3])
def test_dialogues_are_learnt_and_go_on_from_a_checkpoint(models, tmp_path, stage):
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
    assert len(kept) == 4, "two batches an epoch, a checkpoint after each"
    again = run("again", Crew(), kept[1])
    assert all(torch.allclose(again[k], whole[k], atol=1e-6) for k in whole), (
        "it goes on where it was"
    )
