"""The examples that the LLM is tuned on.

They are profiles to imitate (R10), dialogues of two turns (R13 to R15), and profiles of items (R22,
R23). Every example is a row of turns.parquet, whose column `turns` lists queries and responses in
turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.data.snapshot import VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import (
    histories,
    load_tables,
    nearest_with_other_history,
    similar_items,
    users_by_item,
)
from raypipe.papers.reclm.profiles import draw_user_profiles
from raypipe.papers.reclm.prompt_tables import (
    DIALOGUE,
    NO_DIALOGUE,
    Identity,
    PromptTable,
    by_column,
    profiles_as_of,
    read_profiles,
)
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.papers.reclm.teacher import read_teacher_profiles
from raypipe.papers.reclm.vectors import read_vectors
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import generator

TURNS = "turns.parquet"
#: with fewer dialogues of either answer there is too little to learn from
FEWEST = 5


class Dialogue(NamedTuple):
    """A user, similar users, an item, and whether the user interacted with it.

    Attributes:
        user: row number of the user.
        similar: [N] row numbers of similar users, the most similar first.
        history: the user's items that the dialogue may show, oldest first.
        item: row number of the item in question.
        interacted: the true answer.
    """

    user: int
    similar: np.ndarray
    history: np.ndarray
    item: int
    interacted: bool


def write_turns(ctx: Context, examples: Sequence[Sequence[str]]) -> dict[str, Any]:
    """turns.parquet: examples, each of queries and responses in turn."""
    frame = pd.DataFrame({"turns": list(map(list, examples))})
    frame.to_parquet(ctx.out / TURNS, index=False)
    return {"rows": len(examples)}


def distillation(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The teacher's profiles of users as examples (R10)."""
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    user_histories = histories(tables, VALIDATION)
    examples = []
    for name, profile in read_teacher_profiles(ctx.input("users")).items():
        rendered = prompts.user(user_histories.row(tables.users.get_loc(name)), ())
        examples.append([rendered.text, f" {profile}"])
    return write_turns(ctx, examples)


