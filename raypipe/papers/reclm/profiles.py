"""Profiles of all users and items: their prompts, and the vectors of the answers.

A profile knows either the training part (`train`) or the whole first snapshot (`first`). The first
kind is for the fits that validation chooses by, the second for the fits that are tested. A user
without an interaction between the two has one profile for both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.cluster import session
from raypipe.data.snapshot import TEST, TRAIN, VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm.config import ReclmConfig, Side
from raypipe.papers.reclm.histories import (
    AS_OF,
    EVALUATED_PART,
    AsOf,
    histories,
    load_tables,
    similar_items,
    users_by_item,
)
from raypipe.papers.reclm.prompt_tables import (
    Identity,
    PromptTable,
    profiles_as_of,
    read_profiles,
    read_prompts,
)
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.papers.reclm.teacher import read_teacher_profiles
from raypipe.papers.reclm.vectors import encode, read_vectors, unit, write_texts
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import generator

#: where the answers about users, and about items, come from: suffixes of the inputs' names
WAVES: dict[Side, tuple[str, ...]] = {"user": ("",), "item": ("-warm", "-cold")}


def user_prompts(
    ctx: Context, config: ReclmConfig, sample: int = 0, alone: bool = False
) -> dict[str, Any]:
    """prompts/ for the profiles of all users (R17).

    Args:
        sample: if not 0, prompts for a random sample of so many users and the nearest user of each,
            as of the training part.
        alone: leave similar users out, as in distillation.
    """
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    train = histories(tables, VALIDATION)
    first = histories(tables, TEST)
    users = np.arange(len(tables.users))
    if sample:
        users = _sample(config, tables, train, similar[:, 0], sample)
    table = PromptTable("user_profile")
    for user in users.tolist():
        before, after = train.row(user), first.row(user)
        others: list[np.ndarray] = []
        # without a row in the training part, a user's similar users are not known
        if len(before) and not alone:
            others = list(map(train.row, similar[user]))
        name = tables.users[user]
        if len(before):
            table.add(prompts.user(before, others), Identity(user_id=name, as_of="train"))
        if not sample and len(after) > len(before):
            table.add(prompts.user(after, others), Identity(user_id=name, as_of="first"))
    table.write(ctx)
    return {"rows": len(table.rows)}


def _sample(
    config: ReclmConfig, tables: SnapshotMatrices, train: Ragged, nearest: np.ndarray, size: int
) -> np.ndarray:
    """A sample of users, the nearest user of each, and the user of the case study."""
    with_history = np.flatnonzero(np.diff(train.start))
    drawn = generator(config.seed, "sample").permutation(with_history)[:size]
    users = np.union1d(drawn, nearest[drawn])
    if config.case is None:
        return users
    case = tables.users.get_indexer([config.case])
    if case[0] < 0:
        raise DataError(
            f"there is no user {config.case!r}", "case", "name a user of the data, or none"
        )
    return np.union1d(users, case)


def draw_user_profiles(
    item_id: str, users: np.ndarray, profiles: Mapping[int, str], config: ReclmConfig
) -> list[str]:
    """Profiles of some of an item's users, drawn by the seed, for the item's prompt.

    Args:
        users: row numbers of the item's users.
        profiles: row number of a user -> profile.
    """
    rng = generator(config.seed, "users of", item_id)
    drawn = []
    for user in users[rng.permutation(len(users))[: config.profiles.neighbours]].tolist():
        if user in profiles:
            drawn.append(profiles[user])
    return drawn


def warm_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ for the profiles of items with users, from those users' profiles (R23, phase 1)."""
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    written, _ = read_profiles(ctx, "user", config.profiles)
    table = PromptTable("item_profile")
    done: set[int] = set()
    for as_of in AS_OF:
        user_profiles = profiles_as_of(written, as_of, "user", tables.users)
        item_users = users_by_item(tables, EVALUATED_PART[as_of])
        for item in np.flatnonzero(np.diff(item_users.start)).tolist():
            if item in done:
                continue
            done.add(item)
            name = tables.items[item]
            drawn = draw_user_profiles(name, item_users.row(item), user_profiles, config)
            rendered = prompts.item(prompts.lines[item], drawn, ())
            table.add(rendered, Identity(item_id=name, as_of=as_of))
    table.write(ctx)
    return {"rows": len(table.rows)}


