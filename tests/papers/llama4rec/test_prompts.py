"""Prompts about candidates."""

import numpy as np
import pytest

from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import (
    prompt_requests,
    stages,
)
from raypipe.papers.llama4rec.config import load


def test_requests_in_chunks_hold_every_candidate_once():
    request = prompt_requests.PromptRequest(
        0, "mf", "listwise_logprobs", "direct", "test", "a/b", history=[1], candidates=np.arange(7)
    )
    requests = prompt_requests.in_chunks(prompt_requests.table([request]), 3)
    assert requests["chunk"].tolist() == [0, 1, 2]
    candidates = requests["candidates"]
    assert np.concatenate(candidates.to_list()).tolist() == list(range(7))
    assert candidates.map(len).max() == 3
    assert len(prompt_requests.in_chunks(prompt_requests.table([request]), 7)) == 1
    with pytest.raises(ConfigError, match="labelled by 26"):
        stages.plan(load("toy", {"rerank.k_prime": 40, "prompts.answers": "label"}))
    assert stages.plan(
        load("toy", {"rerank.k_prime": 40, "rerank.chunk": 10, "prompts.answers": "label"})
    )
