"""The table of results, samples and over-smoothing."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from raypipe.data.snapshot import TEST
from raypipe.papers.reclm import (
    backbones,
    evaluation,
    profiles,
)
from raypipe.papers.reclm.histories import (
    load_tables,
)
from raypipe.papers.reclm.report.result_tables import ablation
from raypipe.papers.reclm.report.sections import samples
from raypipe.pipeline.runner import Done
from raypipe.prompts import profiles as form
from tests.support.reclm_bench import answer


def test_random_orders_reach_what_chance_gives(bench, config):
    source = load_tables(bench.context())
    asked = source.queries(TEST, "full-shot")
    got = evaluation.random_orders(asked, len(source.items), 0)
    free = len(asked.catalogue) - np.array(
        [len(np.intersect1d(asked.seen.row(n), asked.catalogue)) for n in range(len(asked.user))]
    )
    assert (
        np.mean(got["R@20"]) == pytest.approx(np.mean(20 / free), abs=0.05)
        and len(set(got["R@20"])) > 10
    )


def test_augment_is_tested_against_base_and_against_every_other_row(bench, config):
    noise, users = np.random.default_rng(0).normal(0, 0.01, (2, 60)), [f"u{n}" for n in range(60)]
    values = {
        "base": 0.2 + noise[0],
        "wo_user": 0.2 + noise[1],
        "mask": 0.5 + noise[0][::-1],
        "augment": 0.5 + noise[0],
    }
    inputs = {}
    for row, value in values.items():
        with bench.making(f"seed0/{row}/bias_mf") as out:
            made = [
                pd.DataFrame(
                    {"user_id": users, "setting": s} | dict.fromkeys(backbones.METRICS, value)
                )
                for s in backbones.SETTINGS
            ]
            pd.concat(made).to_parquet(out / "answers.parquet", index=False)
        inputs[f"fit/bias_mf/{row}/0"] = f"seed0/{row}/bias_mf"
    ctx = bench.context(**inputs)
    evaluation.evaluate(ctx, config.model_copy(update={"rows": tuple(values), "seeds": 1}))
    lines = json.loads((ctx.out / "metrics.json").read_text())["lines"]
    assert {line["row"] for line in lines if "p" in line} == {"wo_user", "mask", "augment"}
    assert {line["row"] for line in lines if "augment_p" in line} == {"wo_user", "mask"}
    got = ablation([line | {"title": "BiasMF"} for line in lines])
    assert [(part.setting, part.other) for part in got] == list(
        itertools.product(backbones.SETTINGS, ("w/o user profiles", "Mask"))
    )
    for part in got:
        differs = part.other != "Mask"
        assert [gain.significant for gain in part.gains] == [differs] * 4
        assert [gain.share for gain in part.gains] == pytest.approx(
            [1.5 if differs else 0] * 4, abs=0.05
        )
    assert not ablation(
        [line for line in lines if line["row"] != "augment" and "augment_p" not in line]
    )


def test_samples_stand_beside_the_prompts_that_were_put_whatever_the_wave_is_called(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 5)
    answer(bench, "users", ctx)
    done = {
        "completions/users-mask": Done(
            "completions/users-mask", "k", 1.0, False, {"prompts": "prompts/users"}
        )
    }
    places = {"completions/users-mask": "completions/users", "prompts/users": "prompts/users"}
    got = samples(lambda stage: bench.store.local(places[stage], bench.keys[places[stage]]), done)
    assert len(got) == 3 and all(
        s["id"].startswith("users-mask: train/") and form.IDENTITY in s["answer"] for s in got
    )


def test_over_smoothing_is_of_pairs_by_one_llm_whose_prompts_differ(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 20)
    asked = answer(bench, "sample", ctx)
    users = load_tables(bench.context()).users
    numbers = users.get_indexer(asked["prompt_id"].str.removeprefix("train/"))
    pairs = [(u, (u + 1) % len(users)) for u in numbers if (u + 1) % len(users) in numbers]
    same = pairs.pop()
    for n in same:
        asked.loc[numbers == n, "prompt"] = "the same"
    asked.to_parquet(
        bench.store.local("prompts/sample", bench.keys["prompts/sample"])
        / "prompts"
        / "all.parquet"
    )
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(len(numbers), 8)), np.ones((len(users), 8))
    for name, vectors in (("vectors/sample", before), ("vectors/users@train", after)):
        with bench.making(name) as out:
            save_file({"profiles": vectors.astype(np.float32)}, out / "vectors.safetensors")
            (out / "users.json").write_text(json.dumps(users[numbers].tolist()))
    ctx = bench.context(
        neighbours="neighbours",
        prompts="prompts/sample",
        before="vectors/sample",
        after="vectors/users@train",
    )
    got = profiles.smoothing(ctx, config)
    row = {u: before[n] / np.linalg.norm(before[n]) for n, u in enumerate(numbers)}
    assert got["rows"] == len(pairs) > 10
    assert got["before"]["with the nearest user"] == pytest.approx(
        np.mean([row[u] @ row[v] for u, v in pairs]), abs=1e-5
    )
    assert list(got["after"].values()) == pytest.approx([1, 1]), (
        "what the tuned LLM wrote is not compared with it"
    )
