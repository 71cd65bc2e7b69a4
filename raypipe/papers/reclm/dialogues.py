"""What the LLM is tuned on: profiles to imitate (R10), dialogues of two turns (R13 to R15), and profiles of items (R22, R23).

Every example is a row of turns.parquet: `turns`, a list of queries and responses in turn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.snapshots import SnapshotTables
from raypipe.data.snapshot import VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import (
    histories,
    similar_items,
    tables,
    takers,
    unlike,
    users_of,
)
from raypipe.papers.reclm.profiles import read_answers
from raypipe.papers.reclm.rendering import Book
from raypipe.papers.reclm.teacher import read_profiles, write_rows
from raypipe.papers.reclm.vectors import read_vectors
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Rendered
from raypipe.seeding import generator

TURNS = "turns.parquet"


class Dialogue(NamedTuple):
    """A user, similar users, an item, and whether the user took it."""

    user: int
    similar: np.ndarray
    history: np.ndarray
    item: int
    taken: bool


def write_turns(ctx: Context, rows: list[list[str]]) -> dict[str, Any]:
    """Examples as a file: queries and responses in turn."""
    pd.DataFrame({"turns": rows}).to_parquet(ctx.out / TURNS, index=False)
    return {"rows": len(rows)}


def distillation(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The teacher's profiles of users as examples (R10)."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    known = histories(source, VALIDATION)
    rows = []
    for name, profile in read_profiles(ctx.input("users")).items():
        asked = book.user(known.row(source.users.get_loc(name)), (), name)
        rows.append([asked.text, f" {profile}"])
    return write_turns(ctx, rows)


def draw(source: SnapshotTables, similar: np.ndarray, number: int, seed: int) -> list[Dialogue]:
    """Dialogues about as many users, half of them with an item that the user took (R15).

    A taken item is one that a similar user took, too; it is left out of the user's history, which keeps another one at least, so
    that the first turn is never empty (RO20). Others are what similar users took and the user did not, in all of training.
    """
    known = histories(source, VALIDATION)
    rng = generator(seed, "dialogues")
    made: list[Dialogue] = []
    for wanted in (True, False):
        found = 0
        for u in rng.permutation(len(known)):
            own, others = known.row(u), similar[u]
            near = np.unique(np.concatenate([known.row(v) for v in others]))
            options = np.intersect1d(own, near) if wanted else np.setdiff1d(near, own)
            if not len(own) or not len(options) or (wanted and len(own) < 2):
                continue
            item = int(rng.choice(options))
            made.append(Dialogue(int(u), others, own[own != item], item, wanted))
            found += 1
            if found == (number + 1) // 2:
                break
    order = rng.permutation(len(made))[:number]
    return [made[i] for i in order]


def _drawn(ctx: Context, config: ReclmConfig) -> tuple[SnapshotTables, np.ndarray, list[Dialogue]]:
    source = tables(ctx)
    similar = np.load(ctx.input("neighbours") / "similar.npy")
    made = draw(source, similar, config.llm.dialogue.dialogues, config.seed)
    if sum(d.taken for d in made) < 5 or sum(not d.taken for d in made) < 5:
        raise DataError(
            f"only {len(made)} dialogues can be drawn: similar users share too few items",
            ctx.name,
            "give more data, or raise profiles.neighbours",
        )
    return source, similar, made


def distilled_prompts(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """prompts/ to the distilled LLM: profiles of all who occur in a dialogue, and of those whose profiles are bad answers about the
    teacher's users (RO19, R20).
    """
    source, similar, made = _drawn(ctx, config)
    book, known = Book.of(source.dataset, config.profiles), histories(source, VALIDATION)
    taught = source.users.get_indexer(list(read_profiles(ctx.input("users"))))
    rows: list[tuple[str, Rendered]] = []
    for number, one in enumerate(made):
        rows.append((f"dialogue/{number:06d}", book.user(one.history, (), source.users[one.user])))
    bad = {
        v
        for u in taught
        if (v := unlike(u, similar[u], known, config.profiles.history)) is not None
    }
    for v in sorted(bad | {int(v) for one in made for v in one.similar}):
        rows.append((f"user/{source.users[v]}", book.user(known.row(v), (), source.users[v])))
    write_rows(ctx, rows, "user_profile")
    return {"rows": len(rows)}


def dialogues(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The dialogues of two turns, with the profiles that the distilled LLM wrote."""
    source, _, made = _drawn(ctx, config)
    book, known = Book.of(source.dataset, config.profiles), histories(source, VALIDATION)
    written, _ = read_answers(ctx, config, "user")
    rows, lost = [], 0
    for number, one in enumerate(made):
        others = one.similar[: config.profiles.neighbours]
        profiles = [
            written.get(f"dialogue/{number:06d}"),
            *(written.get(f"user/{source.users[v]}") for v in others),
        ]
        if not all(profiles):
            lost += 1
            continue
        shown = [one.history, *(known.row(v) for v in others)]
        (q1, r1), (q2, r2) = book.dialogue(shown, [p for p in profiles if p], one.item, one.taken)
        rows.append([q1, r1, q2, r2])
    return {
        **write_turns(ctx, rows),
        "without a profile": lost,
        "yes": sum(d.taken for d in made) / len(made),
    }


def item_examples(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The teacher's profiles of items as examples, each asked for in both ways: from users, and from similar items."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    taught = read_profiles(ctx.input("items"))
    written, _ = read_answers(ctx, config, "user")
    taken = takers(source, VALIDATION)
    numbers = source.items.get_indexer(list(taught))
    near = similar_items(
        read_vectors(ctx.input("texts"))["items"], numbers, numbers, config.profiles.neighbours
    )
    profile = dict(zip(numbers, taught.values(), strict=True))
    rows = []
    for i, others in zip(numbers, near, strict=True):
        name = source.items[i]
        asked = [book.item(int(i), users_of(i, taken, source, written, "train", config), (), name)]
        asked.append(book.item(int(i), (), [(int(j), profile[j]) for j in others], name))
        rows += [[one.text, f" {profile[i]}"] for one in asked]
    return write_turns(ctx, rows)
