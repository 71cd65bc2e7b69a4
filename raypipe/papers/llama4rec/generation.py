"""Stages that make prompts: asks, and Ray Data tasks that put them into words."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from raypipe.backbones.tables import Tables
from raypipe.cluster import session
from raypipe.cluster import tables as flow
from raypipe.config import RunConfig
from raypipe.papers.llama4rec import asks, attributes, words
from raypipe.papers.llama4rec.training import tables
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.schema import PROMPTS, USER
from raypipe.sections import AugmentConfig
from raypipe.seeding import derive, generator


def similar_of(folder: Path) -> dict[str, str]:
    """user -> most similar user, as a backbone stage wrote it."""
    frame = pd.read_parquet(folder / "similar.parquet")
    return dict(zip(frame[USER], frame["similar"], strict=True))


def rerank_asks(ctx: Context, config: RunConfig, with_hints: bool) -> None:
    """Write the asks of validation and test for one set of backbones: listwise for all; pointwise for some users of one seed."""
    source = tables(ctx)
    past = asks.Histories(source)
    parts = []
    for seed, task in itertools.product(config.repetitions, config.tasks):
        for name in config.backbones[task]:
            folder, prefix = ctx.input(f"model/{seed}/{name}"), f"{seed}/{name}/"
            similar = similar_of(folder) if with_hints else None
            for part in ("validation", "test"):
                if task == "rating":
                    predictions = pd.read_parquet(folder / "predictions.parquet") if with_hints else None
                    made = asks.rating(source, past, part, predictions, similar, config.prompts, config.rated, seed)
                    parts.append(made.assign(ask_id=prefix + made["ask_id"]))
                    continue
                lists = pd.read_parquet(folder / "lists.parquet")
                made = asks.listwise(source, past, task, part, lists, similar, config.prompts, config.k_prime, seed)
                asked = asks.in_chunks(made, config.at_once)
                parts.append(asked.assign(ask_id=prefix + asked["ask_id"]))
                if config.rerank.pointwise and part == "validation" and seed == config.seed:
                    rng = generator(seed, "pointwise users", task)
                    some = np.sort(rng.permutation(len(made))[: config.rerank.pointwise_users])
                    single = pointwise_asks(source, past, task, part, lists, similar, config, seed)
                    single = single[single[USER].isin(made[USER].iloc[some])]
                    parts.append(single.assign(ask_id=prefix + single["ask_id"]))
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "asks.parquet", index=False)


def pointwise_asks(
    source: Tables, past: asks.Histories, task: str, part: str, lists: pd.DataFrame, similar: dict[str, str] | None,
    config: RunConfig, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Asks that rate the first `pointwise_k` candidates of a part, one by one."""
    first = min(config.k_prime, config.rerank.pointwise_k)
    made = asks.listwise(source, past, task, part, lists, similar, config.prompts, first, seed)
    return asks.pointwise_candidates(made, past, similar, config.prompts, config.rated)


def augment_asks(ctx: Context, config: RunConfig) -> None:
    """Write the asks of data augmentation, for all backbones of a task at once: pairs and picks; attribute prompts are worded here,
    as they are one an item.
    """
    source = tables(ctx)
    past = asks.Histories(source)
    wanted = config.augment
    parts = [pd.DataFrame(columns=list(asks.COLUMNS))]
    for seed in config.repetitions:
        for task in config.tasks:
            if asked := _drawn(task, wanted):
                made = asks.augmentation(source, past, config.prompts, *asked, seed)
                parts.append(made.assign(ask_id=f"{seed}/all/" + made["ask_id"]))
        if "rating" in config.tasks and wanted.attributes:
            made = attributes.prompts(source.dataset, wanted, seed)
            made = made.assign(prompt_id=f"{seed}/all/" + made["prompt_id"])
            (ctx.out / "prompts").mkdir(exist_ok=True)
            prompts = str(ctx.out / "prompts")
            flow.write_pieces(made, lambda rows: PROMPTS.of(rows, ctx.name), prompts, f"attributes-{seed}-")
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "asks.parquet", index=False)


def _drawn(task: str, wanted: AugmentConfig) -> tuple[int, int, str] | None:
    """How many asks a user, of how many items each, and the template; None where nothing is asked for the task."""
    if task == "direct" and wanted.pairs_per_user:
        return wanted.pairs_per_user, 2, "pair"
    if task == "sequential" and wanted.insertions_per_user:
        return wanted.insertions_per_user, wanted.pick_from, "pick"
    return None


def guided_asks(ctx: Context, config: RunConfig, number: int, with_hints: bool) -> None:
    """Write the asks of a later round of data augmentation (L55), each backbone's own: items come from the top of its list, whose
    order the answers can change, and the similar user is the one that it finds.
    """
    source = tables(ctx)
    past = asks.Histories(source)
    parts = [pd.DataFrame(columns=list(asks.COLUMNS))]
    for seed, task in itertools.product(config.repetitions, config.tasks):
        asked = _drawn(task, config.augment)
        if asked is None:
            continue
        for name in config.backbones[task]:
            folder = ctx.input(f"model/{seed}/{name}")
            lists = pd.read_parquet(folder / "lists.parquet", columns=[USER, "split", "items"])
            lists = lists[lists["split"] == "validation"]  # its history is training alone
            ranked = dict(zip(lists[USER], source.numbers(lists["items"]), strict=True))
            similar = similar_of(folder) if with_hints else None
            own = derive(seed, "round", number)
            made = asks.augmentation(source, past, config.prompts, *asked, own, ranked, similar)
            parts.append(made.assign(ask_id=f"{seed}/{name}/" + made["ask_id"]))
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "asks.parquet", index=False)


def guided_prompts(ctx: Context, config: RunConfig, number: int, with_hints: bool) -> dict[str, Any]:
    """prompts/: PROMPTS rows of a later round of data augmentation."""
    session.in_worker(guided_asks, ctx, config, number, with_hints)
    return word_prompts(ctx, config)


def prompts(ctx: Context, config: RunConfig, kind: str) -> dict[str, Any]:
    """prompts/: PROMPTS rows of data augmentation (kind "augment") or of a wave, of all seeds; ids begin with the seed."""
    if kind == "augment":
        session.in_worker(augment_asks, ctx, config)
    else:
        session.in_worker(rerank_asks, ctx, config, WAVES[kind].hints)
    return word_prompts(ctx, config)


def word_prompts(ctx: Context, config: RunConfig) -> dict[str, Any]:
    """Put asks.parquet into words, in Ray Data tasks; the files are as small as the pieces in which answers are kept."""
    data, style, where = ctx.input("data"), config.style, ctx.name
    began = time.perf_counter()

    def word(batch: pd.DataFrame) -> pa.Table:
        return PROMPTS.of(words.render_batch(batch, data, style), where)

    asked = flow.read(ctx.out / "asks.parquet")
    if count := asked.count():
        pieces = asked.repartition(flow.blocks(count))
        pieces.map_batches(word, batch_format="pandas", batch_size=None).write_parquet(str(ctx.out / "prompts"))
    return {"rows": flow.finished(str(ctx.out / "prompts"))[0], "wording_seconds": time.perf_counter() - began}
