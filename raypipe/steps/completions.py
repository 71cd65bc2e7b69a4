"""The stages that send prompts to an LLM: prompts -> completions, by Ray Data, for every paper."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from raypipe.cluster import ray_data, session
from raypipe.errors import ArtifactError, ConfigError, DryRun
from raypipe.llm.config import EndpointConfig, EngineConfig
from raypipe.llm.endpoint import Engine as EndpointEngine
from raypipe.llm.engine import SCORING, Engine, make_engine
from raypipe.pipeline.stage import Context, Stage
from raypipe.schema import COMPLETIONS, PROMPTS
from raypipe.steps import answer_cache
from raypipe.steps.answer_cache import REUSED, Folders
from raypipe.steps.artifacts import file_hashes, llm_path


def completions(name: str, prompts: str, llm: str, engine: EngineConfig) -> Stage:
    """The stage completions/`name`: the LLM of the stage `llm` answers prompts/`prompts`."""
    inputs = {"prompts": f"prompts/{prompts}", "llm": llm}
    resources = f"Ray Data: {engine.concurrency} x {engine.name}"
    settings = [engine.name, engine.dtype]
    body = partial(generate, engine=engine)
    return Stage(f"completions/{name}", body, inputs, settings, "driver", resources)


def endpoint_completions(name: str, endpoint: EndpointConfig, engine: EngineConfig) -> Stage:
    """The stage completions/`name`: an endpoint answers prompts/`name`.

    Args:
        engine: only its `patience_seconds` are used.
    """
    body = partial(
        generate_by_endpoint, endpoint=endpoint, patience_seconds=engine.patience_seconds
    )
    inputs = {"prompts": f"prompts/{name}"}
    settings = [endpoint.url, endpoint.model, endpoint.max_tokens]
    resources = f"Ray Data: {endpoint.model}, {endpoint.requests_per_minute:g} requests a minute"
    return Stage(f"completions/{name}", body, inputs, settings, "driver", resources)


def check_capacity(engine: EngineConfig) -> None:
    """Refuse more engine replicas than the connected cluster can hold; called before any stage.

    Raises:
        ConfigError: how many replicas fit.
    """
    devices = engine.tensor_parallel
    capacity = session.capacity(devices)
    if engine.concurrency <= capacity:
        return
    raise ConfigError(
        f"{engine.concurrency} engine(s) of {devices} GPUs or CPUs do not fit: "
        f"the cluster's nodes have room for {capacity}",
        "llm.engine.concurrency, llm.engine.tensor_parallel",
        f"set concurrency to at most {capacity}"
        if capacity
        else "no node has that many devices: lower tensor_parallel; more engines use more nodes",
    )


def generate(ctx: Context, engine: EngineConfig) -> dict[str, Any]:
    """Write completions.parquet: one row per prompt, sorted by id.

    Answers of an interrupted run are kept. Answers that the same LLM (identified by its weights)
    gave to the same prompt in any run of this store come from the cache.
    """
    model = llm_path(ctx.input("llm"))
    stage, key = ctx.inputs["llm"]
    weights = file_hashes(Path(model)) if Path(model).is_dir() else model
    facts = _generate(
        ctx,
        model,
        lambda: make_engine(model, engine),
        [weights, engine.name, engine.dtype, SCORING],
        engine.patience_seconds,
    )
    return {**facts, "llm": f"{stage}-{key[:12]}"}


def generate_by_endpoint(
    ctx: Context, endpoint: EndpointConfig, patience_seconds: float
) -> dict[str, Any]:
    """Write completions.parquet like `generate`, by an endpoint; the facts hold the cost.

    Raises:
        DryRun: what the requests would cost, if `endpoint.dry_run` is set.
    """
    llm = [endpoint.url, endpoint.model, endpoint.max_tokens]
    if endpoint.dry_run:
        number, characters = session.in_worker(
            answer_cache.count_uncached,
            str(ctx.input("prompts") / "prompts"),
            answer_cache.cache_folder(ctx, llm),
        )
        raise DryRun(
            f"{ctx.name}: {estimate(endpoint, number, characters)}",
            endpoint.url,
            "run without dry_run to send the requests; finished stages are kept",
        )
    facts = _generate(ctx, endpoint.model, lambda: EndpointEngine(endpoint), llm, patience_seconds)
    dollars = (
        facts["tokens_in"] * endpoint.dollars_in + facts["tokens_out"] * endpoint.dollars_out
    ) / 1e6
    return {**facts, "dollars": dollars}


def estimate(endpoint: EndpointConfig, number: int, characters: int) -> str:
    """The highest possible cost of some prompts as a sentence.

    Four characters count as one token, and every answer as long as `max_tokens` allows.
    """
    tokens_in, tokens_out = characters / 4, number * endpoint.max_tokens
    dollars = (tokens_in * endpoint.dollars_in + tokens_out * endpoint.dollars_out) / 1e6
    minutes = number / endpoint.requests_per_minute
    return (
        f"{number:,} requests to {endpoint.model}, about {tokens_in:,.0f} prompt tokens and at "
        f"most {tokens_out:,} answer tokens: at most {dollars:,.2f} dollars, "
        f"at least {minutes:,.0f} min"
    )


def answers(ctx: Context, prompts_input: str, completions_input: str) -> pd.DataFrame:
    """Prompts joined with their completions, one row per prompt; all columns but the text."""
    folder = str(ctx.input(prompts_input) / "prompts")
    files = ray_data.finished_files(folder).files
    columns = pq.read_schema(files[0]).names if files else list(PROMPTS.columns)
    columns = [column for column in columns if column != "prompt"]
    prompts = ray_data.read_finished(folder, columns)
    answered = pd.read_parquet(ctx.input(completions_input) / "completions.parquet")
    return prompts.merge(answered, on="prompt_id", validate="one_to_one")


def _generate(
    ctx: Context,
    model: str,
    start_engine: Callable[[], Engine],
    llm: list[Any],
    patience_seconds: float,
) -> dict[str, Any]:
    """Send the prompts without an answer to the engine, and merge all answers.

    Args:
        llm: see `answer_cache.cache_folder`.
    """
    folders = Folders(
        prompts=str(ctx.input("prompts") / "prompts"),
        cache=answer_cache.cache_folder(ctx, llm),
        partial=f"{ctx.scratch}/completions",
        questions=f"{ctx.scratch}/questions",
    )
    started = time.time()
    if ray_data.finished_files(folders.prompts).rows:
        _answer_pending(ctx, folders, start_engine, patience_seconds)
        facts = session.in_worker(_merge, ctx, folders, started, model)
    else:  # pointwise test waves often have no prompts: they are not worth the start of a worker
        facts = _merge(ctx, folders, started, model)
    return {**facts, "prompts": ctx.inputs["prompts"][0]}


def _answer_pending(
    ctx: Context, folders: Folders, start_engine: Callable[[], Engine], patience_seconds: float
) -> None:
    """Write the engine's answers to `folders.partial`."""
    ctx.store.remove(folders.questions)
    pending = session.in_worker(answer_cache.write_pending, folders, ctx.name)
    if pending.cached:
        session.post(f"    {pending.cached:,} of {pending.prompts:,} answers come from the cache")
    if pending.answered:
        session.post(
            f"    {pending.answered:,} of {pending.prompts:,} prompts were answered before"
        )
    if not pending.questions:
        return
    questions = ray_data.read(
        folders.questions, len(ray_data.finished_files(folders.questions).files)
    )
    ray_data.set_stall_timeout(patience_seconds)
    answered = start_engine().apply(questions)
    earlier = ray_data.finished_files(folders.partial).rows
    with ray_data.watch(folders.partial, pending.questions, session.post, earlier=earlier):
        answered.write_parquet(folders.partial)


