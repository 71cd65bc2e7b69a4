"""Pairs of a good and a bad answer for the reward model (R20, RO21), and its accuracy by kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.cluster import session
from raypipe.data.snapshot import VALIDATION
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories, load_tables, nearest_with_other_history
from raypipe.papers.reclm.prompt_tables import DIALOGUE, NO_DIALOGUE, by_column, read_profiles
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.papers.reclm.teacher import read_teacher_profiles
from raypipe.pipeline.stage import Context
from raypipe.prompts.profiles import IDENTITY, INTERESTS, OPENING
from raypipe.schema import USER
from raypipe.seeding import generator

#: kinds of bad answers, and the probability of each
KINDS = {
    "neighbour": 0.3,
    "several": 0.3,
    "identity_only": 0.1,
    "repeated": 0.1,
    "empty_label": 0.1,
    "full_stop": 0.1,
}
#: random users of the teacher, one of whom stands in for a neighbour if all similar users have the
#: same history
STRANGERS = 8
#: the share of users whose pairs are held out for validation
VALIDATION_SHARE = 0.25
PAIRS, PROMPTS = "pairs.parquet", "prompts.parquet"


def bad_answer(kind: str, profile: str, neighbour_profile: str) -> str:
    """A bad answer to a prompt whose good answer is `profile`."""
    identity = profile.partition(f"; {INTERESTS}")[0]
    return {
        "neighbour": neighbour_profile,
        "several": f"{profile} {neighbour_profile}",
        "identity_only": f"{identity}.",
        "repeated": f"{identity}; {identity}.",
        "empty_label": f"{IDENTITY}; {INTERESTS}.",
        "full_stop": ".",
    }[kind]


def preferences(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """pairs.parquet and prompts.parquet.

    pairs.parquet has the columns prompt, chosen, rejected, kind and part (train, validation), and
    is about the teacher's users. The good answer is the teacher's. The neighbour of a bad answer
    is the most similar user with another history or, where all similar users have the same history,
    one of the teacher's users. A pair with two equal answers is left out.

    prompts.parquet holds prompts about other users for reinforcement learning, each with the first
    words of its answer.
    """
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    user_histories = histories(tables, VALIDATION)
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    teacher_profiles = read_teacher_profiles(ctx.input("users"))
    written, _ = read_profiles(ctx, "user", config.profiles)
    user_profiles = by_column(written[written[DIALOGUE] == NO_DIALOGUE], USER)
    rng = generator(config.seed, "preferences")

    def prompt(user: int) -> str:
        others = list(map(user_histories.row, similar[user]))
        return prompts.user(user_histories.row(user), others).text

    names = np.array(sorted(teacher_profiles))
    numbers = dict(zip(names, tables.users.get_indexer(list(names)), strict=True))
    teacher_users = np.array(list(numbers.values()))
    # users are held out, not pairs, so that no prompt is in both parts
    held_out = set(rng.permutation(names)[: max(1, int(len(names) * VALIDATION_SHARE))])
    rows = []
    for name in np.resize(rng.permutation(names), config.llm.reward.pairs):
        user, profile = numbers[name], teacher_profiles[name]
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        others = np.concatenate([similar[user], rng.choice(teacher_users, STRANGERS)])
        neighbour = nearest_with_other_history(
            user, others, user_histories, config.profiles.history
        )
        if neighbour is None:
            continue
        other = tables.users[neighbour]
        other_profile = teacher_profiles.get(other) or user_profiles.get(other)
        if other_profile is None or (other_profile == profile and kind == "neighbour"):
            continue
        bad = bad_answer(kind, profile, other_profile)
        part = "validation" if name in held_out else "train"
        rows.append((prompt(user), f" {profile}", f" {bad}", kind, part))
    columns = ["prompt", "chosen", "rejected", "kind", "part"]
    pd.DataFrame(rows, columns=columns).to_parquet(ctx.out / PAIRS, index=False)
    others = _other_users(user_histories, teacher_users)
    episodes = np.resize(rng.permutation(others), config.llm.policy.episodes)
    openings = [prompt(user) + OPENING for user in episodes]
    pd.DataFrame({"prompt": openings}).to_parquet(ctx.out / PROMPTS, index=False)
    return {
        "rows": len(rows),
        "pairs asked for": config.llm.reward.pairs,
        "prompts": len(episodes),
    }


def _other_users(user_histories: Ragged, teacher_users: np.ndarray) -> np.ndarray:
    """Users with a history whom the teacher does not describe; if there are none, the teacher's."""
    others = np.setdiff1d(np.flatnonzero(np.diff(user_histories.start)), teacher_users)
    return others if len(others) else np.sort(teacher_users)


def reward_accuracy(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """accuracy.json: the share of validation pairs that the reward model orders well, by kind."""
    return dict(session.in_worker(_reward_accuracy, ctx, gpu=True))


def _reward_accuracy(ctx: Context) -> dict[str, Any]:
    import torch

    from raypipe.tuning.reward_model import RewardModel

    pairs = pd.read_parquet(ctx.input("preferences") / PAIRS)
    pairs = pairs[pairs["part"] == "validation"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reward_model = RewardModel(str(ctx.input("reward") / "model"), device)
    prompts = pairs["prompt"].tolist()
    chosen = np.array(reward_model.score(prompts, pairs["chosen"].tolist()))
    rejected = np.array(reward_model.score(prompts, pairs["rejected"].tolist()))
    correct = pd.Series(chosen > rejected)
    lines = []
    for kind, row in correct.groupby(pairs["kind"].to_numpy()).agg(["mean", "size"]).iterrows():
        line = {"kind": kind, "accuracy": float(row["mean"]), "pairs": int(row["size"])}
        lines.append(line)
    (ctx.out / "accuracy.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(pairs), "accuracy": float(correct.mean()), "lines": lines}
