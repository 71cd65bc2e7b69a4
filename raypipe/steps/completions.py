"""Stages that ask an LLM: prompts -> completions, by Ray Data, whatever the paper."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from raypipe.cluster import ray_data, session
from raypipe.errors import ArtifactError, ConfigError, DryRun
from raypipe.llm.config import EndpointConfig, EngineConfig
from raypipe.llm.endpoint import Engine as Endpoint
from raypipe.llm.engine import make
from raypipe.pipeline.stage import Context, Stage
from raypipe.schema import COMPLETIONS, MOST_OPTIONS, PROMPTS
from raypipe.steps.artifacts import contents, model_of

#: `finished_at` of an answer that was known before
RECALLED = 0.0


def completions(name: str, prompts: str, llm: str, engine: EngineConfig) -> Stage:
    """The stage completions/`name`: the answers of the LLM of the stage `llm` to prompts/`prompts`."""
    inputs = {"prompts": f"prompts/{prompts}", "llm": llm}
    crew = f"Ray Data: {engine.concurrency} x {engine.name}"
    settings = [engine.name, engine.dtype]
    return Stage(
        f"completions/{name}", partial(generate, engine=engine), inputs, settings, "driver", crew
    )


def completions_at(name: str, endpoint: EndpointConfig, engine: EngineConfig) -> Stage:
    """The stage completions/`name`: the answers of an endpoint to prompts/`name`; of `engine`, how long it is waited for."""
    body = partial(generate_at, endpoint=endpoint, patience_seconds=engine.patience_seconds)
    settings = [endpoint.url, endpoint.model, endpoint.max_tokens]
    crew = f"Ray Data: {endpoint.model}, {endpoint.requests_per_minute:g} requests a minute"
    return Stage(
        f"completions/{name}", body, {"prompts": f"prompts/{name}"}, settings, "driver", crew
    )


def check_room(engine: EngineConfig) -> None:
    """Refuse more engine replicas than the connected cluster has GPUs or CPUs; called before the first stage.

    Raises:
        ConfigError: how many fit.
    """
    devices = engine.tensor_parallel
    if engine.concurrency > (room := session.places(devices)):
        raise ConfigError(
            f"{engine.concurrency} engine(s) of {devices} GPUs or CPUs do not fit: the cluster's nodes have room for {room}",
            "llm.engine.concurrency, llm.engine.tensor_parallel",
            f"ask for at most {room}"
            if room
            else "no node has so many: lower the second; more engines use more nodes",
        )


def generate(ctx: Context, engine: EngineConfig) -> dict[str, Any]:
    """completions.parquet: one row a prompt, sorted by id.

    Answers that are there from a cut-off run, or that the same LLM, known by its weights, gave to the same prompt in any run of
    this store, are not asked for again.
    """
    model = model_of(ctx.input("llm"))
    stage, key = ctx.inputs["llm"]
    weights = contents(Path(model)) if Path(model).is_dir() else model
    facts = _generate(
        ctx,
        model,
        lambda: make(model, engine),
        [weights, engine.name, engine.dtype],
        engine.patience_seconds,
    )
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
            f"{ctx.name}: {estimate(endpoint, number, characters)}",
            endpoint.url,
            "leave dry_run out to ask; what is done stays",
        )
    facts = _generate(ctx, endpoint.model, lambda: Endpoint(endpoint), about, patience_seconds)
    dollars = (
        facts["tokens_in"] * endpoint.dollars_in + facts["tokens_out"] * endpoint.dollars_out
    ) / 1e6
    return {**facts, "dollars": dollars}


def _generate(
    ctx: Context, model: str, engine: Callable[[], Any], about: list[Any], patience_seconds: float
) -> dict[str, Any]:
    source, partial = str(ctx.input("prompts") / "prompts"), f"{ctx.scratch}/completions"
    known = _memory(ctx, about)
    began = time.time()
    if not ray_data.finished(source)[
        0
    ]:  # often so of pointwise test prompts: no worker is worth its start
        return {
            **_merge_completions(ctx, source, partial, known, began, model),
            "prompts": ctx.inputs["prompts"][0],
        }
    asked = f"{ctx.scratch}/asked"
    ctx.store.remove(asked)
    total, recalled, before, left = session.in_worker(
        _outstanding, source, known, partial, asked, ctx.name
    )
    if recalled:
        session.post(f"    {recalled:,} of {total:,} answers are known from another run")
    if before:
        session.post(f"    {before:,} of {total:,} prompts were answered before")
    if left:
        rows = ray_data.read(asked, len(ray_data.finished(asked)[1]))
        ray_data.give_up_after(patience_seconds)
        answers = engine().apply(rows)
        with ray_data.watch(partial, left, session.post, older=ray_data.finished(partial)[0]):
            answers.write_parquet(partial)
    facts = session.in_worker(_merge_completions, ctx, source, partial, known, began, model)
    return {**facts, "prompts": ctx.inputs["prompts"][0]}


def _memory(ctx: Context, about: list[Any]) -> str:
    """Where the answers of an LLM are kept, whatever the run."""
    return f"{ctx.store.uri}/answers/{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}"


def _unknown(source: str, known: str) -> tuple[int, int]:
    """How many different prompts have no answer yet, and their characters in all."""
    asked = _hashed(source, ["prompt"]).drop_duplicates("prompt_hash")
    asked = asked[
        ~asked["prompt_hash"].isin(ray_data.read_finished(known, ["prompt_id"])["prompt_id"])
    ]
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
    """Of each prompt, with its mode, pattern and options: what an answer depends on."""
    made = zip(asked["mode"], asked["prompt"], asked["pattern"], asked["options"], strict=True)
    return [
        hashlib.sha256(json.dumps([mode, text, pattern, list(options)]).encode()).hexdigest()
        for mode, text, pattern, options in made
    ]


def questions(asked: pd.DataFrame) -> list[str]:
    """The question that each prompt belongs to: what scores options after the same text is asked once, for all options, as far as
    MOST_OPTIONS goes; a further question takes what is beyond.

    A log-probability of an option does not depend on what the others are (llm/tokens.py); where an answer is written, it does.
    """
    made: list[str] = []
    last: dict[
        str, tuple[int, set[str]]
    ] = {}  # text -> number of its last question, and that question's options
    for mode, text, own, options in zip(
        asked["mode"], asked["prompt"], asked["prompt_hash"], asked["options"], strict=True
    ):
        if mode != "score":
            made.append(own)
            continue
        number, held = last.get(text, (0, set()))
        if len(held.union(options)) > MOST_OPTIONS:
            number, held = number + 1, set()
        last[text] = number, held.union(options)
        made.append(hashlib.sha256(json.dumps([mode, text, number]).encode()).hexdigest())
    return made


def _hashed(source: str, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of all prompts, with `prompt_hash` and `question`; in the order of the files, in which what begins alike is
    near.
    """
    asked = ray_data.read_finished(
        source, [*dict.fromkeys([*columns, "prompt_id", "mode", "prompt", "pattern", "options"])]
    )
    asked = asked.assign(prompt_hash=prompt_hashes(asked))
    return asked.assign(question=pd.Series(questions(asked), asked.index, object))[
        [*columns, "prompt_hash", "question"]
    ]


