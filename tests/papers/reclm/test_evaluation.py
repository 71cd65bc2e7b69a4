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


def test_random_orders_score_as_expected_by_chance(bench, config):
    tables = load_tables(bench.context())
    queries = tables.queries(TEST, "full-shot")
    result = evaluation.random_orders(queries, len(tables.items), 0)
    free = len(queries.catalogue) - np.array(
        [
            len(np.intersect1d(queries.seen.row(n), queries.catalogue))
            for n in range(len(queries.user))
        ]
    )
    assert (
        np.mean(result["R@20"]) == pytest.approx(np.mean(20 / free), abs=0.05)
        and len(set(result["R@20"])) > 10
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
            frames = [
                pd.DataFrame(
                    {"user_id": users, "setting": s} | dict.fromkeys(backbones.METRICS, value)
                )
                for s in backbones.SETTINGS
            ]
            pd.concat(frames).to_parquet(out / "answers.parquet", index=False)
        inputs[f"fit/bias_mf/{row}/0"] = f"seed0/{row}/bias_mf"
    ctx = bench.context(**inputs)
    evaluation.evaluate(ctx, config.model_copy(update={"rows": tuple(values), "seeds": 1}))
    lines = json.loads((ctx.out / "metrics.json").read_text())["lines"]
    assert {line["row"] for line in lines if "p" in line} == {"wo_user", "mask", "augment"}
    assert {line["row"] for line in lines if "augment_p" in line} == {"wo_user", "mask"}
    result = ablation([line | {"title": "BiasMF"} for line in lines])
    assert [(part.setting, part.other) for part in result] == list(
        itertools.product(backbones.SETTINGS, ("w/o user profiles", "Mask"))
    )
    for part in result:
        differs = part.other != "Mask"
        assert [gain.significant for gain in part.gains] == [differs] * 4
        assert [gain.share for gain in part.gains] == pytest.approx(
            [1.5 if differs else 0] * 4, abs=0.05
        )
    assert not ablation(
        [line for line in lines if line["row"] != "augment" and "augment_p" not in line]
    )


def test_samples_show_the_prompts_of_their_answers_in_a_wave_of_any_name(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 5)
    answer(bench, "users", ctx)
    done = {
        "completions/users-mask": Done(
            "completions/users-mask", "k", 1.0, False, {"prompts": "prompts/users"}
        )
    }
    artifacts = {"completions/users-mask": "completions/users", "prompts/users": "prompts/users"}
    result = samples(
        lambda stage: bench.store.local(artifacts[stage], bench.keys[artifacts[stage]]), done
    )
    assert len(result) == 3 and all(
        s["id"].startswith("users-mask: train/") and form.IDENTITY in s["answer"] for s in result
    )


def test_smoothing_compares_profiles_of_one_llm_with_different_prompts(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 20)
    prompts_table = answer(bench, "sample", ctx)
    users = load_tables(bench.context()).users
    numbers = users.get_indexer(prompts_table["user_id"])
    pairs = [(u, (u + 1) % len(users)) for u in numbers if (u + 1) % len(users) in numbers]
    same = pairs.pop()
    for n in same:
        prompts_table.loc[numbers == n, "prompt"] = "the same"
    prompts_table.to_parquet(
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
    result = profiles.smoothing(ctx, config)
    row = {u: before[n] / np.linalg.norm(before[n]) for n, u in enumerate(numbers)}
    assert result["rows"] == len(pairs) > 10
    assert result["before"]["with the nearest user"] == pytest.approx(
        np.mean([row[u] @ row[v] for u, v in pairs]), abs=1e-5
    )
    assert list(result["after"].values()) == pytest.approx([1, 1]), (
        "profiles of two LLMs are not compared"
    )
