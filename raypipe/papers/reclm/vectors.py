"""Stages that turn texts into vectors: those of items, and the profiles of users and items. Ray Data, each text once in any run."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from raypipe.cluster import ray_data, session
from raypipe.data.dataset import Dataset
from raypipe.papers.reclm.config import EncoderConfig
from raypipe.papers.reclm.rendering import line
from raypipe.pipeline.stage import Context
from raypipe.schema import TEXT, TITLE

FILE = "vectors.safetensors"


def item_vectors(ctx: Context, config: EncoderConfig) -> dict[str, Any]:
    """The vectors of all items' texts, in catalogue order."""
    session.in_worker(_item_texts, ctx)
    return encode(ctx, config)


def _item_texts(ctx: Context) -> None:
    dataset = Dataset.load(ctx.input("data"))
    items = dataset.items
    features = items[list(dataset.item_features)].to_numpy(str)
    texts = [line(t, f, x) for t, f, x in zip(items[TITLE], features, items[TEXT], strict=True)]
    write_texts(ctx, "items", texts)


def write_texts(ctx: Context, name: str, texts: list[str]) -> None:
    """Texts to encode as the table `name` of this stage; an empty one gets the vector zero."""
    pd.DataFrame(
        {
            "text": texts,
            "hash": [hashlib.sha256(t.encode()).hexdigest() if t else "" for t in texts],
        }
    ).to_parquet(ctx.out / f"{name}.parquet", index=False)


def encode(ctx: Context, config: EncoderConfig) -> dict[str, Any]:
    """vectors.safetensors: for each table that `write_texts` left, its vectors by its name.

    Texts that the same encoder met before in any run of this store are not encoded again, so that a refresh of some profiles costs
    what has changed (R4).
    """
    from raypipe.llm import encoder  # heavy, and most of who imports this file encodes nothing

    about = hashlib.sha256(f"{config.source} {config.max_tokens}".encode()).hexdigest()[:12]
    known = f"{ctx.store.uri}/vectors/{about}"
    texts, new = session.in_worker(_missing, ctx, known)
    began = time.perf_counter()
    if new:
        session.post(f"    {new:,} of {texts:,} different texts are to be encoded")
        asked = ray_data.read(
            str(ctx.out / "missing"), len(ray_data.finished(str(ctx.out / "missing"))[1])
        )
        actors = max(1, min(session.places(), ray_data.blocks(new)))
        made = encoder.apply(asked, config.source, config.max_tokens, config.batch_size, actors)
        with ray_data.watch(
            known, new, session.post, what="texts encoded", older=ray_data.finished(known)[0]
        ):
            made.write_parquet(known)
    seconds = time.perf_counter() - began
    rows = session.in_worker(_collect, ctx, known)
    return {
        "rows": rows,
        "texts": texts,
        "encoded": new,
        "texts_per_second": new / seconds if new else None,
    }


def _tables(ctx: Context) -> dict[str, pd.DataFrame]:
    return {file.stem: pd.read_parquet(file) for file in sorted(ctx.out.glob("*.parquet"))}


def _missing(ctx: Context, known: str) -> tuple[int, int]:
    """Write the texts without a vector as small files; how many different texts there are, and how many of them those are."""
    texts = pd.concat(_tables(ctx).values()).drop_duplicates("hash")
    texts = texts[texts["hash"] != ""]
    have = set(ray_data.read_finished(known, ["hash"])["hash"])
    new = texts[~texts["hash"].isin(have)].sort_values("hash")
    ray_data.write_pieces(
        new, lambda part: pa.Table.from_pandas(part, preserve_index=False), str(ctx.out / "missing")
    )
    return len(texts), len(new)


def _collect(ctx: Context, known: str) -> int:
    tables = _tables(ctx)
    memory = ray_data.read_finished(known).drop_duplicates("hash")
    row = pd.Series(np.arange(len(memory)), memory["hash"])
    vectors = np.stack(memory["vector"].to_numpy()).astype(np.float32)
    vectors = np.concatenate(
        [vectors, np.zeros((1, vectors.shape[1]), np.float32)]
    )  # the last is that of no text
    made = {}
    for name, texts in tables.items():
        made[name] = vectors[row.reindex(texts["hash"]).fillna(len(vectors) - 1).to_numpy(np.int64)]
    save_file(made, ctx.out / FILE)
    return sum(map(len, made.values()))


def unit(vectors_Nd: np.ndarray) -> np.ndarray:
    """Vectors of length one; zero stays zero."""
    return vectors_Nd / np.maximum(np.linalg.norm(vectors_Nd, axis=1, keepdims=True), 1e-9)


def read_vectors(folder: Path) -> dict[str, np.ndarray]:
    """The tables of a stage's vectors."""
    return load_file(folder / FILE)