def draw(tables: SnapshotMatrices, similar: np.ndarray, number: int, seed: int) -> list[Dialogue]:
    """Dialogues about as many users; in half of them the user interacted with the item (R15).

    The item of a positive dialogue is one that a similar user has, too. It is left out of the
    user's history, which keeps at least one other item, so the first turn is never empty (RO20).
    The item of a negative dialogue is one that a similar user has, and the user has in none of the
    training rows.

    Args:
        similar: [U, N] the most similar users of each user.
    """
    user_histories = histories(tables, VALIDATION)
    rng = generator(seed, "dialogues")
    drawn: list[Dialogue] = []
    for interacted in (True, False):
        drawn += _draw_half(user_histories, similar, interacted, (number + 1) // 2, rng)
    order = rng.permutation(len(drawn))[:number]
    return [drawn[position] for position in order]


def _draw_half(
    user_histories: Ragged,
    similar: np.ndarray,
    interacted: bool,
    number: int,
    rng: np.random.Generator,
) -> list[Dialogue]:
    """Up to `number` dialogues with the same answer."""
    drawn: list[Dialogue] = []
    for user in rng.permutation(len(user_histories)).tolist():
        own_items, others = user_histories.row(user), similar[user]
        of_similar = np.unique(np.concatenate(list(map(user_histories.row, others))))
        if interacted:
            candidates = np.intersect1d(own_items, of_similar)
        else:
            candidates = np.setdiff1d(of_similar, own_items)
        if len(own_items) < 1 + interacted or not len(candidates):
            continue
        item = int(rng.choice(candidates))
        drawn.append(Dialogue(user, others, own_items[own_items != item], item, interacted))
        if len(drawn) == number:
            break
    return drawn


def _draw(
    ctx: Context, config: ReclmConfig, tables: SnapshotMatrices
) -> tuple[np.ndarray, list[Dialogue]]:
    """[U, N] the similar users of each user, and the dialogues of the run."""
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    drawn = draw(tables, similar, config.llm.dialogue.dialogues, config.seed)
    positive = _count_positive(drawn)
    if min(positive, len(drawn) - positive) < FEWEST:
        raise DataError(
            f"only {len(drawn)} dialogues can be drawn: similar users share too few items",
            ctx.name,
            "give more data, or raise profiles.neighbours",
        )
    return similar, drawn


def _count_positive(dialogues: Sequence[Dialogue]) -> int:
    return sum(dialogue.interacted for dialogue in dialogues)


def distilled_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ to the distilled LLM.

    They ask for the profiles of everyone in a dialogue, and of those users whose profiles serve as
    bad answers about the teacher's users (RO19, R20).
    """
    tables = load_tables(ctx)
    similar, drawn = _draw(ctx, config, tables)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    user_histories = histories(tables, VALIDATION)
    table = PromptTable("user_profile", wave="user")
    users: set[int] = set()
    for number, dialogue in enumerate(drawn):
        rendered = prompts.user(dialogue.history, ())
        table.add(rendered, Identity(user_id=tables.users[dialogue.user], dialogue=number))
        users.update(dialogue.similar.tolist())
    teacher_users = tables.users.get_indexer(list(read_teacher_profiles(ctx.input("users"))))
    for user in teacher_users:
        other = nearest_with_other_history(
            user, similar[user], user_histories, config.profiles.history
        )
        if other is not None:
            users.add(other)
    for user in sorted(users):
        rendered = prompts.user(user_histories.row(user), ())
        table.add(rendered, Identity(user_id=tables.users[user]))
    table.write(ctx)
    return {"rows": len(table.rows)}


def dialogues(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """turns.parquet: the dialogues of two turns, with the profiles of the distilled LLM."""
    tables = load_tables(ctx)
    _, drawn = _draw(ctx, config, tables)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    user_histories = histories(tables, VALIDATION)
    written, _ = read_profiles(ctx, "user", config.profiles)
    in_dialogue = written[DIALOGUE] != NO_DIALOGUE
    dialogue_profiles = by_column(written[in_dialogue], DIALOGUE)
    user_profiles = by_column(written[~in_dialogue], USER)
    examples = []
    for number, dialogue in enumerate(drawn):
        shown_users = dialogue.similar[: config.profiles.neighbours]
        profiles = [dialogue_profiles.get(number)]
        profiles += map(user_profiles.get, tables.users[shown_users])
        present = list(filter(None, profiles))
        if len(present) < len(profiles):
            continue
        shown = [dialogue.history, *map(user_histories.row, shown_users)]
        examples.append(prompts.dialogue(shown, present, dialogue.item, dialogue.interacted))
    return {
        **write_turns(ctx, examples),
        "without a profile": len(drawn) - len(examples),
        "yes": _count_positive(drawn) / len(drawn),
    }


def item_examples(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The teacher's profiles of items as examples, each with a warm and a cold prompt.

    A warm prompt shows profiles of the item's users, a cold one similar items with their profiles.
    """
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    teacher_profiles = read_teacher_profiles(ctx.input("items"))
    written, _ = read_profiles(ctx, "user", config.profiles)
    user_profiles = profiles_as_of(written, "train", "user", tables.users)
    item_users = users_by_item(tables, VALIDATION)
    items = tables.items.get_indexer(list(teacher_profiles))
    vectors = read_vectors(ctx.input("texts"))["items"]
    similar = similar_items(vectors, items, items, config.profiles.neighbours)
    profiles = dict(zip(items.tolist(), teacher_profiles.values(), strict=True))
    examples = []
    for item, others in zip(items.tolist(), similar.tolist(), strict=True):
        name, line = tables.items[item], prompts.lines[item]
        drawn = draw_user_profiles(name, item_users.row(item), user_profiles, config)
        neighbours = [(other, profiles[other]) for other in others]
        for rendered in (prompts.item(line, drawn, ()), prompts.item(line, (), neighbours)):
            examples.append([rendered.text, f" {profiles[item]}"])
    return write_turns(ctx, examples)
