"""Profiles of all users and items, as prompts, as answers and as vectors.

A profile is made `as of` what may be known: the training part (`train`), for the fits that validation chooses by, and the whole
first snapshot (`first`), for those that are tested. Who did nothing between the two has one profile for both.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.snapshots import SnapshotTables
from raypipe.cluster import session
from raypipe.cluster.ray_data import read_finished
from raypipe.data.snapshot import TEST, TRAIN, VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import (
    ASKED,
    Known,
    histories,
    similar_items,
    tables,
    takers,
    users_of,
)
from raypipe.papers.reclm.rendering import Book
from raypipe.papers.reclm.teacher import read_profiles, write_rows
from raypipe.papers.reclm.vectors import encode, read_vectors, unit, write_texts
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected, Rendered
from raypipe.prompts.templates import item_profile, user_profile
from raypipe.seeding import generator
from raypipe.steps.completions import answers

TEMPLATES = {"user": user_profile, "item": item_profile}


def read_answers(
    ctx: Context, config: ReclmConfig, side: str, of: str = ""
) -> tuple[dict[str, str], Counter[str]]:
    """prompt_id -> profile, from the inputs `prompts` and `completions`, and how many answers were rejected, by kind.

    Args:
        of: a suffix of both inputs' names.
    """
    own = config.profiles
    phrases = own.user_phrases if side == "user" else own.item_phrases
    made: dict[str, str] = {}
    rejected: Counter[str] = Counter()
    for row in answers(ctx, f"prompts{of}", f"completions{of}").itertuples():
        got = TEMPLATES[side].parse(Completion(row.answer, ()), phrases, own.phrase)
        if isinstance(got, Rejected):
            rejected[got.kind] += 1
        else:
            made[row.prompt_id] = got.text
    return made, rejected


def user_prompts(
    ctx: Context, config: ReclmConfig, only: int = 0, alone: bool = False
) -> dict[str, Any]:
    """prompts/ for the profiles of all users (R17).

    Args:
        only: so many users instead, drawn by the seed, with the nearest user of each, as of the training part.
        alone: without similar users, as in distillation.
    """
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    known = {at: histories(source, ASKED[at]) for at in ("train", "first")}
    rows: list[tuple[str, Rendered]] = []
    users = np.arange(len(source.users))
    if only:
        users = generator(config.seed, "sample").permutation(
            np.flatnonzero(np.diff(known["train"].start))
        )[:only]
        users = np.union1d(np.union1d(users, similar[users][:, 0]), _case(config, source))
    for u in users.tolist():
        before = known["train"].row(u)
        # nobody is known to be like a user without a row in the training part
        others = [known["train"].row(v) for v in similar[u]] if len(before) and not alone else []
        name = source.users[u]
        if len(before):
            rows.append((f"train/{name}", book.user(before, others, name)))
        after = known["first"].row(u)
        if not only and len(after) > len(before):
            rows.append((f"first/{name}", book.user(after, others, name)))
    write_rows(ctx, rows, "user_profile")
    return {"rows": len(rows)}


def _case(config: ReclmConfig, source: SnapshotTables) -> np.ndarray:
    """The user of the case study, or nobody."""
    if config.case is None:
        return np.empty(0, np.int64)
    found = source.users.get_indexer([config.case])
    if found[0] < 0:
        raise DataError(
            f"there is no user {config.case!r}", "case", "name one of the data, or none"
        )
    return found.astype(np.int64)


def warm_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ for the profiles of items that somebody took, from the profiles of those users (R23, phase 1)."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    written, _ = read_answers(ctx, config, "user")
    rows: list[tuple[str, Rendered]] = []
    done: set[int] = set()
    for at in ("train", "first"):
        taken = takers(source, ASKED[at])
        for i in np.flatnonzero(np.diff(taken.start)):
            if i not in done:
                done.add(i)
                name = source.items[i]
                rows.append(
                    (
                        f"{at}/{name}",
                        book.item(
                            int(i), users_of(i, taken, source, written, at, config), (), name
                        ),
                    )
                )
    write_rows(ctx, rows, "item_profile")
    return {"rows": len(rows)}


def cold_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ for the profiles of items that nobody took yet, from similar items and their profiles (R23, phase 2)."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    warm, _ = read_answers(ctx, config, "item")
    vectors = read_vectors(ctx.input("texts"))["items"]
    rows: list[tuple[str, Rendered]] = []
    for at in ("train", "first"):
        profile = _as_of(warm, source.items, at)
        have = np.sort(np.array(list(profile), np.int64))
        cold = cold_items(source, at, have)
        if not len(cold) or len(have) < 2:
            continue
        for i, others in zip(
            cold, similar_items(vectors, cold, have, config.profiles.neighbours), strict=True
        ):
            near = [(int(j), profile[int(j)]) for j in others]
            rows.append((f"{at}/{source.items[i]}", book.item(int(i), (), near, source.items[i])))
    write_rows(ctx, rows, "item_profile")
    return {"rows": len(rows)}


def cold_items(source: SnapshotTables, at: str, have: np.ndarray) -> np.ndarray:
    """Items without a profile that the questions of a part may ask about."""
    parts = [TRAIN, VALIDATION] if at == "train" else [TRAIN, VALIDATION, TEST]
    return np.setdiff1d(source.rows.loc[source.rows["part"].isin(parts), "i"].unique(), have)


def _as_of(written: dict[str, str], index: pd.Index, at: str) -> dict[int, str]:
    """Number of a user or item -> the profile as of `at`: what was written then, else before."""
    made: dict[int, str] = {}
    for when in ("train", "first")[: 1 if at == "train" else 2]:
        names = [k.partition("/")[2] for k in written if k.startswith(f"{when}/")]
        made |= dict(
            zip(
                index.get_indexer(names).tolist(),
                (written[f"{when}/{n}"] for n in names),
                strict=True,
            )
        )
    return made


def profile_vectors(ctx: Context, config: ReclmConfig, side: str, known: Known) -> dict[str, Any]:
    """The vectors of all profiles of users or items as of `known`, and profiles.parquet; zero where there is no profile."""
    rejected = session.in_worker(_profile_texts, ctx, config, side, known)
    return {**encode(ctx, config.encoder), **rejected}


def _profile_texts(ctx: Context, config: ReclmConfig, side: str, known: Known) -> dict[str, Any]:
    source = tables(ctx)
    index = source.users if side == "users" else source.items
    rejected: Counter[str] = Counter()
    if "taught" in ctx.inputs:
        taught = read_profiles(ctx.input("taught"))
        own = dict(zip(index.get_indexer(list(taught)).tolist(), taught.values(), strict=True))
    else:
        own = {}
        for of in ("",) if side == "users" else ("-warm", "-cold"):
            written, kinds = read_answers(ctx, config, side.removesuffix("s"), of)
            rejected += kinds
            own |= {
                n: p
                for n, p in _as_of(written, index, known).items()
                if n not in own or of != "-cold"
            }
    write_texts(ctx, "profiles", [own.get(n, "") for n in range(len(index))])
    return {"with a profile": len(own), "rejected": dict(rejected)}


def sample_vectors(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The vectors of the profiles that the LLM wrote for a sample of users, and users.json, who they are."""
    session.in_worker(_sample_texts, ctx, config)
    return encode(ctx, config.encoder)


