"""The whole pipeline on small toy data with the real engines: DeepSpeed tunes, vLLM generates, Serve answers.

The second run is killed with SIGKILL three times (backbone training, LLM tuning, generation), stopped by Ctrl-C once, and
continued; its results must equal those of the undisturbed run.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.jobs import environment, finish, kill_when, serving
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


SETTINGS = [
    'data.options={"users": 60, "items": 72, "mean_length": 12}',
    'backbone_options={"light_gcn": {"epochs": 20}, "sasrec": {"epochs": 25, "patience": 25}, "deepfm": {"epochs": 5}}',
    'llm.embedded={"epochs": 3, "hidden_size": 32, "intermediate_size": 64, "heads": 1, "pieces": 400}',
    "llm.tune.instructions=150",
    "llm.tune.epochs=1",
    "llm.tune.zero_stage=3",
    f"llm.tune.workers={min(2, os.cpu_count() or 1)}",
    "checkpoint_seconds=0",
    "rerank.k_prime=10",
    "rerank.pointwise_users=20",
    "aggregation.alpha_1=[0.3, 0.7]",
    "aggregation.alpha_2=[0.1, 0.5]",
    'variants=["ift", "wo_aa"]',
]


def command(out):
    options = [part for s in SETTINGS for part in ("--set", s)]
    return [sys.executable, str(ROOT / "jobs" / "full_pipeline.py"), "--out", str(out), *options]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    return out, finish(out, out.parent / "undisturbed.log", command)


def test_report_follows_its_contract(undisturbed):
    _, report = undisturbed
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
    assert len(cells) == 4 * (4 + 4 + 2)
    llm = report["llm"]
    waves = {
        s["name"]: s["facts"] for s in report["stages"] if s["name"].startswith("completions/")
    }
    for name in ("ift", "llama4rec"):
        assert waves[f"completions/{name}"]["pieces"] > 1, (
            "answers are kept while others are still asked for"
        )
    assert (
        llm["engine"] == "vllm"
        and llm["rejected"] == {}
        and llm["prompts"] > 500
        and llm["tokens_in"] > 10_000
    )
    assert {a["task"] for a in report["aggregation"]} == {"direct", "sequential", "rating"}
    assert all(
        a["alpha_1"] in (0.3, 0.7) and a["alpha_2"] in (0.1, 0.5) for a in report["aggregation"]
    )


def test_metrics_are_those_of_the_predictions_by_a_naive_loop(undisturbed):
    out, report = undisturbed
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


def test_final_ranks_are_the_aggregation_of_both(undisturbed):
    out, report = undisturbed
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


def test_the_llm_was_tuned_by_deepspeed_on_two_workers(undisturbed):
    _, report = undisturbed
    tuned = next(s["facts"] for s in report["stages"] if s["name"] == "llm/augmented")
    assert tuned["zero_stage"] == 3 and tuned["workers"] == min(2, os.cpu_count() or 1)
    assert tuned["steps"] > 5 and np.isfinite(tuned["loss"])


def test_the_page_is_self_contained(undisturbed):
    page = (undisturbed[0] / "report.html").read_text()
    assert (
        "<svg" in page
        and "Llama4Rec" in page
        and 'src="http' not in page
        and 'href="http' not in page
    )


def test_the_same_command_again_runs_nothing(undisturbed):
    out, before = undisturbed
    after = finish(out, out.parent / "again.log", command)
    assert all(s["cached"] for s in after["stages"])
    assert after["results"] == before["results"]


def test_killed_and_continued_equals_undisturbed(undisturbed):
    out = undisturbed[0].parent / "killed"
    log = out.parent / "killed.log"
    log.write_text("")

    def scratch(stage, inside):
        return lambda: any((out / "scratch").glob(f"{stage}-*/{inside}"))

    kill_when(out, log, scratch("hint.sasrec", "latest"), "a checkpoint of a backbone", command)
    kill_when(
        out, log, scratch("llm.augmented", "checkpoint_*"), "a checkpoint of the LLM", command
    )
    ready = scratch("llm.plain", "checkpoint_*")
    assert (
        kill_when(out, log, ready, "a checkpoint of the other LLM", command, sent=signal.SIGINT)
        == 130
    )
    assert "Interrupted. Run the same command to resume." in log.read_text()
    kill_when(
        out,
        log,
        scratch("completions.llama4rec", "completions/[!r]*.parquet"),
        "an answer of the LLM",
        command,
    )
    report = finish(out, log, command)
    text = log.read_text()
    assert "continuing from a checkpoint" in text and "prompts were answered before" in text
    starts = [line for line in text.splitlines() if line.endswith("llm/base ...")]
    assert len(starts) == 1, "a finished stage is not run again"
    for ours, theirs in zip(report["results"], undisturbed[1]["results"], strict=True):
        assert ours["mean"] == pytest.approx(theirs["mean"], abs=1e-9), ours
    for file in (undisturbed[0] / "predictions").glob("*.parquet"):
        one, two = pd.read_parquet(file), pd.read_parquet(out / "predictions" / file.name)
        pd.testing.assert_frame_equal(one, two, rtol=1e-4)


def test_the_bundle_answers_over_http(undisturbed):
    serve_run = [str(Path(sys.executable).with_name("serve")), "run", "serve_app:app"]
    out = undisturbed[0]
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


def run_job(folder, *arguments):
    job = [
        sys.executable,
        str(ROOT / "jobs" / "full_pipeline.py"),
        "--out",
        str(folder / "run"),
        *arguments,
    ]
    return subprocess.run(
        job, cwd=folder, capture_output=True, text=True, env=environment(), timeout=1800
    )


def test_bad_data_and_impossible_resources_end_in_one_message(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n")
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\nu,a,3\nu,a,good\n")
    done = run_job(tmp_path, "--data", "folder", "--data-dir", str(tmp_path))
    assert done.returncode == 2 and "interactions.csv, line 3, column rating" in done.stderr
    assert "Traceback" not in done.stderr and "hint" not in done.stdout, (
        "refused before any training"
    )
    done = run_job(tmp_path, "--set", "llm.tune.workers=500")
    assert (
        done.returncode == 2
        and "500 workers do not fit" in done.stderr
        and "[ 1/" not in done.stdout
    )


def test_a_given_llm_with_two_workers_two_seeds_and_another_llm_to_compare(
    undisturbed, tmp_path, endpoint
):
    """A LLaMA-type folder from elsewhere takes the same path, with candidates answered by letter;
    two workers fit each backbone; two seeds share the LLM; another LLM ranks the first six
    candidates of some lists.
    """
    endpoint.answers["other"] = "F, E, D, C, B, A"
    rival = json.dumps(
        {"url": endpoint.url, "model": "other", "requests_per_minute": 6000, "dollars_in": 100_000}
    )
    llm = undisturbed[0] / "bundle" / "llm"
    own = ("llm.embedded", "llm.tune.zero_stage", "llm.tune.workers", "variants")
    settings = [part for s in SETTINGS if not s.startswith(own) for part in ("--set", s)]
    done = run_job(
        tmp_path,
        "--llm",
        str(llm),
        "--engine",
        "transformers",
        "--tasks",
        "sequential",
        "--set",
        "backbone_workers=2",
        *settings,
        "--seeds",
        "2",
        "--set",
        f"rival={rival}",
        "--set",
        "rival_tasks=5",
        "--set",
        "rival_k=6",
        "--set",
        'variants=["ift"]',
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["llm"]["engine"] == "transformers" and report["llm"]["rejected"] == {}
    lists = next((tmp_path / "run" / "stages").glob("seed0.base.sasrec-*")) / "lists.parquet"
    assert sorted(f.name for f in lists.iterdir()) == ["part-0.parquet", "part-1.parquet"]
    base = next(r for r in report["results"] if (r["variant"], r["metric"]) == ("base", "N@5"))
    assert base["n_users"] == len(pd.read_parquet(lists)) / 2
    prompts = pd.concat(
        pd.read_parquet(f)
        for f in (tmp_path / "run" / "stages").glob("prompts.llama4rec-*/prompts/*.parquet")
    )
    listwise = prompts[prompts["template"] == "listwise_logprobs"].iloc[0]
    assert set(prompts["seed"]) == {0, 1}
    (ours, alone), asked = report["rival"]["lines"], report["rival"]["rows"]
    assert 1 <= asked <= 5 and report["rival"]["dollars"] == pytest.approx(asked)
    assert all(
        line["wins"] + line["ties"] + line["losses"] == asked and not line["rejected"]
        for line in (ours, alone)
    )
    assert all(
        "Rank all candidates" in body["messages"][0]["content"] for _, body in endpoint.requests
    )
    rows = {(r["variant"], r["metric"]): r for r in report["results"]}
    assert list(dict.fromkeys(v for v, _ in rows)) == ["base", "ift", "llama4rec"]
    assert all(len(r["values"]) == 2 for r in rows.values())
    folder = tmp_path / "run" / "predictions"
    second = pd.read_parquet(folder / "seed1" / "sequential.sasrec.base.parquet")
    assert not second.equals(pd.read_parquet(folder / "sequential.sasrec.base.parquet"))
    assert (
        list(listwise["options"]) == [f" {c}" for c in "ABCDEFGHIJ"]
        and '(J) "' in listwise["prompt"]
    )
