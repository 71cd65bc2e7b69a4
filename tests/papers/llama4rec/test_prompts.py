"""Prompts about candidates."""

import numpy as np
import pandas as pd
import pytest

from raypipe.errors import ConfigError
from raypipe.papers.llama4rec import (
    prompt_requests,
    stages,
)
from raypipe.papers.llama4rec.config import load


def test_asks_in_chunks_hold_every_candidate_once():
    about = {
        "template": "listwise",
        "user_id": "a/b",
        "task": "direct",
        "split": "test",
        "history": [1],
        "answer": -1,
    }
    ask = prompt_requests.Ask(ask_id="listwise/direct/test/0/a/b", candidates=np.arange(7), **about)
    made = prompt_requests.in_chunks(pd.DataFrame([ask]), 3)
    assert made["ask_id"].tolist() == [f"listwise/direct/test/{n}/a/b" for n in range(3)]
    assert (
        np.concatenate(made["candidates"].to_list()).tolist() == list(range(7))
        and made["candidates"].map(len).max() == 3
    )
    assert len(prompt_requests.in_chunks(pd.DataFrame([ask]), 7)) == 1
    with pytest.raises(ConfigError, match="labelled by 26"):
        stages.plan(load("toy", {"rerank.k_prime": 40, "prompts.answers": "label"}))
    assert stages.plan(
        load("toy", {"rerank.k_prime": 40, "rerank.chunk": 10, "prompts.answers": "label"})
    )
