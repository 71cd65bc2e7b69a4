"""The transformers engine on a GPU. Skipped where there is none."""

import numpy as np
import pytest
import torch

from raypipe.llm.transformers import Question, Scorer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_options_are_scored_as_on_a_cpu(llm):
    scorer = Scorer(llm[0])
    assert scorer.device.type == "cuda"
    questions = [
        Question(f'"{t}"' * (n + 1) + " Answer:", [f' "{x}"' for x in llm[1][:3]])
        for n, t in enumerate(llm[1][:6])
    ]
    on_gpu, chosen = scorer.score(questions), scorer.choose(questions[0]._replace(mode="choose"))
    scorer.device = torch.device("cpu")
    scorer.model.cpu()
    assert np.allclose(on_gpu, scorer.score(questions), atol=1e-2)
    assert chosen == scorer.choose(questions[0]._replace(mode="choose"))
