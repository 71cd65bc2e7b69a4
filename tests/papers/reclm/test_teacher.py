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


def test_a_rule_teaches_of_the_training_part_alone(bench, config):
    train = bench.snapshots.part(TRAIN)
    for side, column in (("users", "user_id"), ("items", "item_id")):
        taught = teacher.read_teacher_profiles(
            bench.store.local(f"teacher/{side}", bench.keys[f"teacher/{side}"])
        )
        assert 10 <= len(taught) <= 40 and set(taught) <= set(train[column])
        phrases = 3 if side == "users" else 5
        assert all(re.fullmatch(ProfileForm(phrases, 32).pattern, f" {p}") for p in taught.values())


def test_stored_profiles_are_read_and_what_lacks_is_told(bench, config, tmp_path):
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
    said = ["User identity: Film fan; User interests: Golf."] * 39 + ["nonsense"]
    frame = pd.DataFrame({"user_id": [*users[:39], "nobody"], "profile": said[:39] + said[:1]})
    frame.loc[3, "profile"] = "nonsense"
    frame.to_parquet(folder / "user_profiles_x.parquet")
    ctx = bench.context()
    facts = teacher.teach(ctx, stored, "user")
    got = teacher.read_teacher_profiles(ctx.out)
    assert facts["rejected"] == {"malformed": 1} and users[3] not in got and "nobody" not in got
    assert set(got.values()) == {"User identity: Film fan; User interests: Golf."}


def test_an_endpoint_is_told_the_form_in_words(bench, config):
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    asked = pd.read_parquet(ctx.out / "prompts")
    assert (
        len(asked) == 40
        and set(asked["mode"]) == {"write"}
        and asked["prompt"].str.contains("strictly in this form").all()
    )


def test_what_an_endpoint_says_becomes_the_teachers_profiles(bench, config, endpoint):
    asker = endpoint_engine._Asker(
        EndpointConfig(url=endpoint.url, model="m", requests_per_minute=60_000), SecretStr("key-7")
    )
    endpoint.answers["m"] = ["User identity: Film fan; User interests: golf."] * 38 + [
        "I cannot say."
    ] * 2
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    asked = answer(
        bench, "teacher-users", ctx, lambda row: asker(pd.DataFrame([row])).iloc[0].to_dict()
    )
    assert len(endpoint.requests) == len(asked) == 40
    ctx = bench.context(prompts="prompts/teacher-users", completions="completions/teacher-users")
    taught = config.model_copy(
        update={"teacher": config.teacher.model_copy(update={"source": "endpoint"})}
    )
    facts = teacher.teach(ctx, taught, "user")
    got = teacher.read_teacher_profiles(ctx.out)
    assert facts["rejected"] == {"malformed": 2} and len(got) == 38
    assert set(got) < set(asked["user_id"])
    assert set(got.values()) == {"User identity: Film fan; User interests: golf."}
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


def test_a_dry_run_tells_what_is_not_known_yet_would_cost_and_asks_nothing(
    bench, config, endpoint, monkeypatch
):
    monkeypatch.setattr(completions.session, "in_worker", lambda function, *given: function(*given))
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    with bench.making("prompts/teacher-users") as out:
        shutil.copytree(ctx.out / "prompts", out / "prompts")
    priced = EndpointConfig(
        url=endpoint.url, model="m", max_tokens=50, dollars_in=4e6, dollars_out=1e6, dry_run=True
    )
    ctx = bench.context(prompts="prompts/teacher-users")
    asked = pd.read_parquet(ctx.input("prompts") / "prompts")
    once = asked.drop_duplicates("prompt")
    dollars = once["prompt"].str.len().sum() + len(once) * 50
    with pytest.raises(
        DryRun,
        match=f"{len(once)} requests to m, .* at most {dollars:,}.00 dollars, at least 1 min",
    ):
        completions.generate_by_endpoint(ctx, priced, 10)
    got = pd.DataFrame([{**completion(p, "A", [], 1, 1, 2.0)} for p in once["prompt_id"][:30]])
    cache = answer_cache.cache_folder(ctx, [priced.url, "m", 50])
    prompts = answer_cache.read_prompts(str(ctx.input("prompts") / "prompts"), ["prompt_id"])
    answer_cache.add_to_cache(prompts, got, cache, "some")
    with pytest.raises(DryRun, match=f": {len(once) - 30} requests to m, "):
        completions.generate_by_endpoint(ctx, priced, 10)
    assert not endpoint.requests
