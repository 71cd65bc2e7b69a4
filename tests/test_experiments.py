"""Experiments as lists of runs, what runs share, and two runs beside each other."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypipe.backbones import registry
from raypipe.errors import ArtifactError, ConfigError
from raypipe.papers.llama4rec.config import load
from raypipe.papers.llama4rec.report import compare, reproduce, result_tables
from raypipe.papers.llama4rec.reproduce import EXPERIMENTS, HINTS, able, settings, without_others
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.runner import Runner
from raypipe.pipeline.store import Store

ROOT = Path(__file__).parents[1]
RUNS = [(name, run) for name, e in EXPERIMENTS.items() for run in e.runs]


def planned(run, folder, **given):
    base = load("toy", {"seeds": 2, **given})
    return Runner(
        plan(load("toy", {"seeds": 2, **given, **settings(run, base)})), Store(str(folder))
    )


def test_what_an_experiment_needs_is_asked_for():
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    assert (
        able("table2", load("toy"))
        and not able("figure7", load("toy"))
        and able("figure7", load("toy", {"rival": endpoint}))
    )
    both = load("toy", {"rival": endpoint, "judge": endpoint})
    names = [s.name for s in Runner(plan(both), Store("unused")).stages]
    assert names[-6:] == [
        "prompts/rival",
        "completions/rival",
        "rival",
        "prompts/judge",
        "completions/judge",
        "judged",
    ]
    with pytest.raises(ConfigError, match="a rival ranks lists"):
        plan(load("toy", {"rival": endpoint, "tasks": ["rating"]}))


def test_other_llms_are_asked_by_the_experiments_that_show_them():
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    given = load("toy", {"rival": endpoint, "judge": endpoint})
    asked = {
        name: {k for k in ("rival", "judge") if getattr(without_others(name, given), k)}
        for name in EXPERIMENTS
    }
    assert asked == {
        name: {"figure7": {"rival"}, "figure8": {"judge"}}.get(name, set()) for name in EXPERIMENTS
    }


@pytest.mark.parametrize("name,run", RUNS, ids=[f"{n}-{r.label}" for n, r in RUNS])
def test_every_run_can_be_planned(name, run, tmp_path):
    stages = [s.name for s in planned(run, tmp_path).stages]
    assert {"llm/augmented", "evaluate", "bundle"} <= set(stages)
    if name.startswith("table"):
        (task,) = run.settings["tasks"]
        shown = {n for n in registry.names(task) if f"seed1/augmented_plain/{n}" in stages}
        assert shown == set(run.settings["backbones"][task])
        ours = {registry.title(n) for n in shown}
        assert all(
            result_tables.published(
                "ML-100K", n, "llama4rec", "RMSE" if task == "rating" else "H@3"
            )
            for n in shown
        ), ours


def test_tables_share_one_llm_and_figures_of_the_llm_do_not(tmp_path):
    keys = {(n, r.label): planned(r, tmp_path).keys for n, r in RUNS}
    table2, table4, table6 = keys["table2", ""], keys["table4", ""], keys["table6", ""]
    assert {f"hint/{n}" for own in HINTS.values() for n in own} <= set(table2)
    for stage in ("llm/base", "llm/plain", "llm/augmented"):
        assert len({keys[n, ""][stage] for n in ("table2", "table4", "table5", "table6")}) == 1, (
            stage
        )
    assert table2["seed1/augmented/light_gcn"] == table6["seed1/augmented/light_gcn"]
    assert table2["completions/ift"] != table4["completions/ift"]
    small, large = keys["figure5", "smaller"], keys["figure5", "larger"]
    assert small["llm/augmented"] == table2["llm/augmented"] != large["llm/augmented"]
    assert small["seed1/base/sasrec"] == large["seed1/base/sasrec"]
    few, all_ = keys["figure6", "10-percent"], keys["figure6", "100-percent"]
    assert (
        few["llm/base"] == all_["llm/base"]
        and few["llm/augmented"] != all_["llm/augmented"] == table2["llm/augmented"]
    )


def test_how_candidates_are_asked_about_does_not_tune_the_llm_anew(tmp_path):
    default, other, longer = (
        Runner(plan(load("toy", {"variants": ["wo_pa"], **made})), Store(str(tmp_path))).keys
        for made in ({}, {"rerank.pointwise": False}, {"rerank.k_prime": 30})
    )
    for stage in ("llm/plain", "llm/augmented", "prompts/augment", "completions/augment"):
        assert default[stage] == other[stage], stage
    assert default["prompts/llama4rec"] != other["prompts/llama4rec"]
    assert default["llm/plain"] != longer["llm/plain"], (
        "an instruction names as many candidates as a question"
    )


def test_datasets_share_one_llm_that_learns_from_all_of_them(tmp_path):
    sources = [{"data": {"name": "toy"}}, {"data": {"name": "folder", "dir": str(tmp_path)}}]
    keys = [
        Runner(plan(load("toy", {**data, "llm.tune.sources": sources})), Store(str(tmp_path))).keys
        for data in ({"data.name": "toy"}, {"data.name": "folder", "data.dir": str(tmp_path)})
    ]
    assert (
        keys[0]["llm/augmented"] == keys[1]["llm/augmented"] and keys[0]["data"] != keys[1]["data"]
    )
    assert keys[0]["toy/hint/sasrec"] == keys[1]["toy/hint/sasrec"] and "hint/sasrec" not in keys[0]
    stages = {s.name: s for s in plan(load("toy", {"llm.tune.sources": sources}))}
    assert {"toy/instructions/plain", "folder/instructions/plain", "llm/base"} == set(
        stages["llm/plain"].inputs.values()
    )
    assert {"toy/data", "toy/split", "folder/data", "folder/split"} == set(
        stages["llm/base"].inputs.values()
    )
    with pytest.raises(ConfigError, match="named twice"):
        plan(load("toy", {"llm.tune.sources": sources[:1] * 2}))


def test_a_given_llm_cannot_be_scaled():
    larger = EXPERIMENTS["figure5"].runs[1]
    with pytest.raises(ConfigError, match="the size it has"):
        settings(larger, load("toy", {"llm.source": "some/model"}))


def test_an_llm_that_is_not_tuned_for_a_task_is_refused():
    with pytest.raises(ConfigError, match="not tuned for rating"):
        plan(load("toy", {"llm.tune.backbones": {"direct": ["mf"], "sequential": ["sasrec"]}}))


def test_the_job_plans_narrows_and_refuses(tmp_path):
    def job(*arguments):
        command = [sys.executable, str(ROOT / "jobs" / "experiment.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    done = job("table4", "--dry-run", "--backbones", "sasrec", "--variants", "ift", "--seeds", "1")
    assert done.returncode == 0 and "0 of 27 stages done" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()
    refused = job("table4", "--backbones", "mf")
    assert refused.returncode == 2 and "choose among sasrec, bert4rec, cl4srec" in refused.stderr
    (tmp_path / "own").mkdir()
    both = job(
        "table4",
        "--dry-run",
        "--data",
        "toy,folder",
        "--data-dir",
        ",own",
        "--variants",
        "ift",
        "--seeds",
        "1",
    )
    assert (
        both.returncode == 0 and "table4/toy" in both.stdout and "table4/folder" in both.stdout
    ), both.stdout + both.stderr
    other = '{"url": "http://127.0.0.1:9/v1", "model": "m"}'
    every = job(
        "all",
        "--dry-run",
        "--variants",
        "ift",
        "--seeds",
        "1",
        "--set",
        f"rival={other}",
        "--set",
        f"judge={other}",
    )
    assert every.returncode == 0 and all(name in every.stdout for name in EXPERIMENTS), (
        every.stdout + every.stderr
    )
    some = job("all", "--dry-run", "--backbones", "mf,cl4srec", "--seeds", "1")
    assert some.returncode == 0 and "table2" in some.stdout and "table4" in some.stdout, (
        some.stdout + some.stderr
    )
    assert (
        "table5 is left out (--backbones, --tasks; to show it, choose among deepfm" in some.stdout
    )
    assert "figure7 is left out (rival; to show it, give an endpoint" in some.stdout
    refused = job("table4", "--data", "toy,folder", "--data-dir", "own")
    assert refused.returncode == 2 and "1 folders for 2 datasets" in refused.stderr


def run_folder(folder, ranks_by_seed, **changed):
    """A published run of one backbone whose targets stand at the given ranks."""
    rows, values = [], []
    for seed, ranks in enumerate(ranks_by_seed):
        place = folder / "predictions" / ("" if seed == 0 else f"seed{seed}")
        place.mkdir(parents=True)
        frame = pd.DataFrame(
            [
                (f"u{n:02d}", str(r), r, str(rank))
                for n, rank in enumerate(ranks)
                for r in (1, 2, 3)
            ],
            columns=["user_id", "item_id", "rank", "target"],
        )
        frame.to_parquet(place / "direct.mf.base.parquet")
        values.append(float(np.mean([1 / np.log2(r + 1) for r in ranks])))
    rows.append(
        {
            "task": "direct",
            "backbone": "mf",
            "variant": "base",
            "metric": "N@3",
            "mean": np.mean(values),
            "values": values,
        }
    )
    run = {
        "commit": "abc",
        "seeds": len(ranks_by_seed),
        "config": {"seed": 0, "mf": {"reg": 0.1, **changed}},
    }
    run |= {"dataset": "toy", "protocol": "all", "finished": ""}
    (folder / "report.json").write_text(
        json.dumps({"schema": "raypipe-report/2", "run": run, "results": rows})
    )
    return folder


def test_two_runs_are_compared_over_the_users_of_both(tmp_path):
    worse = [[3, 3, 2, 3, 2, 3, 2, 3, 3, 3, 2, 3], [2, 3, 3, 3, 2, 3, 2, 2, 3, 3, 2, 3]]
    better = [
        [1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1],
        [1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1],
    ]  # one user fewer
    one, two = run_folder(tmp_path / "one", worse), run_folder(tmp_path / "two", better, reg=0.2)
    changed, (row,) = compare.compare(one, two)
    assert changed == [("mf.reg", 0.1, 0.2)]
    gains = [
        [1 / np.log2(b + 1) - 1 / np.log2(a + 1) for a, b in zip(x, y, strict=False)]
        for x, y in zip(worse, better, strict=True)
    ]
    assert row["users"] == 11 and row["p"] < 1e-3
    change = compare.values(two, compare.load(two), row["key"]) - compare.values(
        one, compare.load(one), row["key"]
    )
    assert np.allclose(change.dropna().to_numpy().T, gains)
    said = compare.text("one", "two", changed, [row])
    assert (
        "mf.reg: 0.1 -> 0.2" in said
        and "B is better" in said
        and "11 users in both, 2 seeds of each" in said
    )
    (fewer,) = compare.compare(one, run_folder(tmp_path / "three", worse[:1]))[1]
    assert fewer["seeds"] == 1 and fewer["one"] == fewer["two"] != row["one"], (
        "means over the seeds that are tested"
    )
    with pytest.raises(ArtifactError, match="no report"):
        compare.compare(one, tmp_path)


def test_a_figure_over_runs_is_a_page_with_a_line_for_each_variant(tmp_path):
    for label, ranks in (("small", [[3, 3]]), ("large", [[1, 2]])):
        run_folder(tmp_path / "figure5" / label, ranks)
    reproduce._publish(Store(str(tmp_path)), "figure5", "Figure 5", ["small", "large"])
    page = (tmp_path / "figure5" / "report.html").read_text()
    assert "<svg" in page and "0.5000" in page and 'href="large/report.html"' in page
    assert compare.curve({"a": compare.load(tmp_path / "figure5" / "small")}, "N@3") == {
        "MF, Base": [pytest.approx(0.5)]
    }


def test_one_page_shows_what_all_experiments_gained(tmp_path):
    def row(variant, mean, **more):
        return {
            "task": "direct",
            "backbone": "mf",
            "variant": variant,
            "metric": "N@5",
            "mean": mean,
            "std": 0.0,
            "values": [mean],
            "n_users": 9,
            "published": None,
            "slices": {"history": {"tail": mean}},
            **more,
        }

    results = [
        row("base", 0.2),
        row("llama4rec", 0.3, against="base", p=0.01, effect=1.0, detectable=0.1, oracle=0.6),
    ]
    run = {
        "dataset": "d",
        "protocol": "all",
        "seeds": 1,
        "commit": "c",
        "finished": "now",
        "config": {"seed": 0},
    }
    for place in ("table2", "figure5/smaller"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "report.json").write_text(
            json.dumps({"schema": "raypipe-report/2", "run": run, "results": results})
        )
    line = reproduce._publish_overview(
        Store(str(tmp_path)), [("table2", "Table II", ""), ("figure5", "Figure 5", "smaller")]
    )
    assert line.endswith(f"{tmp_path}/experiments.html")
    page = (tmp_path / "experiments.html").read_text()
    assert (
        '<a href="table2/report.html">Table II</a>' in page
        and '<a href="figure5/smaller/report.html">Figure 5, smaller</a>' in page
    )
    assert page.count("+50.0&nbsp;%") == 4 and "<td>0.010</td>" in page and "+14.65&nbsp;%" in page
    assert "<h1>d: all experiments</h1>" in page and "protocol <b>all</b>" in page
    (tmp_path / "table2" / "e").mkdir()
    other = {**run, "dataset": "e", "protocol": "liked"}
    (tmp_path / "table2" / "e" / "report.json").write_text(
        json.dumps({"schema": "raypipe-report/2", "run": other, "results": results})
    )
    reproduce._publish_overview(
        Store(str(tmp_path)), [("table2", "Table II", ""), ("table2/e", "Table II", "")]
    )
    page = (tmp_path / "experiments.html").read_text()
    assert (
        "<h1>d, e: all experiments</h1>" in page
        and "</a> d (all)</td>" in page
        and "</a> e (liked)</td>" in page
    )