def _merge(ctx: Context, folders: Folders, started: float, model: str) -> dict[str, Any]:
    """Write completions.parquet, add new answers to the cache, and return the stage's facts.

    Raises:
        ArtifactError: prompts without an answer.
    """
    prompts = answer_cache.read_prompts(folders.prompts, ["prompt_id", "template", "options"])
    rows = ray_data.read_finished(folders.partial)
    if not len(prompts):
        rows = pd.DataFrame(columns=list(COMPLETIONS.columns))
    rows = rows.drop_duplicates("prompt_id")
    cached = rows[rows["prompt_id"].isin(prompts["prompt_id"])]
    answered = answer_cache.answers_of_prompts(
        prompts[~prompts["prompt_id"].isin(cached["prompt_id"])],
        answer_cache.option_positions(prompts),
        rows,
    )
    if missing := len(prompts) - len(cached) - len(answered):
        raise ArtifactError(
            f"the engine gave no answer to {missing} of {len(prompts)} prompts",
            ctx.name,
            "run the same command again",
        )
    parts = [part for part in (cached, answered) if len(part)] or [cached]
    merged = pd.concat(parts, ignore_index=True).sort_values("prompt_id", kind="stable")
    # the engine returns doubles and the cache floats; an empty column would be one of numbers
    logprobs = [np.asarray(values, np.float32) for values in merged["logprobs"]]
    merged["logprobs"] = pd.Series(logprobs, merged.index, object)
    pq.write_table(COMPLETIONS.from_frame(merged, ctx.name), ctx.out / "completions.parquet")
    answer_cache.add_to_cache(prompts, answered, folders.cache, ctx.key[:12])
    return {
        "rows": len(merged),
        "repeated": int((answered["finished_at"] == REUSED).sum()),
        "pieces": len(ray_data.finished_files(folders.partial).files),
        "model": model,
        **_request_facts(merged, started),
        "by template": prompts["template"].value_counts().to_dict(),
    }


def _request_facts(merged: pd.DataFrame, started: float) -> dict[str, Any]:
    """Counts, tokens and seconds of the requests; speed counts only what this run generated."""
    requested = merged[merged["finished_at"] > REUSED]
    generated = merged[merged["finished_at"] >= started]  # not by an interrupted run
    times = generated["finished_at"]
    return {
        "reused": len(merged) - len(requested),
        "tokens_in": int(requested["tokens_in"].sum()),
        "tokens_out": int(requested["tokens_out"].sum()),
        "engine_start_seconds": float(times.min() - started) if len(generated) else 0.0,
        "generation_seconds": float(times.max() - times.min()) if len(generated) else 0.0,
        "generated": len(generated),
        "generated_tokens": int(generated["tokens_out"].sum()),
    }
