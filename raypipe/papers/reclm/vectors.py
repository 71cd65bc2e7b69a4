"""Stages that encode texts as vectors: items, and the profiles of users and items.

They run on Ray Data. A text that any run of the store has encoded is not encoded again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from raypipe.cluster import ray_data, session
from raypipe.data.dataset import Dataset
from raypipe.papers.reclm.config import EncoderConfig
from raypipe.papers.reclm.rendering import item_texts
from raypipe.pipeline.stage import Context

FILE = "vectors.safetensors"


def item_vectors(ctx: Context, config: EncoderConfig) -> dict[str, Any]:
    """The vectors of all items' texts, in catalogue order."""
    session.in_worker(_write_item_texts, ctx)
    return encode(ctx, config)


def _write_item_texts(ctx: Context) -> None:
    write_texts(ctx, "items", item_texts(Dataset.load(ctx.input("data"))))


def write_texts(ctx: Context, name: str, texts: Sequence[str]) -> None:
    """Write NAME.parquet, texts to encode; an empty text gets the zero vector."""
    frame = pd.DataFrame({"text": texts, "hash": list(map(_text_hash, texts))})
    frame.to_parquet(ctx.out / f"{name}.parquet", index=False)


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def encode(ctx: Context, config: EncoderConfig) -> dict[str, Any]:
    """vectors.safetensors: the vectors of each table that `write_texts` wrote, by its name.

    Texts that the same encoder met in any run of this store are not encoded again, so a refresh of
    some profiles costs no more than what changed (R4).
    """
    from raypipe.llm import encoder  # heavy, and most modules that import this file encode nothing

    about = hashlib.sha256(f"{config.source} {config.max_tokens}".encode()).hexdigest()[:12]
    cache = f"{ctx.store.uri}/vectors/{about}"
    texts, new = session.in_worker(_write_missing, ctx, cache)
    began = time.perf_counter()
    if new:
        session.post(f"    {new:,} of {texts:,} different texts need encoding")
        missing = str(ctx.out / "missing")
        rows = ray_data.read(missing, len(ray_data.finished_files(missing).files))
        actors = max(1, min(session.capacity(), ray_data.block_count(new)))
        vectors = encoder.apply(rows, config.source, config.max_tokens, config.batch_size, actors)
        older = ray_data.finished_files(cache).rows
        with ray_data.watch(cache, new, session.post, what="texts encoded", earlier=older):
            vectors.write_parquet(cache)
    seconds = time.perf_counter() - began
    return {
        "rows": session.in_worker(_collect, ctx, cache),
        "texts": texts,
        "encoded": new,
        "texts_per_second": new / seconds if new else None,
    }


def _read_texts(ctx: Context) -> dict[str, pd.DataFrame]:
    tables = {}
    for file in sorted(ctx.out.glob("*.parquet")):
        tables[file.stem] = pd.read_parquet(file)
    return tables


def _write_missing(ctx: Context, cache: str) -> tuple[int, int]:
    """Write missing/, the texts without a vector, as small files.

    Returns:
        how many different texts there are, and how many of them have no vector.
    """
    texts = pd.concat(_read_texts(ctx).values()).drop_duplicates("hash")
    texts = texts[texts["hash"] != ""]
    encoded = set(ray_data.read_finished(cache, ["hash"])["hash"])
    missing = texts[~texts["hash"].isin(encoded)].sort_values("hash")
    ray_data.write_blocks(
        missing,
        lambda piece: pa.Table.from_pandas(piece, preserve_index=False),
        str(ctx.out / "missing"),
    )
    return len(texts), len(missing)


def _collect(ctx: Context, cache: str) -> int:
    """Write the vectors of each table; returns how many there are."""
    cached = ray_data.read_finished(cache).drop_duplicates("hash")
    vectors = np.stack(cached["vector"].to_numpy()).astype(np.float32)
    # the last vector is the one of an empty text
    vectors = np.concatenate([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
    row = pd.Series(np.arange(len(cached)), cached["hash"])
    tables = {}
    for name, texts in _read_texts(ctx).items():
        numbers = row.reindex(texts["hash"]).fillna(len(vectors) - 1).to_numpy(np.int64)
        tables[name] = vectors[numbers]
    save_file(tables, ctx.out / FILE)
    return sum(map(len, tables.values()))


def unit(vectors_Nd: np.ndarray) -> np.ndarray:
    """Vectors of length one; zero stays zero."""
    return vectors_Nd / np.maximum(np.linalg.norm(vectors_Nd, axis=1, keepdims=True), 1e-9)


def read_vectors(folder: Path) -> dict[str, np.ndarray]:
    """Name of a table -> its vectors [N, d], as `encode` wrote them."""
    return load_file(folder / FILE)