def cold_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ for the profiles of cold-start items, from similar items (R23, phase 2)."""
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    warm, _ = read_profiles(ctx, "item", config.profiles)
    vectors = read_vectors(ctx.input("texts"))["items"]
    table = PromptTable("item_profile")
    for as_of in AS_OF:
        profiles = profiles_as_of(warm, as_of, "item", tables.items)
        profiled = np.sort(np.array(list(profiles), np.int64))
        cold = cold_items(tables, as_of, profiled)
        if not len(cold) or len(profiled) < 2:
            continue
        similar = similar_items(vectors, cold, profiled, config.profiles.neighbours)
        for item, others in zip(cold.tolist(), similar.tolist(), strict=True):
            neighbours = [(other, profiles[other]) for other in others]
            rendered = prompts.item(prompts.lines[item], (), neighbours)
            table.add(rendered, Identity(item_id=tables.items[item], as_of=as_of))
    table.write(ctx)
    return {"rows": len(table.rows)}


def cold_items(tables: SnapshotMatrices, as_of: AsOf, profiled: np.ndarray) -> np.ndarray:
    """Items without a profile that may have to be ranked."""
    parts = [TRAIN, VALIDATION] if as_of == "train" else [TRAIN, VALIDATION, TEST]
    ranked = tables.rows.loc[tables.rows["part"].isin(parts), "i"].unique()
    return np.setdiff1d(ranked, profiled)


def profile_vectors(ctx: Context, config: ReclmConfig, side: Side, as_of: AsOf) -> dict[str, Any]:
    """profiles.parquet, the profiles of all users or items, and their vectors.

    A user or item without a profile has an empty text and the zero vector.
    """
    facts = session.in_worker(_profile_texts, ctx, config, side, as_of)
    return {**encode(ctx, config.encoder), **facts}


def _profile_texts(ctx: Context, config: ReclmConfig, side: Side, as_of: AsOf) -> dict[str, Any]:
    tables = load_tables(ctx)
    index = tables.users if side == "user" else tables.items
    profiles: dict[int, str] = {}
    rejected: Counter[str] = Counter()
    if "taught" in ctx.inputs:
        by_id = read_teacher_profiles(ctx.input("taught"))
        numbers = index.get_indexer(list(by_id)).tolist()
        profiles.update(zip(numbers, by_id.values(), strict=True))
    else:
        for suffix in WAVES[side]:
            written, kinds = read_profiles(ctx, side, config.profiles, suffix)
            rejected += kinds
            # an earlier wave wins: an item with users has no use for a cold-start profile
            profiles = profiles_as_of(written, as_of, side, index) | profiles
    texts = [profiles.get(number, "") for number in range(len(index))]
    write_texts(ctx, "profiles", texts)
    return {"with a profile": len(profiles), "rejected": dict(rejected)}


def sample_vectors(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """users.json, the ids of a sample of users, and the vectors of their profiles."""
    session.in_worker(_sample_texts, ctx, config)
    return encode(ctx, config.encoder)


def _sample_texts(ctx: Context, config: ReclmConfig) -> None:
    written, _ = read_profiles(ctx, "user", config.profiles)
    (ctx.out / "users.json").write_text(json.dumps(written[USER].tolist()))
    write_texts(ctx, "profiles", written["profile"].tolist())


def smoothing(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """smoothing.json: the similarity of profiles before and after reinforcement learning (RO27).

    It is the mean cosine of a user's profile with that of the nearest user, and with that of a
    random user, over the users of `user_prompts(sample=...)` whose prompt differs from that of the
    nearest user. Both profiles of a pair come from the same LLM.
    """
    tables = load_tables(ctx)
    nearest = np.load(ctx.input("neighbours") / "similar.npy")[:, 0]
    table = read_prompts(ctx)
    numbers = tables.users.get_indexer(table[USER])
    prompts = dict(zip(numbers.tolist(), table["prompt"], strict=True))
    sample = tables.users.get_indexer(json.loads((ctx.input("before") / "users.json").read_text()))
    after = unit(read_vectors(ctx.input("after"))["profiles"])
    before = np.zeros_like(after)
    before[sample] = unit(read_vectors(ctx.input("before"))["profiles"])
    in_sample = set(sample.tolist())
    pairs = []
    for user in sample.tolist():
        other = int(nearest[user])
        if other in in_sample and prompts[user] != prompts[other]:
            pairs.append(user)
    users = generator(config.seed, "smoothing").permutation(np.array(pairs, np.int64))
    lines: dict[str, dict[str, float]] = {"before": {}, "after": {}}
    if pairs:
        lines["before"] = _similarity(before, users, nearest)
        lines["after"] = _similarity(after, users, nearest)
    (ctx.out / "smoothing.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(users), **lines}


def _similarity(unit_Ud: np.ndarray, users: np.ndarray, nearest: np.ndarray) -> dict[str, float]:
    """The mean cosine of users with their nearest user, and with a random user of `users`."""
    of_users = unit_Ud[users]
    with_nearest = (of_users * unit_Ud[nearest[users]]).sum(1).mean()
    with_random = (of_users * unit_Ud[np.roll(users, 1)]).sum(1).mean()
    return {
        "with the nearest user": float(with_nearest),
        "with a random user": float(with_random),
    }
