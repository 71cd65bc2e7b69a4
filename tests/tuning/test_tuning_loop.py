"""The loop that tunes an LLM, on a tiny one: what it learns, reports, saves and resumes."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypipe.tuning import chat, checkpoint, sft
from tests.support.tiny_llms import PROMPTS

pytestmark = pytest.mark.usefixtures("alone")

#: steps of two epochs of 16 examples in batches of four, and the step of the checkpoint
STEPS, KEPT = 8, 5


class Tuning:
    """A training of the tiny LLM, with the lines that it reported."""

    def __init__(self, models, stage):
        self.source, self.stage, self.lines = models / "llm", stage, []
        tokenizer = AutoTokenizer.from_pretrained(self.source)
        self.examples = [chat.instruction(tokenizer, prompt, " golf fan.") for prompt in PROMPTS]

    def run(self, save=lambda write, step: None, resume=None):
        self.model = AutoModelForCausalLM.from_pretrained(self.source, dtype="float32")
        settings = sft.Settings(2, 1e-2, 4, 0, self.stage, seed=5, dropout=0.1)
        worker = sft.Worker(0, 1, torch.device("cpu"))
        progress = sft.Run(worker, self.lines.append, save, resume)
        return sft.tune(self.model, 3, self.examples, settings, progress)


@pytest.mark.parametrize("stage", [0, 3])
def test_an_llm_learns_and_goes_on_from_its_checkpoint(models, tmp_path, stage):
    tuning = Tuning(models, stage)

    def keep(write, step):
        if step == KEPT:
            write(tmp_path)

    whole = tuning.run(keep)
    assert [line["step"] for line in tuning.lines] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in tuning.lines] == [1] * 4 + [2] * 4
    assert {line["steps"] for line in tuning.lines} == {STEPS}
    assert tuning.lines[-1]["loss"] < 0.8 * tuning.lines[0]["loss"]
    assert all(values.dtype == torch.float32 for values in whole.values())
    tuning.lines.clear()
    rest = tuning.run(resume=tmp_path)
    assert [line["step"] for line in tuning.lines] == list(range(KEPT + 1, STEPS + 1))
    assert whole.keys() == rest.keys()
    assert all(torch.allclose(whole[name], rest[name], atol=1e-6) for name in whole)


def test_tuned_weights_are_saved_with_the_tokenizer_and_load_again(models, tmp_path):
    tuning = Tuning(models, 0)
    state = tuning.run()
    checkpoint.save(tuning.model, state, tuning.source, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in weights, "it is tied to the embeddings"
    before = load_file(tuning.source / "model.safetensors")
    assert weights.keys() == before.keys()
    assert not all(torch.equal(weights[name], before[name]) for name in weights)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in weights)
    text = f"{PROMPTS[0]} golf fan."
    ids = [AutoTokenizer.from_pretrained(folder)(text) for folder in (tuning.source, tmp_path)]
    assert ids[0] == ids[1]
