"""The result tables: published values, means over seeds, gains, corrected tests."""

import csv

import pytest

from raypipe.backbones import registry
from raypipe.papers.llama4rec.report import published, result_rows
from raypipe.papers.llama4rec.report.result_tables import task_tables

from .conftest import result_rows as rows_of
from .conftest import thirds


def test_published_values():
    assert published.value("ML-100K", "light_gcn", "base", "H@3") == 0.0492
    assert published.value("ML-100K", "sasrec", "llama4rec", "N@5") == 0.0240
    assert published.value("ML-100K", "deepfm", "ift", "RMSE") == 1.2792
    assert published.value("ML-100K", "mf", "base", "H@3") == 0.0455
    assert published.value("ML-100K", "mix_gcf", "base", "N@5") == 0.0496
    assert published.value("", "light_gcn", "base", "H@3") is None
    printed = set()
    with open(published.FILE, newline="") as stream:
        for row in csv.DictReader(stream):
            if row["table"] in ("II", "IV", "V"):
                printed.add(row["backbone"])
    printed -= {"", "LLaMA"}
    known_titles = {
        registry.title(name) for task in registry.FOLDERS for name in registry.names(task)
    }
    assert len(printed) == 13
    assert printed <= known_titles, "each backbone of the paper has the same title in raypipe"


def test_results_average_over_seeds():
    measured = [
        {
            "task": "direct",
            "backbone": "light_gcn",
            "variant": "base",
            "metric": "H@3",
            "values": [0.1, 0.3],
            "n_users": 2,
        }
    ]
    (row,) = result_rows.results("d", "ML-100K", "all", measured)
    assert (row["mean"], row["values"]) == (pytest.approx(0.2), [0.1, 0.3])
    assert row["std"] == pytest.approx(0.2 / 2**0.5) and row["published"] == 0.0492


def test_tables_have_the_papers_layout_and_stars_mark_significant_gains():
    mf = rows_of("direct", "mf", "N@5", (0.2, 0.1, 0.3), p=0.01, base_p=0.01, oracle=0.8)
    for row in mf:
        row["tails"] = {
            "history": {
                "level": {"difference": 0.1, "p": 0.01},
                "gain": {"difference": -0.2, "p": 0.01},
            }
        }
    mf.insert(2, {**mf[0], "variant": "wo_pa", "mean": 0.35})
    light_gcn = rows_of("direct", "light_gcn", "N@5", (0.4, 0.1, 0.3), p=0.001, oracle=0.8)
    deepfm = rows_of("rating", "deepfm", "RMSE", (1.0, 1.2, 0.9), p=0.04)
    direct, rating = task_tables([*mf, *light_gcn, *deepfm])
    assert [table.backbone for table in direct.backbones] == ["MF", "LightGCN"]
    assert rating.metrics == ["RMSE"]
    first, second = direct.backbones
    (gain,) = first.over_better
    assert (gain.share, gain.p) == (pytest.approx(0.5), pytest.approx(0.02)), "Holm: 2 x 0.01"
    assert rating.backbones[0].over_better[0].share == pytest.approx(0.1), "a smaller error"
    llama4rec_cells = [table.lines[-1].cells[0] for table in (first, second, rating.backbones[0])]
    assert [cell.best for cell in llama4rec_cells] == [False, False, True]
    assert [cell.significant for cell in llama4rec_cells] == [True, False, True], (
        "a star compares with the baselines, not with an ablation"
    )
    assert direct.over("better").mean == pytest.approx((0.5 - 0.25) / 2)
    assert first.oracle == 0.8 and rating.backbones[0].oracle is None
    assert first.slices == {"history length": {"tail": (0.2, 0.3)}}
    expected = {}
    for name, difference in (("Base", 0.1), ("IFT", 0.1), ("Llama4Rec over Base", -0.2)):
        expected[name] = difference, pytest.approx(0.03)  # Holm: three times 0.01
    assert first.thirds == {"history length": expected} and second.thirds == {}
    assert direct.thirds_compared == list(expected)


def test_the_papers_claim_stands_beside_the_gain_over_its_own_baseline():
    rows = rows_of("direct", "mf", "N@5", (0.2, 0.25, 0.3), against="ift", p=0.2, base_p=0.01)
    rows += rows_of("rating", "deepfm", "RMSE", (1.0, 1.2, 0.9), p=0.04, base_p=0.04)
    direct, rating = task_tables(rows)
    assert direct.over("base").mean == pytest.approx(0.5)
    assert direct.over("better").mean == pytest.approx(0.2)
    assert (direct.over("base").claimed, direct.over("better").claimed) == (None, 0.1465)
    assert (rating.over("base").claimed, rating.over("better").claimed) == (0.0310, None)
    assert direct.over("base").better == 1 and direct.over("better").better == 0


def test_an_older_report_has_no_test_against_base_where_ift_is_better():
    rows = rows_of("direct", "mf", "N@5", (0.2, 0.25, 0.3), against="ift", p=0.2)
    (direct,) = task_tables(rows)
    assert not direct.over("base").tested and direct.over("better").tested
    (direct,) = task_tables(rows_of("direct", "mf", "N@5", (0.2, 0.1, 0.3), p=0.2))
    assert direct.over("base").tested, "the better baseline is Base"


def test_thirds_are_compared_only_where_the_report_has_tests():
    rows = rows_of("direct", "mf", "N@5", (0.2, 0.1, 0.3), p=0.01)
    rows[0]["tails"] = thirds(0.1, 0.5)
    (table,) = task_tables(rows)
    assert table.backbones[0].thirds == {"history length": {"Base": (0.1, 0.5)}}