def _options(asked: pd.DataFrame) -> dict[str, dict[str, int]]:
    """question -> place of each option of its prompts, in the order in which they come; the same in every run of a stage."""
    places: dict[str, dict[str, int]] = {}
    for question, options in zip(asked["question"], asked["options"], strict=True):
        own = places.setdefault(question, {})
        for option in options:
            own.setdefault(option, len(own))
    return places


def _outstanding(
    source: str, known: str, partial: str, to: str, name: str
) -> tuple[int, int, int, int]:
    """Write the questions that are to be asked to the folder `to`, without those whose prompts all have an answer.

    Answers that are known are written beside those that a cut-off run left.

    Returns:
        how many prompts there are, how many answers are known, how many a cut-off run left, and how many questions are left.
    """
    asked = _hashed(source, list(PROMPTS.columns))
    done = ray_data.read_finished(partial, ["prompt_id"])["prompt_id"]
    memory = (
        ray_data.read_finished(known)
        .rename(columns={"prompt_id": "prompt_hash"})
        .drop_duplicates("prompt_hash")
    )
    known_before = asked["prompt_hash"].isin(memory["prompt_hash"] if len(memory) else [])
    if known_before.any():
        found = (
            asked[["prompt_id", "prompt_hash"]]
            .merge(memory, on="prompt_hash")
            .drop(columns="prompt_hash")
        )
        ray_data.write(
            COMPLETIONS.of(found.assign(finished_at=RECALLED), partial), partial, "known"
        )
    answered = asked["question"].isin(done) & ~known_before
    left = asked[~known_before & ~answered].drop_duplicates("question")
    places = _options(asked)
    left = left.assign(
        prompt_id=left["question"],
        options=[list(places[q]) for q in left["question"]],
        payload=[[]] * len(left),
    )
    ray_data.write_pieces(left[list(PROMPTS.columns)], lambda rows: PROMPTS.of(rows, name), to)
    return len(asked), int(known_before.sum()), int(answered.sum()), len(left)


