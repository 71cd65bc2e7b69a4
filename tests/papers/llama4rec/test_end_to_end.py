"""The whole pipeline on small toy data: DeepSpeed tunes, two engines generate, Serve answers.

The run was killed in the training of a backbone and of an LLM, stopped by Ctrl-C in the training of
another, and continued. In a copy, what was struck runs again undisturbed. vLLM, killed on its way,
answers the prompts of one wave.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from raypipe.cli.main import main
from raypipe.papers.llama4rec.config import VARIANTS
from tests.papers.llama4rec.conftest import SETTINGS, STRUCK, command, written
from tests.support.jobs import finish, kill_when, serving, start
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def test_report_follows_its_contract(run):
    report = run.report
    assert report["schema"] == "raypipe-report/2"
    assert {"id", "commit", "config", "machine", "versions"} <= set(report["run"])
    assert all({"name", "seconds", "cached", "rows"} <= set(s) for s in report["stages"])
    keys = {
        "dataset",
        "protocol",
        "task",
        "backbone",
        "variant",
        "split",
        "metric",
        "mean",
        "std",
        "values",
        "n_users",
    }
    assert all(keys <= set(r) for r in report["results"])
    cells = {(r["task"], r["variant"], r["metric"]) for r in report["results"]}
    assert len(cells) == len(VARIANTS) * (4 + 4 + 2)
    llm = report["llm"]
    waves = {
        s["name"]: s["facts"] for s in report["stages"] if s["name"].startswith("completions/")
    }
    for name in ("ift", "llama4rec"):
        assert waves[f"completions/{name}"]["pieces"] > 1, (
            "answers are kept while others are still asked for"
        )
    assert (
        llm["engine"] == "transformers"
        and llm["rejected"] == {}
        and llm["prompts"] > 500
        and llm["tokens_in"] > 10_000
    )
    assert {a["task"] for a in report["aggregation"]} == {"direct", "sequential", "rating"}
    assert all(
        a["alpha_1"] in (0.3, 0.7) and a["alpha_2"] in (0.1, 0.5) for a in report["aggregation"]
    )


def test_metrics_are_those_of_the_predictions_by_a_naive_loop(run):
    out, report = run.out, run.report
    truth = {
        r.user_id: r.item_id for r in pd.read_parquet(out / "split" / "test.parquet").itertuples()
    }
    rated = {
        (r.user_id, r.item_id): r.rating
        for r in pd.read_parquet(out / "split" / "rating" / "test.parquet").itertuples()
    }
    seen = pd.concat(
        pd.read_parquet(out / "split" / f"{p}.parquet") for p in ("train", "validation")
    )
    known = set(zip(seen["user_id"], seen["item_id"], strict=True))
    for row in report["results"]:
        frame = pd.read_parquet(
            out / "predictions" / f"{row['task']}.{row['backbone']}.{row['variant']}.parquet"
        )
        if row["task"] == "rating":
            errors = [p.prediction - rated[p.user_id, p.item_id] for p in frame.itertuples()]
            value = (
                np.mean(np.square(errors)) ** 0.5
                if row["metric"] == "RMSE"
                else np.mean(np.abs(errors))
            )
        else:
            assert not known & set(zip(frame["user_id"], frame["item_id"], strict=True)), (
                "the history is never recommended"
            )
            k, total = int(row["metric"][-1]), 0.0
            for user, own in frame.groupby("user_id"):
                assert own["rank"].tolist() == list(range(1, 11))
                for p in own.itertuples():
                    if p.item_id == truth[user] and p.rank <= k:
                        total += 1.0 if row["metric"].startswith("H") else 1 / np.log2(p.rank + 1)
            value = total / frame["user_id"].nunique()
        assert value == pytest.approx(row["mean"], abs=1e-9), row


def test_final_ranks_are_the_aggregation_of_both(run):
    out, report = run.out, run.report
    frame = pd.read_parquet(out / "predictions" / "sequential.sasrec.llama4rec.parquet")
    weights = next(a for a in report["aggregation"] if a["task"] == "sequential")
    assert (
        frame["alpha"]
        .between(weights["alpha_1"] * weights["alpha_2"] - 1e-9, weights["alpha_1"] + 1e-9)
        .all()
    )
    for _, own in frame.groupby("user_id"):
        utility = own["alpha"] * own["llm"] + (1 - own["alpha"]) * own["rec"]
        assert utility.round(9).is_monotonic_decreasing and own[
            "score"
        ].to_numpy() == pytest.approx(utility.to_numpy(), abs=1e-9)
        assert own.sort_values("rank_rec")["rec"].is_monotonic_decreasing
        assert own.sort_values("rank_llm")["llm"].is_monotonic_decreasing
        assert sorted(own["rank_llm"]) == sorted(own["rank_rec"]) == list(range(1, 11))


def test_the_llm_was_tuned_by_deepspeed_on_two_workers(run):
    report = run.report
    tuned = next(s["facts"] for s in report["stages"] if s["name"] == "llm/augmented")
    assert tuned["zero_stage"] == 3 and tuned["workers"] == min(2, os.cpu_count() or 1)
    assert tuned["steps"] > 5 and np.isfinite(tuned["loss"])


def test_the_page_is_self_contained(run):
    page = (run.out / "report.html").read_text()
    assert (
        "<svg" in page
        and "Llama4Rec" in page
        and 'src="http' not in page
        and 'href="http' not in page
    )


@pytest.fixture(scope="module")
def copy(run):
    """A copy of the run that lacks the stages that were struck."""
    folder = run.out.parent / "copy"
    shutil.copytree(run.out, folder)
    for stage in STRUCK:
        (artifact,) = (folder / "stages").glob(f"{stage.replace('/', '.')}-*")
        shutil.rmtree(artifact)
    return folder


def test_a_killed_run_continues(run):
    assert run.log.count("continuing from a checkpoint") >= len(STRUCK)
    assert "Interrupted. Run the same command to resume." in run.log
    assert not re.search(r"worker \d+ failed", run.log), "a fault that a retry hides still counts"
    starts = [line for line in run.log.splitlines() if line.endswith("llm/base ...")]
    assert len(starts) == 1, "a finished stage is not run again"


def test_what_was_struck_equals_the_same_undisturbed_and_all_else_is_not_run_again(run, copy):
    again = finish(copy, copy.parent / "copy.log", command)
    assert {stage["name"] for stage in again["stages"] if not stage["cached"]} == set(STRUCK)
    assert again["results"] == run.report["results"]
    for stage in STRUCK:
        (artifact,) = (copy / "stages").glob(f"{stage.replace('/', '.')}-*")
        struck = run.out / "stages" / artifact.name
        weights = [load_file(next(f.rglob("model.safetensors"))) for f in (artifact, struck)]
        assert weights[0].keys() == weights[1].keys()
        for name, values in weights[0].items():
            assert torch.allclose(values, weights[1][name], atol=1e-5), (stage, name)
    (lists,) = (copy / "stages").glob("hint.sasrec-*/lists.parquet")
    struck_lists = run.out / lists.relative_to(copy)
    pd.testing.assert_frame_equal(pd.read_parquet(lists), pd.read_parquet(struck_lists), rtol=1e-4)


def test_vllm_killed_on_its_way_scores_as_the_other_engine_does(run):
    """One wave of prompts, whose answers the run already has from the engine `transformers`."""
    log = run.out.parent / "vllm.log"
    stage = "completions/augment_plain"
    artifact = f"completions.augment_plain-{'?' * 12}/completions.parquet"
    (theirs,) = (run.out / "stages").glob(artifact)

    def wave(out):
        job = [word.replace("name=transformers", "name=vllm") for word in command(out)]
        return [*job, "--only", stage]

    first_answers = written(run.out, stage, "completions/[!r]*.parquet")
    kill_when(run.out, log, first_answers, "an answer of vLLM", wave)
    assert start(run.out, log, wave).wait(timeout=250) == 0, log.read_text()[-4000:]
    assert re.search(r"[1-9][\d,]* of [\d,]+ prompts were answered before", log.read_text())
    (ours,) = set((run.out / "stages").glob(artifact)) - {theirs}
    answers = pd.read_parquet(ours).set_index("prompt_id")
    expected = pd.read_parquet(theirs).set_index("prompt_id")
    assert answers.index.equals(expected.index)
    logprobs = np.concatenate(answers["logprobs"].to_numpy())
    assert len(logprobs) > 100
    assert logprobs == pytest.approx(np.concatenate(expected["logprobs"].to_numpy()), abs=2e-3)


def test_the_bundle_answers_over_http(run):
    serve_run = [str(Path(sys.executable).with_name("serve")), "run", "serve_app:app"]
    out = run.out
    with serving(serve_run, 8000, out / "bundle", out.parent / "serve.log") as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/docs").status_code == 200
        got = client.post(
            "/recommend", json={"user_id": "u0003", "k": 5, "task": "sequential"}
        ).json()
        assert (
            [i["rank"] for i in got["items"]] == [1, 2, 3, 4, 5]
            and 0 < got["alpha"] < 1
            and got["llm_answered"]
        )
        assert all(
            1 <= i["rank_rec"] <= 10 and 1 <= i["rank_llm"] <= 10 and i["title"]
            for i in got["items"]
        )
        direct = client.post(
            "/recommend", json={"user_id": "u0003", "k": 20, "task": "direct"}
        ).json()
        assert len(direct["items"]) == 20 and direct["items"][15]["rank_llm"] is None
        new = client.post("/recommend", json={"history": ["m0000", "m0001"], "k": 3}).json()
        assert len(new["items"]) == 3 and not {"m0000", "m0001"} & {
            i["item_id"] for i in new["items"]
        }
        rate = client.post("/rate", json={"user_id": "u0003", "item_id": "m0004"}).json()
        assert rate["prediction"] == pytest.approx(
            rate["alpha"] * rate["llm"] + (1 - rate["alpha"]) * rate["rec"]
        )
        wrong = [
            ("/recommend", {"user_id": "nobody"}, 404, "nobody"),
            ("/recommend", {"user_id": "u0003", "k": 0}, 422, "k"),
            ("/recommend", {}, 400, "either user_id or history"),
            ("/recommend", {"history": []}, 400, "empty"),
            ("/recommend", {"history": ["m0000"], "task": "direct"}, 404, "direct"),
            ("/recommend", {"user": "u0003"}, 422, "user"),
            ("/rate", {"user_id": "u0003", "item_id": "m9"}, 404, "m9"),
        ]
        for path, body, code, word in wrong:
            answer = client.post(path, json=body)
            assert answer.status_code == code and word in answer.json()["error"], (
                body,
                answer.text,
            )
        broken = client.post(
            "/recommend", content="{", headers={"content-type": "application/json"}
        )
        assert broken.status_code == 422 and broken.json()["error"].startswith(
            "The request is malformed"
        )


def test_bad_data_and_impossible_resources_end_in_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\nu,a,3\nu,a,good\n")
    job = ["run", "llama4rec", "--out", str(tmp_path / "run")]
    assert main([*job, "--data", "folder", "--data-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "interactions.csv, line 3, column rating" in printed.err
    assert "Traceback" not in printed.err and "hint" not in printed.out, (
        "refused before any training"
    )
    assert main([*job, "--set", "llm.tune.workers=500"]) == 2
    printed = capsys.readouterr()
    assert "500 workers do not fit" in printed.err and "[ 1/" not in printed.out


def test_a_given_llm_with_two_workers_two_seeds_and_another_llm_to_compare(run, tmp_path, endpoint):
    """A LLaMA-type folder from elsewhere takes the same path, with candidates answered by letter;
    two workers fit each backbone; two seeds share the LLM; another LLM ranks the first six
    candidates of some lists.
    """
    endpoint.answers["other"] = "F, E, D, C, B, A"
    external_llm = {
        "url": endpoint.url,
        "model": "other",
        "requests_per_minute": 6000,
        "dollars_in": 100_000,
    }
    replaced = ("llm.embedded", "llm.tune.zero_stage", "llm.tune.workers", "variants")
    settings = [
        *(setting for setting in SETTINGS if not setting.startswith(replaced)),
        "backbone_workers=2",
        'variants=["ift"]',
        f"external_llm={json.dumps(external_llm)}",
        "external_llm_prompts=5",
        "external_llm_candidates=6",
    ]
    llm = str(run.out / "bundle" / "llm")

    def job(out):
        own = ("--llm", llm, "--tasks", "sequential", "--seeds", "2")
        options = [part for setting in settings for part in ("--set", setting)]
        script = str(ROOT / "jobs" / "full_pipeline.py")
        return [sys.executable, script, "--out", str(out), *own, *options]

    out = tmp_path / "run"
    report = finish(out, tmp_path / "run.log", job)
    assert report["llm"]["engine"] == "transformers" and report["llm"]["rejected"] == {}
    lists = next((out / "stages").glob("seed0.base.sasrec-*")) / "lists.parquet"
    assert sorted(f.name for f in lists.iterdir()) == ["part-0.parquet", "part-1.parquet"]
    base = next(r for r in report["results"] if (r["variant"], r["metric"]) == ("base", "N@5"))
    assert base["n_users"] == len(pd.read_parquet(lists)) / 2
    files = (out / "stages").glob("prompts.llama4rec-*/prompts/*.parquet")
    prompts = pd.concat(pd.read_parquet(file) for file in files)
    listwise = prompts[prompts["template"] == "listwise_logprobs"].iloc[0]
    assert set(prompts["seed"]) == {0, 1}
    comparison = report["external_llm"]
    assert 1 <= comparison["rows"] <= 5
    assert comparison["dollars"] == pytest.approx(comparison["rows"])
    for line in comparison["lines"]:
        assert line["wins"] + line["ties"] + line["losses"] == comparison["rows"]
        assert not line["rejected"]
    assert len(comparison["lines"]) == 2, "Llama4Rec, and its LLM alone"
    for _, body in endpoint.requests:
        assert "Rank all candidates" in body["messages"][0]["content"]
    rows = {(r["variant"], r["metric"]): r for r in report["results"]}
    assert list(dict.fromkeys(v for v, _ in rows)) == ["base", "ift", "llama4rec"]
    assert all(len(r["values"]) == 2 for r in rows.values())
    folder = out / "predictions"
    second = pd.read_parquet(folder / "seed1" / "sequential.sasrec.base.parquet")
    assert not second.equals(pd.read_parquet(folder / "sequential.sasrec.base.parquet"))
    assert list(listwise["options"]) == [f" {letter}" for letter in "ABCDEFGHIJ"]
    assert '(J) "' in listwise["prompt"]
