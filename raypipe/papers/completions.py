"""Stages that ask an LLM: prompts -> completions, by Ray Data, whatever the paper."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from raypipe.cluster import session
from raypipe.cluster import tables as flow
from raypipe.errors import ArtifactError, ConfigError, DryRun
from raypipe.llm.endpoint import Engine as Endpoint
from raypipe.llm.engine import make
from raypipe.papers.data import contents
from raypipe.papers.tuning import model_of
from raypipe.pipeline.stage import Context
from raypipe.schema import COMPLETIONS, PROMPTS
from raypipe.sections import EndpointConfig, EngineConfig

#: `finished_at` of an answer that was known before
RECALLED = 0.0


def check_room(engine: EngineConfig) -> None:
    """Refuse more engine replicas than the connected cluster has GPUs or CPUs; called before the first stage.

    Raises:
        ConfigError: how many fit.
    """
    room = session.places()
    wanted = engine.concurrency * engine.tensor_parallel
    if wanted > room:
        raise ConfigError(
            f"{engine.concurrency} engines of {engine.tensor_parallel} device(s) do not fit on {room} GPUs or CPUs",
            "llm.engine.concurrency, llm.engine.tensor_parallel",
            f"ask for at most {room} in all",
        )


def generate(ctx: Context, engine: EngineConfig) -> dict[str, Any]:
    """completions.parquet: one row a prompt, sorted by id.

    Answers that are there from a cut-off run, or that the same LLM, known by its weights, gave to the same prompt in any run of
    this store, are not asked for again.
    """
    model = model_of(ctx.input("llm"))
    stage, key = ctx.inputs["llm"]
    weights = contents(Path(model)) if Path(model).is_dir() else model
    facts = _generate(ctx, model, lambda: make(model, engine), [weights, engine.name, engine.dtype], engine.patience_seconds)
    return {**facts, "llm": f"{stage}-{key[:12]}"}


def generate_at(ctx: Context, endpoint: EndpointConfig, patience_seconds: float) -> dict[str, Any]:
    """completions.parquet as of `generate`, from an endpoint; its costs in dollars among the facts.

    Raises:
        DryRun: what the requests would cost, where the endpoint's settings ask for no more.
    """
    about = [endpoint.url, endpoint.model, endpoint.max_tokens]
    if endpoint.dry_run:
        source = str(ctx.input("prompts") / "prompts")
        number, characters = session.in_worker(_unknown, source, _memory(ctx, about))
        raise DryRun(
            f"{ctx.name}: {estimate(endpoint, number, characters)}", endpoint.url, "leave dry_run out to ask; what is done stays"
        )
    facts = _generate(ctx, endpoint.model, lambda: Endpoint(endpoint), about, patience_seconds)
    dollars = (facts["tokens_in"] * endpoint.dollars_in + facts["tokens_out"] * endpoint.dollars_out) / 1e6
    return {**facts, "dollars": dollars}


def _generate(ctx: Context, model: str, engine: Callable[[], Any], about: list[Any], patience_seconds: float) -> dict[str, Any]:
    source, partial = str(ctx.input("prompts") / "prompts"), f"{ctx.scratch}/completions"
    total, files = flow.finished(source)
    known = _memory(ctx, about)
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
    facts = session.in_worker(_merge_completions, ctx, source, partial, known, began, model)
    return {**facts, "prompts": ctx.inputs["prompts"][0]}


def _memory(ctx: Context, about: list[Any]) -> str:
    """Where the answers of an LLM are kept, whatever the run."""
    return f"{ctx.store.uri}/answers/{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}"


def _unknown(source: str, known: str) -> tuple[int, int]:
    """How many different prompts have no answer yet, and their characters in all."""
    asked = flow.read_finished(source, ["mode", "prompt", "options"])
    asked = asked.assign(hash=prompt_hashes(asked)).drop_duplicates("hash")
    asked = asked[~asked["hash"].isin(flow.read_finished(known, ["prompt_id"])["prompt_id"])]
    return len(asked), int(asked["prompt"].str.len().sum())


def estimate(endpoint: EndpointConfig, number: int, characters: int) -> str:
    """In words what so many prompts would cost at most: four characters are taken for a token, answers for as long as allowed."""
    read, written = characters / 4, number * endpoint.max_tokens
    dollars = (read * endpoint.dollars_in + written * endpoint.dollars_out) / 1e6
    minutes = number / endpoint.requests_per_minute
    return (
        f"{number:,} requests to {endpoint.model}, about {read:,.0f} tokens to read and at most {written:,} to write: "
        f"at most {dollars:,.2f} dollars, at least {minutes:,.0f} min"
    )


def prompt_hashes(asked: pd.DataFrame) -> list[str]:
    """Of each prompt, with its mode and options: what an answer depends on."""
    made = zip(asked["mode"], asked["prompt"], asked["options"], strict=True)
    return [hashlib.sha256(json.dumps([mode, text, list(options)]).encode()).hexdigest() for mode, text, options in made]


def _recall(source: str, known: str, partial: str) -> int:
    """Write the answers that are known beside those that a cut-off run left; returns how many."""
    memory = flow.read_finished(known).rename(columns={"prompt_id": "prompt_hash"})
    if not len(memory):
        return 0
    asked = flow.read_finished(source, ["prompt_id", "mode", "prompt", "options"])
    asked = asked[["prompt_id"]].assign(prompt_hash=prompt_hashes(asked))
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
    new = asked[["prompt_id"]].assign(prompt_hash=prompt_hashes(asked)).merge(new, on="prompt_id").drop(columns="prompt_id")
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
