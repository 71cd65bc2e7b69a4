"""Two runs beside each other, and pages over several runs."""

import json

import numpy as np
import pandas as pd
import pytest

from raypipe.errors import ArtifactError
from raypipe.papers.llama4rec.report import compare, reproduce
from raypipe.pipeline.store import Store


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
    first, second = (
        run_folder(tmp_path / "one", worse),
        run_folder(tmp_path / "two", better, reg=0.2),
    )
    changed, (row,) = compare.compare(first, second)
    assert changed == [("mf.reg", 0.1, 0.2)]
    gains = [
        [1 / np.log2(b + 1) - 1 / np.log2(a + 1) for a, b in zip(x, y, strict=False)]
        for x, y in zip(worse, better, strict=True)
    ]
    assert row.users == 11 and row.p < 1e-3
    change = compare.values(second, compare.load(second), row.key) - compare.values(
        first, compare.load(first), row.key
    )
    assert np.allclose(change.dropna().to_numpy().T, gains)
    printed = compare.text("one", "two", changed, [row])
    assert (
        "mf.reg: 0.1 -> 0.2" in printed
        and "B is better" in printed
        and "11 users in both, 2 seeds of each" in printed
    )
    (fewer,) = compare.compare(first, run_folder(tmp_path / "three", worse[:1]))[1]
    assert fewer.seeds == 1 and fewer.first == fewer.second != row.first, (
        "means over the seeds that are tested"
    )
    with pytest.raises(ArtifactError, match="no report"):
        compare.compare(first, tmp_path)


def test_a_figure_over_runs_is_a_page_with_a_line_for_each_variant(tmp_path):
    for label, ranks in (("small", [[3, 3]]), ("large", [[1, 2]])):
        run_folder(tmp_path / "figure5" / label, ranks)
    reproduce._publish(Store(str(tmp_path)), "figure5", "Figure 5", ["small", "large"])
    page = (tmp_path / "figure5" / "report.html").read_text()
    assert "<svg" in page and "0.5000" in page and 'href="large/report.html"' in page
    assert compare.curve({"a": compare.load(tmp_path / "figure5" / "small")}, "N@3") == {
        "MF, Base": [pytest.approx(0.5)]
    }


def test_one_page_shows_the_gains_of_all_experiments(tmp_path):
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
    assert page.count("+50.0%") == 8 and "<td>0.010</td>" in page and "+14.65%" in page
    assert "<h1>d: all experiments</h1>" in page and "protocol all" in page
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


def test_equal_runs_and_reports_of_another_format_get_a_message(tmp_path):
    ranks = [[1, 2, 3]]
    first, second = run_folder(tmp_path / "one", ranks), run_folder(tmp_path / "two", ranks)
    text = compare.text("one", "two", *compare.compare(first, second))
    assert "The runs have equal values (1 result compared)." in text
    assert "Both runs have the same settings and commit." in text
    (second / "report.json").write_text(json.dumps({"schema": "raypipe-reclm/1"}))
    with pytest.raises(ArtifactError, match="has the format raypipe-reclm/1"):
        compare.compare(first, second)
