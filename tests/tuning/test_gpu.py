"""The tuning loop on a GPU. Skipped where there is none."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypipe.tuning import chat, sft

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.usefixtures("alone"),
]


GPU = torch.device("cuda")


@pytest.mark.parametrize("stage", [0, 3])
def test_an_llm_learns_in_bfloat16_and_resumes_from_its_checkpoint(llm, tmp_path, stage):
    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    examples = [
        chat.instruction(tokenizer, f'The user watched "{t}". Answer:', f' "{t}"') for t in llm[1]
    ] * 4
    settings, lines = sft.Settings(4, 3e-3, 16, 5, stage, 1), []

    def run(save, resume=None):
        model = AutoModelForCausalLM.from_pretrained(llm[0], dtype="bfloat16")
        progress = sft.Run(sft.Worker(0, 1, GPU), lines.append, save, resume)
        return sft.tune(model, 3, examples, settings, progress)

    def keep(write, step):
        if step == 26:
            write(tmp_path)

    whole = run(keep)
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    rest = run(lambda write, step: None, tmp_path)
    assert whole.keys() == rest.keys()
    assert all(torch.allclose(whole[k].float(), rest[k].float(), atol=0.02) for k in whole)
