"""Every backbone on a GPU. Skipped where there is none."""

import numpy as np
import pytest
import torch

from raypipe.backbones import registry
from raypipe.backbones.fit import FitContext, Worker, fit
from raypipe.backbones.scoring import predict, top_k
from tests.support.backbone_cases import ALL, CLOSED, checkerboard, options

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


GPU = torch.device("cuda")


@pytest.mark.parametrize("task,name", ALL)
def test_a_backbone_learns_on_a_gpu_and_scores_as_on_a_cpu(task, name):
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
def test_a_fit_resumes_from_its_checkpoint(task, name, tmp_path):
    data, build = checkerboard(task), registry.find(task, name).Model
    chosen, worker = options(task, name, epochs=4, patience=9, dropout=0.0), Worker(device=GPU)

    class CutOff(Exception):
        """Stands for a killed process."""

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
