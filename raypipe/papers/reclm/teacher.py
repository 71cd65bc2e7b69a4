"""The profiles that the LLM learns from (R10).

They are stored ones, those of an LLM behind an API, or those of a rule that needs no LLM. They
describe users and items of the training part only: neither the second snapshot nor what validation
holds out is ever seen (RO24).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.data.snapshot import VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm import teacher_rule
from raypipe.papers.reclm.config import ProfileConfig, ReclmConfig, Side
from raypipe.papers.reclm.histories import histories, load_tables, users_by_item
from raypipe.papers.reclm.prompt_tables import ID_COLUMN, Identity, PromptTable, read_answers
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Rejected, Rendered
from raypipe.prompts.profiles import Profile
from raypipe.seeding import generator

#: the form in words, for an endpoint, which no grammar constrains
FORM = (
    "Write the profile strictly in this form, with at most {phrases} of each: "
    "User identity: A, B, C; User interests: X, Y, Z."
)
FILE = "profiles.parquet"
#: with fewer profiles there is too little to learn from
FEWEST = 10


def teacher_users(config: ReclmConfig, user_histories: Ragged) -> np.ndarray:
    """The users that get a teacher profile: a random choice of those with a history."""
    return _choose(user_histories, config.teacher.users, "users", config.seed)


def teacher_items(config: ReclmConfig, item_users: Ragged) -> np.ndarray:
    """The items that get a teacher profile: a random choice of those with users in training."""
    return _choose(item_users, config.teacher.items, "items", config.seed)


def _choose(lists: Ragged, number: int, label: str, seed: int) -> np.ndarray:
    nonempty = np.flatnonzero(np.diff(lists.start))
    return np.sort(generator(seed, "teacher", label).permutation(nonempty)[:number])


def endpoint_prompts(ctx: Context, config: ReclmConfig, side: Side) -> dict[str, Any]:
    """prompts/ for a teacher behind an API.

    The prompts for items show the profiles of their users, the input `users`.
    """
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    table = PromptTable("teacher", wave="teacher")
    phrases = config.profiles.form(side).phrases
    if side == "user":
        user_histories = histories(tables, VALIDATION)
        for user in teacher_users(config, user_histories):
            rendered = prompts.user(user_histories.row(user), ())
            table.add(_free_form(rendered, phrases), Identity(user_id=tables.users[user]))
    else:
        user_profiles = read_teacher_profiles(ctx.input("users"))
        item_users = users_by_item(tables, VALIDATION)
        for item in teacher_items(config, item_users):
            shown = _present(user_profiles, tables.users[item_users.row(item)])
            rendered = prompts.item(prompts.lines[item], shown, ())
            table.add(_free_form(rendered, phrases), Identity(item_id=tables.items[item]))
    table.write(ctx)
    return {"rows": len(table.rows)}


def _free_form(rendered: Rendered, phrases: int) -> Rendered:
    """A prompt with the form in words, for an engine without grammars."""
    form = FORM.format(phrases=phrases)
    return rendered._replace(text=f"{rendered.text}\n{form}", mode="write")


def _present(profiles: dict[str, str], ids: Iterable[str]) -> list[str]:
    """The profiles of those ids that have one."""
    return list(filter(None, map(profiles.get, ids)))


def teach(ctx: Context, config: ReclmConfig, side: Side) -> dict[str, Any]:
    """profiles.parquet: the id and the teacher's profile of users or items of the training part.

    Raises:
        DataError: fewer than FEWEST profiles, or no stored ones.
    """
    tables = load_tables(ctx)
    if side == "user":
        index, lists = tables.users, histories(tables, VALIDATION)
    else:
        index, lists = tables.items, users_by_item(tables, VALIDATION)
    rejected: Counter[str] = Counter()
    if config.teacher.source == "rule":
        profiles = _rule_profiles(ctx, config, side)
    else:
        stored = config.teacher.source == "stored"
        texts = _stored_texts(config, side) if stored else _endpoint_texts(ctx, side)
        profiles, rejected = _parse(texts, side, config.profiles)
    in_training = set(index[np.flatnonzero(np.diff(lists.start))])
    rows = []
    for name, profile in profiles.items():
        if name in in_training:
            rows.append((name, profile.text))
    if len(rows) < FEWEST:
        raise DataError(
            f"the teacher has profiles of {len(rows)} {side}s of the training part, "
            f"at least {FEWEST} are needed",
            f"teacher/{side}s",
            "see teacher.source and teacher.users, teacher.items",
        )
    pd.DataFrame(rows, columns=["id", "profile"]).to_parquet(ctx.out / FILE, index=False)
    return {
        "rows": len(rows),
        "outside the training part": len(profiles) - len(rows),
        "rejected": dict(rejected),
    }


def _parse(
    texts: dict[str, str], side: Side, config: ProfileConfig
) -> tuple[dict[str, Profile], Counter[str]]:
    """Profiles by id, and how many texts were rejected, by kind."""
    form = config.form(side)
    profiles: dict[str, Profile] = {}
    rejected: Counter[str] = Counter()
    for name, text in texts.items():
        result = form.parse(text)
        if isinstance(result, Rejected):
            rejected[result.kind] += 1
        else:
            profiles[name] = result
    return profiles, rejected


def _endpoint_texts(ctx: Context, side: Side) -> dict[str, str]:
    """id -> the endpoint's answer."""
    table = read_answers(ctx)
    return dict(zip(table[ID_COLUMN[side]], table["answer"], strict=True))


