"""Pairs of a good and a bad answer for the reward model (R20, RO21), and how often it prefers the good one, by kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from raypipe.cluster import session
from raypipe.data.snapshot import VALIDATION
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories, tables, unlike
from raypipe.papers.reclm.profiles import read_answers
from raypipe.papers.reclm.rendering import Book
from raypipe.papers.reclm.teacher import read_profiles
from raypipe.pipeline.stage import Context
from raypipe.prompts.profiles import IDENTITY, INTERESTS, OPENING
from raypipe.seeding import generator

#: kinds of bad answers and how often each is drawn
KINDS = {
    "neighbour": 0.3,
    "several": 0.3,
    "identity_only": 0.1,
    "repeated": 0.1,
    "empty_label": 0.1,
    "full_stop": 0.1,
}
#: users of the teacher among whom one with another history is looked for, where similar users have none
STRANGERS = 8
PAIRS, PROMPTS = "pairs.parquet", "prompts.parquet"


def bad(kind: str, own: str, other: str) -> str:
    """A bad answer to who has the profile `own` and a similar user the profile `other`."""
    identity = own.partition(f"; {INTERESTS}")[0]
    return {
        "neighbour": other,
        "several": f"{own} {other}",
        "identity_only": f"{identity}.",
        "repeated": f"{identity}; {identity}.",
        "empty_label": f"{IDENTITY}; {INTERESTS}.",
        "full_stop": ".",
    }[kind]


def preferences(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """pairs.parquet: prompt, chosen, rejected, kind and part (train, validation) of users whom the teacher knows; and
    prompts.parquet, the prompts of other users and what their answers begin with, for reinforcement learning.

    The good answer is the teacher's. The neighbour of the bad ones is the most similar user with another history or, where all
    similar users have the same, one whom the teacher knows. A pair whose answers say the same is left out.
    """
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    known = histories(source, VALIDATION)
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    taught = read_profiles(ctx.input("users"))
    written, _ = read_answers(ctx, config, "user")
    rng = generator(config.seed, "preferences")

    def prompt(u: int) -> str:
        return book.user(known.row(u), [known.row(v) for v in similar[u]], "").text

    names = np.array(sorted(taught))
    numbers = dict(zip(names, source.users.get_indexer(list(names)), strict=True))
    pupils = np.array(list(numbers.values()))  # the users whom the teacher knows
    wanted = config.llm.reward.pairs
    held = set(
        rng.permutation(names)[: max(1, len(names) // 4)]
    )  # users, so that no prompt is in both parts
    rows = []
    for name in np.resize(rng.permutation(names), wanted):
        u = numbers[name]
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        others = np.concatenate([similar[u], rng.choice(pupils, STRANGERS)])
        nearest = unlike(u, others, known, config.profiles.history)
        found = "" if nearest is None else source.users[nearest]
        other = taught.get(found) or written.get(f"user/{found}")
        if other is None or (other == taught[name] and kind == "neighbour"):
            continue
        part = "validation" if name in held else "train"
        rows.append(
            (prompt(u), f" {taught[name]}", f" {bad(kind, taught[name], other)}", kind, part)
        )
    pd.DataFrame(rows, columns=["prompt", "chosen", "rejected", "kind", "part"]).to_parquet(
        ctx.out / PAIRS, index=False
    )
    free = np.setdiff1d(np.flatnonzero(np.diff(known.start)), pupils)
    free = free if len(free) else np.sort(pupils)
    drawn = np.resize(rng.permutation(free), config.llm.policy.episodes)
    pd.DataFrame({"prompt": [prompt(u) + OPENING for u in drawn]}).to_parquet(
        ctx.out / PROMPTS, index=False
    )
    return {"rows": len(rows), "pairs asked for": wanted, "prompts": len(drawn)}


def judged(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """accuracy.json: the share of validation pairs of each kind in which the reward model prefers the good answer."""
    return dict(session.in_worker(_judged, ctx, gpu=True))


def _judged(ctx: Context) -> dict[str, Any]:
    import torch

    from raypipe.tuning.policy import Judge

    pairs = pd.read_parquet(ctx.input("preferences") / PAIRS)
    pairs = pairs[pairs["part"] == "validation"]
    judge = Judge(
        str(ctx.input("reward") / "model"),
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    good, poor = (
        np.array(judge.score(pairs["prompt"].tolist(), pairs[side].tolist()))
        for side in ("chosen", "rejected")
    )
    right = pd.Series(good > poor).groupby(pairs["kind"].to_numpy()).agg(["mean", "size"])
    lines = [
        {"kind": kind, "accuracy": float(row["mean"]), "pairs": int(row["size"])}
        for kind, row in right.iterrows()
    ]
    (ctx.out / "accuracy.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(pairs), "accuracy": float((good > poor).mean()), "lines": lines}
