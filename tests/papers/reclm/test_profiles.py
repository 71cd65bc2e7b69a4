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


def test_the_scripted_engine_writes_well_formed_profiles(bench, config):
    renderer = ProfilePrompts.of(bench.dataset, config.profiles)
    rendered = renderer.user([0, 1], [[2], [3]])
    row = type(
        "Row",
        (),
        {
            "prompt": rendered.text,
            "options": rendered.options,
            "pattern": rendered.pattern,
            "mode": rendered.mode,
            "prompt_id": "1",
        },
    )
    assert re.fullmatch(rendered.pattern, script(row)["answer"])


def test_a_prompt_shows_the_newest_items_of_the_user_and_of_similar_ones(bench, config):
    renderer = ProfilePrompts.of(bench.dataset, config.profiles)
    rendered = renderer.user(np.arange(9), [[10], [], [12], [13]])
    assert [line in rendered.text for line in renderer.lines[:9]] == [False] * 4 + [True] * 5
    assert renderer.lines[12] in rendered.text and renderer.lines[13] not in rendered.text, (
        "the prompt shows three similar users"
    )
    assert "User 3 has no history yet." in rendered.text and rendered.mode == "form"
    assert user_profile.system(renderer.words) not in renderer.user([0], ()).text, (
        "distillation is about one user"
    )


def test_prompts_for_validation_show_nothing_but_the_training_part(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 0)
    table = pd.read_parquet(ctx.out / "prompts")
    renderer, snapshots = ProfilePrompts.of(bench.dataset, config.profiles), bench.snapshots
    line = dict(zip(bench.dataset.items["item_id"], renderer.lines, strict=True))
    held = snapshots.part(VALIDATION)
    held_items = {user: set(rows["item_id"]) for user, rows in held.groupby("user_id")}
    later = set(snapshots.part(TEST)["item_id"]) - set(snapshots.part(TRAIN, VALIDATION)["item_id"])
    cold = set(held.loc[held["cold"], "item_id"])
    for row in table.itertuples():
        assert not any(line[item] in row.prompt for item in later), (
            "no prompt shows the second snapshot"
        )
        if row.as_of == "train":
            about = row.prompt.partition("Similar users:")[0]
            assert not any(line[item] in about for item in held_items.get(row.user_id, ()))
            assert not any(line[item] in row.prompt for item in cold)
    assert set(table.loc[table["as_of"] == "first", "user_id"]) == set(held_items), (
        "users with held-out rows have a newer profile"
    )


def test_warm_items_show_their_users_and_cold_items_show_similar_items(bench, config):
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
    assert set(warm.loc[warm["as_of"] == "train", "item_id"]) == trained
    assert set(warm.loc[warm["as_of"] == "first", "item_id"]) == held_out
    assert len(warm) == len(trained) + len(held_out)
    assert warm["prompt"].str.contains(form.IDENTITY).mean() > 0.9, (
        "the prompt contains the profiles of users"
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
    assert set(cold.loc[cold["as_of"] == "train", "item_id"]) == held_out
    assert set(cold.loc[cold["as_of"] == "first", "item_id"]) == new
    assert len(cold) == len(held_out) + len(new)
    assert not cold["prompt"].str.contains("who watched this film").any()
    names = {f"prompts{s}": f"prompts/items{s}" for s in ("-warm", "-cold")} | {
        f"completions{s}": f"completions/items{s}" for s in ("-warm", "-cold")
    }
    for as_of, described in (("train", trained | held_out), ("first", trained | held_out | new)):
        ctx = bench.context(**names)
        facts = profiles._profile_texts(ctx, config, "item", as_of)
        texts = pd.read_parquet(ctx.out / "profiles.parquet")["text"]
        assert (
            facts["with a profile"] == len(described) == (texts != "").sum()
            and facts["rejected"] == {}
        )
        assert set(bench.dataset.items["item_id"][(texts != "").to_numpy()]) == described


def test_a_sample_of_prompts_has_the_columns_of_the_contract_and_includes_the_case(bench, config):
    user = bench.snapshots.part(TRAIN)["user_id"].iloc[0]
    ctx = bench.context(neighbours="neighbours")
    facts = profiles.user_prompts(ctx, config.model_copy(update={"case": user}), 5)
    table = pd.read_parquet(ctx.out / "prompts")
    assert 6 <= facts["rows"] == len(table) <= 11 and list(table.columns) == [
        *PROMPTS.columns,
        *IDENTITY,
    ], "five users, the nearest user of each, and the case"
    assert user in set(table["user_id"]) and set(table["as_of"]) == {"train"}
    with pytest.raises(DataError, match="no user 'nobody'"):
        profiles.user_prompts(
            bench.context(neighbours="neighbours"), config.model_copy(update={"case": "nobody"}), 5
        )
    assert json.dumps(table["options"].iloc[0].tolist())
