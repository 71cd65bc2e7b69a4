"""Stages that ask the LLM: asks -> prompts -> completions, and instructions for tuning. Ray Data all the way."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.cluster import session
from raypipe.cluster import tables as flow
from raypipe.config import RunConfig
from raypipe.errors import ArtifactError
from raypipe.llm.endpoint import Engine as Endpoint
from raypipe.llm.engine import make
from raypipe.papers.llama4rec import asks, attributes, words
from raypipe.papers.llama4rec.training import model_of, tables
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Style
from raypipe.schema import COMPLETIONS, PROMPTS, USER
from raypipe.sections import AugmentConfig, EndpointConfig
from raypipe.seeding import derive, generator

#: `finished_at` of an answer that was known before
RECALLED = 0.0


def style_of(config: RunConfig) -> Style:
    """How answers are written: titles where the tokenizer gives titles a token, else labels."""
    if config.prompts.answers == "auto":
        return "title" if config.llm.source == "embedded" else "label"
    return config.prompts.answers


def similar_of(folder: Path) -> dict[str, str]:
    """user -> most similar user, as a backbone stage wrote it."""
    frame = pd.read_parquet(folder / "similar.parquet")
    return dict(zip(frame[USER], frame["similar"], strict=True))


def rerank_asks(ctx: Context, config: RunConfig, with_hints: bool) -> None:
    """Write the asks of validation and test for one set of backbones: all listwise; pointwise for some validation users."""
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
                    made = asks.rating(source, past, part, predictions, similar, config.prompts, seed)
                    parts.append(made.assign(ask_id=prefix + made["ask_id"]))
                    continue
                lists = pd.read_parquet(folder / "lists.parquet")
                made = asks.listwise(source, past, task, part, lists, similar, config.prompts, config.rerank.k_prime, seed)
                asked = asks.in_chunks(made, config.rerank.at_once)
                parts.append(asked.assign(ask_id=prefix + asked["ask_id"]))
                if config.rerank.pointwise and part == "validation":
                    rng = generator(seed, "pointwise users", task)
                    some = made.iloc[np.sort(rng.permutation(len(made))[: config.rerank.pointwise_users])]
                    single = asks.pointwise_candidates(some, past, similar, config.prompts)
                    parts.append(single.assign(ask_id=prefix + single["ask_id"]))
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "asks.parquet", index=False)


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
            for start in range(0, len(made), flow.BLOCK):
                part = PROMPTS.of(made.iloc[start : start + flow.BLOCK], ctx.name)
                pq.write_table(part, ctx.out / "prompts" / f"attributes-{seed}-{start}.parquet")
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
            ranked = {user: source.items.get_indexer(items) for user, items in zip(lists[USER], lists["items"], strict=True)}
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
    data, style, where = ctx.input("data"), style_of(config), ctx.name
    began = time.perf_counter()

    def word(batch: pd.DataFrame) -> pa.Table:
        return PROMPTS.of(words.render_batch(batch, data, style), where)

    asked = flow.read(ctx.out / "asks.parquet")
    if count := asked.count():
        pieces = asked.repartition(flow.blocks(count))
        pieces.map_batches(word, batch_format="pandas", batch_size=None).write_parquet(str(ctx.out / "prompts"))
    return {"rows": flow.finished(str(ctx.out / "prompts"))[0], "wording_seconds": time.perf_counter() - began}


def generate(ctx: Context, config: RunConfig) -> dict[str, Any]:
    """completions.parquet: one row a prompt, sorted by id.

    Answers that are there from a cut-off run, or that the same LLM gave to the same prompt in any run of this store, are not asked
    for again.
    """
    model = model_of(ctx.input("llm"))
    about = [ctx.inputs["llm"][1], config.llm.engine.name, config.llm.engine.dtype]
    return _generate(ctx, model, lambda: make(model, config.llm.engine), about, config.llm.engine.patience_seconds)


def generate_at(ctx: Context, endpoint: EndpointConfig, patience_seconds: float) -> dict[str, Any]:
    """completions.parquet as of `generate`, from an endpoint; its costs in dollars among the facts."""
    about = [endpoint.url, endpoint.model, endpoint.max_tokens]
    facts = _generate(ctx, endpoint.model, lambda: Endpoint(endpoint), about, patience_seconds)
    dollars = (facts["tokens_in"] * endpoint.dollars_in + facts["tokens_out"] * endpoint.dollars_out) / 1e6
    return {**facts, "dollars": dollars}


def _generate(ctx: Context, model: str, engine: Callable[[], Any], about: list[Any], patience_seconds: float) -> dict[str, Any]:
    source, partial = str(ctx.input("prompts") / "prompts"), f"{ctx.scratch}/completions"
    total, files = flow.finished(source)
    known = f"{ctx.store.uri}/answers/{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}"
    began = time.time()
    if total:
        recalled = session.in_worker(_recall, source, known, partial)
        if recalled:
            session.post(f"    {recalled:,} of {total:,} answers are known from another run")
        done = session.in_worker(_answered, partial)
        rows = flow.read(source, len(files))
        flow.give_up_after(patience_seconds)
        if len(done) > recalled:
            session.post(f"    {len(done):,} of {total:,} prompts were answered before")
        if done:
            with warnings.catch_warnings(action="ignore"):  # of being slower than an expression over columns
                rows = rows.filter(lambda row: row["prompt_id"] not in done)
        if len(done) < total:
            answers = engine().apply(rows)
            with flow.watch(partial, total, session.post):
                answers.write_parquet(partial)
    return session.in_worker(_merge_completions, ctx, source, partial, known, began, model)


def _hashes(asked: pd.DataFrame) -> list[str]:
    """Of each prompt, with its mode and options: what an answer depends on."""
    made = zip(asked["mode"], asked["prompt"], asked["options"], strict=True)
    return [hashlib.sha256(json.dumps([mode, text, list(options)]).encode()).hexdigest() for mode, text, options in made]


def _recall(source: str, known: str, partial: str) -> int:
    """Write the answers that are known beside those that a cut-off run left; returns how many."""
    memory = flow.read_finished(known).rename(columns={"prompt_id": "prompt_hash"})
    if not len(memory):
        return 0
    asked = flow.read_finished(source, ["prompt_id", "mode", "prompt", "options"])
    asked = asked[["prompt_id"]].assign(prompt_hash=_hashes(asked))
    found = asked.merge(memory.drop_duplicates("prompt_hash"), on="prompt_hash")
    if len(found):
        flow.write(COMPLETIONS.of(found.drop(columns="prompt_hash").assign(finished_at=RECALLED), partial), partial, "known")
    return len(found)


def _remember(source: str, got: pd.DataFrame, known: str, name: str) -> None:
    """Keep the answers that were asked for now: COMPLETIONS whose ids are the hashes of their prompts.

    A request that failed is no answer, and is put again by the next run.
    """
    asked = flow.read_finished(source, ["prompt_id", "mode", "prompt", "options"])
    answered = (got["answer"] != "") | (got["logprobs"].map(len) > 0)
    new = got[(got["finished_at"] > RECALLED) & answered]
    new = asked[["prompt_id"]].assign(prompt_hash=_hashes(asked)).merge(new, on="prompt_id").drop(columns="prompt_id")
    new = new.rename(columns={"prompt_hash": "prompt_id"}).drop_duplicates("prompt_id")
    if len(new):
        flow.write(COMPLETIONS.of(new, known), known, name)


def _answered(partial: str) -> frozenset[str]:
    return frozenset(flow.read_finished(partial, ["prompt_id"])["prompt_id"])


def _merge_completions(ctx: Context, source: str, partial: str, known: str, began: float, model: str) -> dict[str, Any]:
    asked = flow.read_finished(source, ["prompt_id", "template"])
    got = flow.read_finished(partial)
    if not len(asked):
        got = pd.DataFrame(columns=list(COMPLETIONS.columns))
    got = got.drop_duplicates("prompt_id").sort_values("prompt_id", kind="stable")
    # engines give doubles, and what is remembered are floats; of no rows the column would become one of numbers
    got["logprobs"] = pd.Series([np.asarray(values, np.float32) for values in got["logprobs"]], got.index, object)
    if set(got["prompt_id"]) != set(asked["prompt_id"]):
        lost = len(set(asked["prompt_id"]) - set(got["prompt_id"]))
        raise ArtifactError(f"the engine gave no answer to {lost} of {len(asked)} prompts", ctx.name, "run the same command again")
    pq.write_table(COMPLETIONS.of(got, ctx.name), ctx.out / "completions.parquet")
    _remember(source, got, known, ctx.key[:12])
    now = got[got["finished_at"] >= began]["finished_at"]
    busy = float(now.max() - now.min()) if len(now) else 0.0
    asked_for = got[got["finished_at"] > RECALLED]
    return {
        "rows": len(got),
        "known": len(got) - len(asked_for),
        "pieces": len(flow.finished(partial)[1]),
        "model": model,
        "tokens_in": int(asked_for["tokens_in"].sum()),
        "tokens_out": int(asked_for["tokens_out"].sum()),
        "engine_start_seconds": float(now.min() - began) if len(now) else 0.0,
        "generation_seconds": busy,
        "by template": asked["template"].value_counts().to_dict(),
    }


def answers(ctx: Context, prompts_input: str, completions_input: str) -> pd.DataFrame:
    """Prompts with their completions: the columns of both but for the prompt's text, one row a prompt."""
    columns = [c for c in PROMPTS.columns if c != "prompt"]
    asked = flow.read_finished(str(ctx.input(prompts_input) / "prompts"), columns)
    got = pd.read_parquet(ctx.input(completions_input) / "completions.parquet")
    return asked.merge(got, on="prompt_id", validate="one_to_one")
