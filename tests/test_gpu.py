"""What differs on a GPU: every backbone, the tuning loop and the engine that needs no vLLM. Skipped where there is none.

TRL's trainers and policy learning run on the GPU in their own tests (test_trainers.py, test_policy.py).
"""

import numpy as np
import pytest
import torch
from test_backbones import ALL, CLOSED, checkerboard, options
from test_llm import llm  # noqa: F401
from test_policy import alone  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer

from raypipe.backbones import registry
from raypipe.backbones.fit import FitContext, Worker, fit
from raypipe.backbones.scoring import predict, top_k
from raypipe.llm.transformers import Question, Scorer
from raypipe.tuning import chat, sft

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda")


@pytest.mark.parametrize("task,name", ALL)
def test_a_backbone_learns_on_a_gpu_and_answers_as_on_a_cpu(task, name):
    data, chosen = (
        checkerboard(task),
        options(task, name, epochs=60, patience=60, dropout=0.0, contrast=0.01),
    )
    model = fit(
        registry.find(task, name).Model, data, chosen, 0, FitContext(worker=Worker(device=GPU))
    ).model
    assert model.device.type == "cuda"
    if task == "rating":
        there = predict(model, data.validation)
        assert np.abs(there - data.validation.rating).max() < 0.5
        assert np.allclose(there, predict(model.cpu(), data.validation), atol=1e-3)
        return
    there = top_k(model, data.validation, 5, 0)
    assert name == "popularity" or (there.items[:, 0] == data.validation.target).mean() > 0.9
    here = top_k(model.cpu(), data.validation, 5, 0)
    assert np.allclose(there.scores, here.scores, rtol=1e-3, atol=1e-3)
    assert model.user_embeddings(data).shape[0] == data.n_users


@pytest.mark.parametrize("task,name", [p for p in ALL if p[1] not in CLOSED])
def test_a_fit_goes_on_from_its_checkpoint(task, name, tmp_path):
    data, build = checkerboard(task), registry.find(task, name).Model
    chosen, worker = options(task, name, epochs=4, patience=9, dropout=0.0), Worker(device=GPU)

    class CutOff(Exception):
        """Stands for a kill."""

    def cut(write):
        write(tmp_path)
        if (tmp_path / "progress.json").read_text().startswith('{"epoch": 2'):
            raise CutOff

    whole = fit(build, data, chosen, 3, FitContext(worker=worker))
    with pytest.raises(CutOff):
        fit(build, data, chosen, 3, FitContext(save=cut, worker=worker))
    rest = fit(build, data, chosen, 3, FitContext(resume=tmp_path, worker=worker))
    assert [c["loss"] for c in rest.curve] == pytest.approx(
        [c["loss"] for c in whole.curve], rel=1e-2
    )


@pytest.mark.parametrize("stage", [0, 3])
def test_an_llm_learns_in_bfloat16_and_goes_on_from_its_checkpoint(llm, tmp_path, stage):  # noqa: F811
    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    examples = [
        chat.instruction(tokenizer, f'The user watched "{t}". Answer:', f' "{t}"') for t in llm[1]
    ] * 4
    settings, lines = sft.Settings(4, 3e-3, 16, 5, stage, 1), []

    def run(save, resume=None):
        model = AutoModelForCausalLM.from_pretrained(llm[0], dtype="bfloat16")
        return sft.tune(
            model, 3, examples, settings, sft.Worker(0, 1, GPU), lines.append, save, resume
        )

    def keep(write, step):
        if step == 26:
            write(tmp_path)

    whole = run(keep)
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    rest = run(lambda write, step: None, tmp_path)
    assert whole.keys() == rest.keys()
    assert all(torch.allclose(whole[k].float(), rest[k].float(), atol=0.02) for k in whole)


def test_options_are_scored_as_on_a_cpu(llm):  # noqa: F811
    scorer = Scorer(llm[0])
    assert scorer.device.type == "cuda"
    asked = [
        Question(f'"{t}"' * (n + 1) + " Answer:", [f' "{x}"' for x in llm[1][:3]])
        for n, t in enumerate(llm[1][:6])
    ]
    there, chosen = scorer.score(asked), scorer.choose(asked[0]._replace(mode="choose"))
    scorer.device = torch.device("cpu")
    scorer.model.cpu()
    assert np.allclose(there, scorer.score(asked), atol=1e-2)
    assert chosen == scorer.choose(asked[0]._replace(mode="choose"))