def _sample_texts(ctx: Context, config: ReclmConfig) -> None:
    written, _ = read_answers(ctx, config, "user")
    (ctx.out / "users.json").write_text(json.dumps([name.partition("/")[2] for name in written]))
    write_texts(ctx, "profiles", list(written.values()))


def smoothing(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """How alike a user's profile is to that of the nearest user, before and after reinforcement learning (RO27).

    The cosine of their vectors, beside that of random pairs, over the users of `user_prompts(only=...)` whose prompt is another
    than that of the nearest user. Both profiles of a pair are by the same LLM.
    """
    source = tables(ctx)
    nearest = np.load(ctx.input("neighbours") / "similar.npy")[:, 0]
    asked = read_finished(str(ctx.input("prompts") / "prompts"), ["prompt_id", "prompt"]).set_index(
        "prompt_id"
    )["prompt"]
    asked.index = source.users.get_indexer([name.partition("/")[2] for name in asked.index])
    numbers = source.users.get_indexer(json.loads((ctx.input("before") / "users.json").read_text()))
    after = unit(read_vectors(ctx.input("after"))["profiles"])
    before = np.zeros_like(after)
    before[numbers] = unit(read_vectors(ctx.input("before"))["profiles"])
    there = set(numbers.tolist())
    pairs = [u for u in numbers.tolist() if nearest[u] in there and asked[u] != asked[nearest[u]]]
    own = generator(config.seed, "smoothing").permutation(np.array(pairs, np.int64))
    lines: dict[str, dict[str, float]] = {"before": {}, "after": {}}
    for name, vectors in (("before", before), ("after", after)) if pairs else ():
        lines[name] = {
            "with the nearest user": float((vectors[own] * vectors[nearest[own]]).sum(1).mean()),
            "with a random user": float((vectors[own] * vectors[np.roll(own, 1)]).sum(1).mean()),
        }
    (ctx.out / "smoothing.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(own), **lines}