def _remember(asked: pd.DataFrame, got: pd.DataFrame, known: str, name: str) -> None:
    """Keep answers: COMPLETIONS whose ids are the hashes of their prompts, which `asked` tells.

    A request that failed is no answer, and is put again by the next run.
    """
    answered = (got["answer"] != "") | (got["logprobs"].map(len) > 0)
    new = (
        asked[["prompt_id", "prompt_hash"]]
        .merge(got[answered], on="prompt_id")
        .drop(columns="prompt_id")
    )
    new = new.rename(columns={"prompt_hash": "prompt_id"}).drop_duplicates("prompt_id")
    if len(new):
        ray_data.write(COMPLETIONS.of(new, known), known, name)


def _merge_completions(
    ctx: Context, source: str, partial: str, known: str, began: float, model: str
) -> dict[str, Any]:
    asked = _hashed(source, ["prompt_id", "template", "options"])
    got = ray_data.read_finished(partial)
    if not len(asked):
        got = pd.DataFrame(columns=list(COMPLETIONS.columns))
    got = got.drop_duplicates("prompt_id")
    recalled = got[got["prompt_id"].isin(asked["prompt_id"])]
    told = _told(asked[~asked["prompt_id"].isin(recalled["prompt_id"])], _options(asked), got)
    if lost := len(asked) - len(recalled) - len(told):
        raise ArtifactError(
            f"the engine gave no answer to {lost} of {len(asked)} prompts",
            ctx.name,
            "run the same command again",
        )
    repeated = told[told["finished_at"] == RECALLED]
    got = pd.concat(
        [part for part in (recalled, told) if len(part)] or [recalled], ignore_index=True
    )
    got = got.sort_values("prompt_id", kind="stable")
    # engines give doubles, and what is remembered are floats; of no rows the column would become one of numbers
    got["logprobs"] = pd.Series(
        [np.asarray(values, np.float32) for values in got["logprobs"]], got.index, object
    )
    pq.write_table(COMPLETIONS.of(got, ctx.name), ctx.out / "completions.parquet")
    _remember(asked, told, known, ctx.key[:12])
    now = got[got["finished_at"] >= began]  # and not what a cut-off run left
    times = now["finished_at"]
    asked_for = got[got["finished_at"] > RECALLED]
    return {
        "rows": len(got),
        "known": len(got) - len(asked_for),
        "repeated": len(repeated),
        "pieces": len(ray_data.finished(partial)[1]),
        "model": model,
        "tokens_in": int(asked_for["tokens_in"].sum()),
        "tokens_out": int(asked_for["tokens_out"].sum()),
        "engine_start_seconds": float(times.min() - began) if len(now) else 0.0,
        "generation_seconds": float(times.max() - times.min()) if len(now) else 0.0,
        "generated": len(now),
        "generated_tokens": int(now["tokens_out"].sum()),
        "by template": asked["template"].value_counts().to_dict(),
    }


def _told(
    asked: pd.DataFrame, places: dict[str, dict[str, int]], got: pd.DataFrame
) -> pd.DataFrame:
    """COMPLETIONS rows of the prompts whose questions were answered; the first of each question bears when, and at what cost."""
    rows = asked[["prompt_id", "question", "options"]].merge(
        got.rename(columns={"prompt_id": "question"}), on="question"
    )
    rows["logprobs"] = pd.Series(
        [
            [values[places[question][option]] for option in options] if len(values) else []
            for question, options, values in zip(
                rows["question"], rows["options"], rows["logprobs"], strict=True
            )
        ],
        rows.index,
        object,
    )
    first = ~rows["question"].duplicated()
    return rows.assign(finished_at=rows["finished_at"].where(first, RECALLED))[
        list(COMPLETIONS.columns)
    ]


def answers(ctx: Context, prompts_input: str, completions_input: str) -> pd.DataFrame:
    """Prompts with their completions: all columns of both but the prompt's text, one row a prompt."""
    folder = str(ctx.input(prompts_input) / "prompts")
    _, files = ray_data.finished(folder)
    names = pq.read_schema(files[0]).names if files else list(PROMPTS.columns)
    prompts = ray_data.read_finished(folder, [name for name in names if name != "prompt"])
    completions = pd.read_parquet(ctx.input(completions_input) / "completions.parquet")
    return prompts.merge(completions, on="prompt_id", validate="one_to_one")
