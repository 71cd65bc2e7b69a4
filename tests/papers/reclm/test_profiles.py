"""Prompts for profiles of users and items."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from raypipe.data.snapshot import TEST, TRAIN, VALIDATION
from raypipe.errors import DataError
from raypipe.llm.scripted import script
from raypipe.papers.reclm import (
    profiles,
)
from raypipe.papers.reclm.prompt_tables import IDENTITY
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.prompts import profiles as form
from raypipe.prompts.templates import user_profile
from raypipe.schema import PROMPTS
from tests.support.reclm_bench import answer


def test_the_scripted_engine_writes_profiles_of_the_form(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked = book.user([0, 1], [[2], [3]])
    row = type(
        "Row",
        (),
        {
            "prompt": asked.text,
            "options": asked.options,
            "pattern": asked.pattern,
            "mode": asked.mode,
            "prompt_id": "1",
        },
    )
    assert re.fullmatch(asked.pattern, script(row)["answer"])


def test_a_prompt_shows_the_newest_items_of_the_user_and_of_similar_ones(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked = book.user(np.arange(9), [[10], [], [12], [13]])
    assert [line in asked.text for line in book.lines[:9]] == [False] * 4 + [True] * 5
    assert book.lines[12] in asked.text and book.lines[13] not in asked.text, (
        "three similar users are shown"
    )
    assert "User 3 has no history yet." in asked.text and asked.mode == "form"
    assert user_profile.system(book.words) not in book.user([0], ()).text, (
        "distillation is about one user"
    )


def test_profiles_for_validation_know_the_training_part_alone(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 0)
    asked = pd.concat(
        [pd.read_parquet(f) for f in sorted((ctx.out / "prompts").glob("*.parquet"))]
    ).set_index("prompt_id")["prompt"]
    book, snapshots = ProfilePrompts.of(bench.dataset, config.profiles), bench.snapshots
    line = dict(zip(bench.dataset.items["item_id"], book.lines, strict=True))
    held = snapshots.part(VALIDATION)
    own = {u: set(g["item_id"]) for u, g in held.groupby("user_id")}
    later = set(snapshots.part(TEST)["item_id"]) - set(snapshots.part(TRAIN, VALIDATION)["item_id"])
    cold = set(held.loc[held["cold"], "item_id"])
    for name, text in asked.items():
        at, _, user = name.partition("/")
        assert not any(line[i] in text for i in later), (
            "nothing of the second snapshot is in a prompt"
        )
        if at == "train":
            about = text.partition("Similar users:")[0]
            assert not any(line[i] in about for i in own.get(user, ())) and not any(
                line[i] in text for i in cold
            )
    assert {n.partition("/")[2] for n in asked.index if n.startswith("first/")} == set(own), (
        "who has held rows has a newer profile"
    )


def test_items_are_warm_by_their_users_and_cold_by_similar_items(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 0)
    answer(bench, "users", ctx)
    ctx = bench.context(prompts="prompts/users", completions="completions/users")
    profiles.warm_prompts(ctx, config)
    warm = answer(bench, "items-warm", ctx)
    snapshots = bench.snapshots
    trained, held = set(snapshots.part(TRAIN)["item_id"]), snapshots.part(VALIDATION)
    held_out = set(held["item_id"]) - trained
    new = set(snapshots.part(TEST)["item_id"]) - trained - held_out
    assert set(warm["prompt_id"]) == {f"train/{i}" for i in trained} | {
        f"first/{i}" for i in held_out
    }
    assert warm["prompt"].str.contains(form.IDENTITY).mean() > 0.9, (
        "the profiles of users stand in the prompt"
    )
    with bench.making("vectors/texts") as out:
        save_file(
            {
                "items": np.random.default_rng(0)
                .normal(size=(len(bench.dataset.items), 8))
                .astype(np.float32)
            },
            out / "vectors.safetensors",
        )
    ctx = bench.context(
        texts="vectors/texts", prompts="prompts/items-warm", completions="completions/items-warm"
    )
    profiles.cold_prompts(ctx, config)
    cold = answer(bench, "items-cold", ctx)
    assert set(cold["prompt_id"]) == {f"train/{i}" for i in held_out} | {f"first/{i}" for i in new}
    assert not cold["prompt"].str.contains("who watched this film").any()
    names = {f"prompts{s}": f"prompts/items{s}" for s in ("-warm", "-cold")} | {
        f"completions{s}": f"completions/items{s}" for s in ("-warm", "-cold")
    }
    for at, known in (("train", trained | held_out), ("first", trained | held_out | new)):
        ctx = bench.context(**names)
        facts = profiles._profile_texts(ctx, config, "item", at)
        texts = pd.read_parquet(ctx.out / "profiles.parquet")["text"]
        assert (
            facts["with a profile"] == len(known) == (texts != "").sum() and facts["rejected"] == {}
        )
        assert set(bench.dataset.items["item_id"][(texts != "").to_numpy()]) == known


def test_prompts_keep_their_contract_and_the_case_is_among_them(bench, config):
    user = bench.snapshots.part(TRAIN)["user_id"].iloc[0]
    ctx = bench.context(neighbours="neighbours")
    facts = profiles.user_prompts(ctx, config.model_copy(update={"case": user}), 5)
    made = pd.read_parquet(ctx.out / "prompts")
    assert 6 <= facts["rows"] == len(made) <= 11 and list(made.columns) == [
        *PROMPTS.columns,
        *IDENTITY,
    ], "five, their nearest, the case"
    assert f"train/{user}" in set(made["prompt_id"])
    with pytest.raises(DataError, match="no user 'nobody'"):
        profiles.user_prompts(
            bench.context(neighbours="neighbours"), config.model_copy(update={"case": "nobody"}), 5
        )
    assert json.dumps(made["options"].iloc[0].tolist())
