"""The stages of the LLM: the base that it begins with, and instruction tuning."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cluster import session
from raypipe.papers.llama4rec import rendering
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.prompts import tables
from raypipe.papers.llama4rec.rendering import RatedItems
from raypipe.pipeline.stage import Context
from raypipe.schema import RATING, TITLE
from raypipe.steps.artifacts import llm_path
from raypipe.steps.tuning import Tuning, run_tuning


def build_base(ctx: Context, config: Llama4RecConfig, seed: int) -> dict[str, Any]:
    """The untuned LLM: for `embedded`, tokenizer and model are built from the corpus and learn its
    language; else a reference.

    The corpus holds item texts and training histories without the held rows, and nothing that is
    validation or test of any task.
    """
    if config.llm.source != "embedded":
        (ctx.out / "source.json").write_text(json.dumps({"model": config.llm.source}))
        return {"model": config.llm.source}
    facts = session.in_worker(_prepare_embedded, ctx, config, seed)
    embedded = config.llm.embedded
    training = config.llm.tune.model_copy(
        update={
            "epochs": embedded.epochs,
            "learning_rate": embedded.learning_rate,
            "batch_size": embedded.batch_size,
        }
    )
    corpus = [str(ctx.out / "corpus.parquet")]
    tuning = Tuning(str(ctx.out / "untrained"), corpus, training, embedded.dropout)
    return {**facts, **run_tuning(ctx, tuning, seed, config.checkpoint_seconds)}


def _prepare_embedded(ctx: Context, config: Llama4RecConfig, seed: int) -> dict[str, Any]:
    """corpus.parquet and untrained/: the texts of all datasets, and a model whose tokenizer knows
    their titles.
    """
    from raypipe.llm import embedded

    documents: list[str] = []
    counts: list[pd.Series] = []
    for number in range(len(config.sources)):
        source = tables(ctx, str(number))
        documents += _documents(source, config)
        rows = _language_rows(source)
        count = rows["i"].value_counts().reindex(range(len(source.items)), fill_value=0)
        counts.append(count.set_axis(source.dataset.items[TITLE]))
    by_title = pd.concat(counts).groupby(level=0, sort=False).sum()
    popular = by_title.sort_values(ascending=False, kind="stable")
    folder = ctx.out / "untrained"
    folder.mkdir()
    facts = embedded.build(documents, list(popular.index), config.llm.embedded, seed, folder)
    corpus = pd.DataFrame({"prompt": "", "answer": documents})
    corpus.to_parquet(ctx.out / "corpus.parquet", index=False)
    return {**facts, "rows": len(documents)}


def _language_rows(source: InteractionMatrices) -> pd.DataFrame:
    """Training rows of the top-k tasks that are not held."""
    rows = source.rows("direct")
    return rows[(rows["part"] == "train") & ~rows["held"]]


def _documents(source: InteractionMatrices, config: Llama4RecConfig) -> list[str]:
    """The corpus of one dataset: item texts, and training histories without the held rows."""
    sequences = [rows["i"].to_numpy() for _, rows in _language_rows(source).groupby("u")]
    rated: list[RatedItems] = []
    if "rating" in config.hint_backbones:
        ratings = source.rows("rating")
        ratings = ratings[(ratings["part"] == "train") & ~ratings["held"] & ~ratings["hidden"]]
        for _, rows in ratings.groupby("u"):
            rated.append(RatedItems(rows["i"].to_numpy(), rows[RATING].to_numpy()))
    length = config.rating_history_length
    return list(rendering.corpus(source.dataset, sequences, rated, config.prompts, length))


def tune_llm(ctx: Context, config: Llama4RecConfig, seed: int) -> dict[str, Any]:
    """Instruction tuning of the base LLM, on the instructions of all datasets mixed (L29)."""
    files = [str(ctx.input(name) / "instructions.parquet") for name in ctx.inputs if name != "base"]
    dropout = config.llm.embedded.dropout if config.llm.source == "embedded" else 0.0
    tuning = Tuning(llm_path(ctx.input("base")), files, config.llm.tune, dropout)
    facts = run_tuning(ctx, tuning, seed, config.checkpoint_seconds)
    return {**facts, "rows": facts["examples"]}
