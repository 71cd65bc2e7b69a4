"""Pairs that the reward model learns from."""

import pandas as pd

from raypipe.papers.reclm import (
    dialogues,
    reward_pairs,
)
from raypipe.prompts import profiles as form
from raypipe.prompts.contract import Rejected
from raypipe.prompts.profiles import ProfileForm
from raypipe.tuning import reward_model
from tests.support.reclm_bench import answer

TURNS = [("Users: user 1. Profiles:", " User 1: fan"), (" Will user 1 take it? Answer:", " Yes")]


def test_a_bad_answer_has_the_defect_of_its_kind():
    good_answer, other_answer = (
        "User identity: a, b; User interests: c.",
        "User identity: x; User interests: y.",
    )
    bad_answers = {
        kind: reward_pairs.bad_answer(kind, good_answer, other_answer)
        for kind in reward_pairs.KINDS
    }
    assert (
        bad_answers["neighbour"] == other_answer
        and bad_answers["several"] == f"{good_answer} {other_answer}"
        and bad_answers["full_stop"] == "."
    )
    assert (
        bad_answers["identity_only"] == "User identity: a, b."
        and bad_answers["repeated"] == "User identity: a, b; User identity: a, b."
    )
    assert abs(sum(reward_pairs.KINDS.values()) - 1) < 1e-9
    assert all(
        isinstance(ProfileForm(3, 32).parse(text), Rejected)
        for kind, text in bad_answers.items()
        if kind != "neighbour"
    )


def test_training_validation_and_policy_prompts_are_about_different_users(bench, config):
    ctx = bench.context(neighbours="neighbours", users="teacher/users")
    dialogues.distilled_prompts(ctx, config)
    answer(bench, "distilled", ctx)
    ctx = bench.context(
        neighbours="neighbours",
        users="teacher/users",
        prompts="prompts/distilled",
        completions="completions/distilled",
    )
    reward_pairs.preferences(ctx, config)
    pairs = pd.read_parquet(ctx.out / reward_pairs.PAIRS)
    by_part = {part: set(rows["prompt"]) for part, rows in pairs.groupby("part")}
    assert set(by_part) == {"train", "validation"}
    assert not by_part["train"] & by_part["validation"]
    assert (
        set(pairs["kind"]) == set(reward_pairs.KINDS)
        and (pairs["chosen"] != pairs["rejected"]).all()
    )
    assert all(
        text.endswith(form.END) for side in ("chosen", "rejected") for text in pairs[side]
    ), "the reward model reads up to the end mark"
    assert pairs["chosen"].str.startswith(form.OPENING).all()
    prompts = pd.read_parquet(ctx.out / reward_pairs.PROMPTS)["prompt"]
    assert prompts.str.endswith(form.OPENING).all()
    assert not set(prompts.str.removesuffix(form.OPENING)) & (
        by_part["train"] | by_part["validation"]
    )


def test_the_reward_model_reads_the_query_and_the_answer(tokenizer):
    ids = reward_model.tokens(tokenizer, TURNS[0][0], TURNS[0][1])
    assert tokenizer.decode(ids) == "<s>" + "".join(TURNS[0]), "no end token is appended"
