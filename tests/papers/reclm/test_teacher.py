"""Teachers of profiles: rules, stored profiles, endpoints."""

import re
import shutil

import pandas as pd
import pytest
from pydantic import SecretStr

from raypipe.data.snapshot import TRAIN
from raypipe.errors import DataError, DryRun
from raypipe.llm import endpoint as endpoint_engine
from raypipe.llm.config import EndpointConfig
from raypipe.llm.engine import completion
from raypipe.papers.reclm import (
    teacher,
)
from raypipe.prompts.profiles import ProfileForm
from raypipe.steps import answer_cache, completions
from tests.support.reclm_bench import answer


def test_the_rule_describes_only_the_training_part(bench, config):
    train = bench.snapshots.part(TRAIN)
    for side, column in (("users", "user_id"), ("items", "item_id")):
        teacher_profiles = teacher.read_teacher_profiles(
            bench.store.local(f"teacher/{side}", bench.keys[f"teacher/{side}"])
        )
        assert 10 <= len(teacher_profiles) <= 40 and set(teacher_profiles) <= set(train[column])
        phrases = 3 if side == "users" else 5
        assert all(
            re.fullmatch(ProfileForm(phrases, 32).pattern, f" {p}")
            for p in teacher_profiles.values()
        )


def test_stored_profiles_are_read_and_missing_ones_are_reported(bench, config, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    stored = config.model_copy(
        update={
            "data": config.data.model_copy(update={"dir": str(folder)}),
            "teacher": config.teacher.model_copy(update={"source": "stored"}),
        }
    )
    with pytest.raises(DataError, match=r"no stored profiles of users"):
        teacher.teach(bench.context(), stored, "user")
    users = bench.dataset.users["user_id"].tolist()
    texts = ["User identity: Film fan; User interests: Golf."] * 39 + ["nonsense"]
    frame = pd.DataFrame({"user_id": [*users[:39], "nobody"], "profile": texts[:39] + texts[:1]})
    frame.loc[3, "profile"] = "nonsense"
    frame.to_parquet(folder / "user_profiles_x.parquet")
    ctx = bench.context()
    facts = teacher.teach(ctx, stored, "user")
    profiles = teacher.read_teacher_profiles(ctx.out)
    assert (
        facts["rejected"] == {"malformed": 1}
        and users[3] not in profiles
        and "nobody" not in profiles
    )
    assert set(profiles.values()) == {"User identity: Film fan; User interests: Golf."}


def test_prompts_to_an_endpoint_describe_the_form(bench, config):
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    prompts_table = pd.read_parquet(ctx.out / "prompts")
    assert (
        len(prompts_table) == 40
        and set(prompts_table["mode"]) == {"write"}
        and prompts_table["prompt"].str.contains("strictly in this form").all()
    )


def test_answers_of_an_endpoint_become_the_teachers_profiles(bench, config, endpoint):
    ask = endpoint_engine._Actor(
        EndpointConfig(url=endpoint.url, model="m", requests_per_minute=60_000), SecretStr("key-7")
    )
    endpoint.answers["m"] = ["User identity: Film fan; User interests: golf."] * 38 + [
        "I cannot say."
    ] * 2
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    prompts_table = answer(
        bench, "teacher-users", ctx, lambda row: ask(pd.DataFrame([row])).iloc[0].to_dict()
    )
    assert len(endpoint.requests) == len(prompts_table) == 40
    ctx = bench.context(prompts="prompts/teacher-users", completions="completions/teacher-users")
    by_endpoint = config.model_copy(
        update={"teacher": config.teacher.model_copy(update={"source": "endpoint"})}
    )
    facts = teacher.teach(ctx, by_endpoint, "user")
    profiles = teacher.read_teacher_profiles(ctx.out)
    assert facts["rejected"] == {"malformed": 2} and len(profiles) == 38
    assert set(profiles) < set(prompts_table["user_id"])
    assert set(profiles.values()) == {"User identity: Film fan; User interests: golf."}
    with bench.making("taught") as out:
        (out / teacher.FILE).write_bytes((ctx.out / teacher.FILE).read_bytes())
    ctx = bench.context(users="taught")
    teacher.endpoint_prompts(ctx, config, "item")
    items = pd.read_parquet(ctx.out / "prompts")
    assert (
        len(items) == 30
        and items["prompt"]
        .str.contains("Profiles of users who watched this film: User identity: Film fan")
        .mean()
        > 0.9
    )


def test_a_dry_run_prints_the_cost_of_new_prompts_and_sends_nothing(
    bench, config, endpoint, monkeypatch
):
    monkeypatch.setattr(
        completions.session, "in_worker", lambda function, *arguments: function(*arguments)
    )
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    with bench.making("prompts/teacher-users") as out:
        shutil.copytree(ctx.out / "prompts", out / "prompts")
    priced = EndpointConfig(
        url=endpoint.url, model="m", max_tokens=50, dollars_in=4e6, dollars_out=1e6, dry_run=True
    )
    ctx = bench.context(prompts="prompts/teacher-users")
    prompts_table = pd.read_parquet(ctx.input("prompts") / "prompts")
    distinct = prompts_table.drop_duplicates("prompt")
    dollars = distinct["prompt"].str.len().sum() + len(distinct) * 50
    with pytest.raises(
        DryRun,
        match=f"{len(distinct)} requests to m, .* at most {dollars:,}.00 dollars, at least 1 min",
    ):
        completions.generate_by_endpoint(ctx, priced, 10)
    cached = pd.DataFrame(
        [{**completion(p, "A", [], 1, 1, 2.0)} for p in distinct["prompt_id"][:30]]
    )
    cache = answer_cache.cache_folder(ctx, [priced.url, "m", 50])
    prompts = answer_cache.read_prompts(str(ctx.input("prompts") / "prompts"), ["prompt_id"])
    answer_cache.add_to_cache(prompts, cached, cache, "some")
    with pytest.raises(DryRun, match=f": {len(distinct) - 30} requests to m, "):
        completions.generate_by_endpoint(ctx, priced, 10)
    assert not endpoint.requests