def _stored_texts(config: ReclmConfig, side: Side) -> dict[str, str]:
    """id -> profile from the data folder; a random choice where there are more than configured."""
    folder = Path(config.data.dir or ".")
    key = ID_COLUMN[side]
    files = sorted(folder.glob(f"{side}_profiles*.parquet"))
    if not files:
        raise DataError(
            f"there are no stored profiles of {side}s",
            f"{folder}/{side}_profiles*.parquet",
            f"add a file with the columns {key} and profile, or choose another teacher.source",
        )
    frame = pd.concat(map(pd.read_parquet, files))
    missing = {key, "profile"} - set(frame.columns)
    if missing:
        raise DataError(
            f"stored profiles lack the column(s) {', '.join(sorted(missing))}", str(files[0])
        )
    frame = frame.drop_duplicates(key)
    number = config.teacher.users if side == "user" else config.teacher.items
    order = generator(config.seed, "stored", f"{side}s").permutation(len(frame))[:number]
    chosen = frame.iloc[np.sort(order)]
    return dict(zip(chosen[key].astype(str), chosen["profile"].astype(str), strict=True))


def read_teacher_profiles(folder: Path) -> dict[str, str]:
    """id -> profile, as `teach` wrote them."""
    frame = pd.read_parquet(folder / FILE)
    return dict(zip(frame["id"], frame["profile"], strict=True))


def _rule_profiles(ctx: Context, config: ReclmConfig, side: Side) -> dict[str, Profile]:
    """Profiles of the rule, see `teacher_rule`."""
    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    rule = teacher_rule.Rule(prompts.titles, prompts.features)
    form = config.profiles.form(side)
    profiles: dict[str, Profile] = {}
    if side == "user":
        user_histories = histories(tables, VALIDATION)
        for user in teacher_users(config, user_histories):
            profiles[tables.users[user]] = rule.user(user_histories.row(user), form)
        return profiles
    user_profiles, _ = _parse(read_teacher_profiles(ctx.input("users")), "user", config.profiles)
    item_users = users_by_item(tables, VALIDATION)
    for item in teacher_items(config, item_users):
        known = []
        for name in tables.users[item_users.row(item)]:
            if name in user_profiles:
                known.append(user_profiles[name])
        profiles[tables.items[item]] = rule.item(item, known, form)
    return profiles
