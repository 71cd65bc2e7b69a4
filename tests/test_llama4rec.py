"""From answers to ranks, choosing on validation, and the published values."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypipe.backbones import registry
from raypipe.papers.llama4rec import choose, ranks
from raypipe.reports import tables


def answered(*rows):
    return pd.DataFrame(rows, columns=["prompt_id", "answer", "logprobs", "options", "payload"])


def test_answers_become_values_and_rejections_are_counted():
    frame = answered(
        ("b/listwise/direct/test/u/1", "", [-2.0, -1.0], [" x", " y"], ["i1", "i2"]),
        ("b/pointwise/direct/test/u/1/7", "", [np.log(0.5), np.log(0.5)], [" 1", " 5"], ["1", "5"]),
        ("b/pointwise/rating/test/u/1", "", [0.0, -50.0], [" 1", " 5"], ["1", "5"]),
        ("b/listwise/direct/test/v", "", [], [" x", " y"], ["i1", "i2"]),
    )
    got, rejected = ranks.values(frame)
    assert rejected == {"no_answer": 1}
    assert got[["user_id", "item", "value"]].values.tolist() == [
        ["u/1", "i2", -1.0],
        ["u/1", "i1", -2.0],
        ["u/1", "7", pytest.approx(3.0)],
        ["u/1", "", pytest.approx(1.0)],
    ], "user ids may hold slashes"


def test_a_rejected_answer_keeps_the_conventional_order():
    lists = pd.DataFrame({"user_id": ["u", "v"], "items": [["a", "b", "c"], ["a", "b", "c"]]})
    said = pd.DataFrame({"user_id": ["u"] * 3, "item": ["c", "a", "b"], "value": [-1.0, -2.0, -2.0]})
    assert ranks.llm_ranks(lists, said, {"a": 0, "b": 1, "c": 2}, 3).tolist() == [[2, 3, 1], [1, 2, 3]]
    by_number = said.assign(item=["2", "0", "1"])
    assert ranks.llm_ranks(lists, by_number, {"a": 0, "b": 1, "c": 2}, 3).tolist() == [[2, 3, 1], [1, 2, 3]]


def case(ranking, scope, llm, rec=(1, 2), task="direct"):
    return {"name": f"{task}.b.{ranking}.{scope}", "task": task, "backbone": "b", "ranking": ranking, "scope": scope,
            "rec": np.array(rec), "llm": np.array(llm), "ell": np.array([0.0, 1.0]), "range": (0.0, 1.0)}  # fmt: skip


def test_quality_is_ndcg_of_the_blend():
    one = case("listwise", "all", [[2, 1], [2, 1]])
    # targets at conventional 1 and 2; the LLM turns both lists round: ranks 2 and 1
    assert choose.quality(one, None) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert choose.quality(one, np.array([0.0, 1.0])) == pytest.approx(1.0)
    missed = case("listwise", "all", [[1, 2], [1, 2]], rec=(0, 1))
    assert choose.quality(missed, None) == pytest.approx(0.5)


def test_quality_of_ratings_is_minus_rmse():
    rating = {"task": "rating", "llm": np.array([4.0]), "rec": np.array([2.0]), "truth": np.array([3.0])}
    assert choose.quality(rating, np.array([0.5])) == 0.0
    assert choose.quality(rating, None) == -1.0


def test_the_better_ranking_wins_on_the_compared_users():
    turned, kept = [[2, 1], [1, 2]], [[1, 2], [2, 1]]
    cases = [case("listwise", "all", turned), case("listwise", "compared", turned), case("pointwise", "compared", kept)]
    (chosen,) = choose._decide(cases, {})
    assert chosen["ranking"] == "pointwise" and chosen["compared"]["pointwise"] == 1.0
    (chosen,) = choose._decide([case("listwise", "all", kept), case("listwise", "compared", kept), cases[2]], {})
    assert chosen["ranking"] == "listwise", "equal values go to listwise"


def test_equal_weights_go_to_the_smaller():
    one = case("listwise", "all", [[1, 2], [1, 2]])
    grid = [
        {"alpha_1": a, "alpha_2": b, "value": v} for a, b, v in [(0.1, 0.1, 0.4), (0.5, 0.3, 0.5), (0.5, 0.1, 0.5), (0.9, 0.1, 0.5)]
    ]
    (chosen,) = choose._decide([one], {one["name"]: grid})
    assert (chosen["alpha_1"], chosen["alpha_2"], chosen["validation"]) == (0.5, 0.1, 0.5)


def test_published_values():
    assert tables.published("ML-100K", "light_gcn", "base", "H@3") == 0.0492
    assert tables.published("ML-100K", "sasrec", "llama4rec", "N@5") == 0.0240
    assert tables.published("ML-100K", "deepfm", "ift", "RMSE") == 1.2792
    assert tables.published("ML-100K", "mf", "base", "H@3") == 0.0455
    assert tables.published("ML-100K", "mix_gcf", "base", "N@5") == 0.0496
    assert tables.published("", "light_gcn", "base", "H@3") is None
    with open(Path(tables.__file__).parent / "published.csv", newline="") as stream:
        printed = {r["backbone"] for r in csv.DictReader(stream) if r["table"] in ("II", "IV", "V")} - {"", "LLaMA"}
    ours = {registry.title(name) for task in registry.FOLDERS for name in registry.names(task)}
    assert len(printed) == 13 and printed <= ours, "every backbone of the paper is found under the paper's name"


def test_results_average_over_seeds():
    def row(value):
        return {"task": "direct", "backbone": "mf", "variant": "base", "metric": "H@3", "value": value, "n_users": 2,
                "slices": {"tail": value}}  # fmt: skip

    (got,) = tables.results("d", "", "all", [[row(0.1)], [row(0.3)]])
    assert (got["mean"], got["values"]) == (pytest.approx(0.2), [0.1, 0.3])
    assert got["std"] == pytest.approx(0.2 / 2**0.5) and got["slices"]["tail"] == pytest.approx(0.2)
