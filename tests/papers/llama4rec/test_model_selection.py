"""Weights and ranking modes are chosen on validation."""

import json

import numpy as np
import pytest

from raypipe.papers.llama4rec import (
    aggregation,
    learned_weight,
    model_selection,
)
from raypipe.papers.llama4rec.config import load
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store


def case(ranking, scope, llm, rec=(1, 2), task="direct"):
    return {
        "name": f"{task}.b.{ranking}.{scope}",
        "task": task,
        "backbone": "b",
        "ranking": ranking,
        "scope": scope,
        "at": np.array(rec),
        "llm": -np.array(llm),
        "rec": -np.array([[1, 2]] * len(rec)),
        "ell": np.linspace(0.0, 1.0, len(rec)),
        "range": (0.0, 1.0),
    }


def test_quality_is_ndcg_of_the_blend():
    one = case("listwise", "all", [[2, 1], [2, 1]])
    # targets at conventional 1 and 2; the LLM turns both lists round: ranks 2 and 1
    assert model_selection.quality(one, None) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert model_selection.quality(one, np.array([0.0, 1.0])) == pytest.approx(1.0)
    missed = case("listwise", "all", [[1, 2], [1, 2]], rec=(0, 1))
    assert model_selection.quality(missed, None) == pytest.approx(0.5)


def test_quality_of_ratings_is_minus_rmse():
    rating = {
        "task": "rating",
        "llm": np.array([4.0]),
        "rec": np.array([2.0]),
        "truth": np.array([3.0]),
    }
    assert model_selection.quality(rating, np.array([0.5])) == 0.0
    assert model_selection.quality(rating, None) == -1.0


def test_the_better_ranking_wins_on_the_compared_users():
    turned, kept = [[2, 1], [1, 2]], [[1, 2], [2, 1]]
    cases = [
        case("listwise", "all", turned),
        case("listwise", "compared", turned),
        case("pointwise", "compared", kept),
    ]
    (chosen,) = model_selection._decide(cases, {})
    assert chosen["ranking"] == "pointwise" and chosen["compared"]["pointwise"] == 1.0
    (chosen,) = model_selection._decide(
        [case("listwise", "all", kept), case("listwise", "compared", kept), cases[2]], {}
    )
    assert chosen["ranking"] == "listwise", "equal values go to listwise"
    one, two = [1, 2], [2, 1]
    cases = [
        case(*about, llm, rec=(1, 1, 1, 1))
        for about, llm in (
            (("listwise", "all"), [two, two, one, one]),
            (("listwise", "compared"), [two, two, one, one]),
            (("pointwise", "compared"), [one, one, two, one]),
        )
    ]
    (chosen,) = model_selection._decide(cases, {})
    assert (
        chosen["compared"]["pointwise"] > chosen["compared"]["listwise"]
        and chosen["ranking"] == "listwise"
    ), "not by chance"


def test_a_learnt_mixer_finds_out_for_whom_the_llm_is_right():
    rng = np.random.default_rng(0)
    n, k = 400, 6
    ell = np.linspace(0.0, 4.0, n)
    at = rng.integers(1, k + 1, n)
    right = np.eye(k)[at - 1] * 3 + rng.normal(size=(n, k))
    noise = rng.normal(size=(n, k))
    tail = (ell < 2)[:, None]
    one = {
        "task": "direct",
        "ell": ell,
        "at": at,
        "llm": np.where(tail, right, noise),
        "rec": np.where(tail, noise, right),
    }
    b = learned_weight.learn([one], [np.arange(n)])
    alpha = aggregation.learned_weight(ell, *b)
    assert b[1] < 0 and alpha[0] > 0.8 and alpha[-1] < 0.2
    held_out = learned_weight.cross_fitted([one], model_selection.quality)
    assert held_out > 1.05 * max(
        model_selection.quality(one, np.full(n, a)) for a in (0.0, 0.3, 0.5, 0.7, 1.0)
    )
    turned = one | {"llm": one["rec"], "rec": one["llm"]}
    assert learned_weight.learn([turned], [np.arange(n)])[1] > 0
    rated = {
        "task": "rating",
        "ell": ell,
        "llm": np.full(n, 4.0),
        "rec": np.full(n, 2.0),
        "truth": np.where(ell < 2, 4.0, 2.0),
    }
    assert (
        model_selection.quality(
            rated, aggregation.learned_weight(ell, *learned_weight.learn([rated], [np.arange(n)]))
        )
        > -0.6
    )
    missed = one | {"at": np.zeros(n, dtype=int)}
    assert learned_weight.learn([missed], [np.arange(n)]) == pytest.approx((0.0, 0.0), abs=1e-2), (
        "nothing to learn from"
    )


def test_equal_weights_go_to_the_smaller():
    one = case("listwise", "all", [[1, 2], [1, 2]])
    grid = [
        {"alpha_1": a, "alpha_2": b, "value": v}
        for a, b, v in [(0.1, 0.1, 0.4), (0.5, 0.3, 0.5), (0.5, 0.1, 0.5), (0.9, 0.1, 0.5)]
    ]
    (chosen,) = model_selection._decide([one], {one["name"]: grid})
    assert (chosen["alpha_1"], chosen["alpha_2"], chosen["validation"]) == (0.5, 0.1, 0.5)


def test_one_weight_serves_all_seeds_and_a_uniform_one_is_found_too():
    turned, kept = [[2, 1], [2, 1]], [[1, 2], [1, 2]]
    cases = [
        case("listwise", "all", turned, rec=(2, 2)),
        case("listwise", "all", kept, rec=(2, 2)),
    ]  # two seeds
    grid = [
        model_selection._evaluate_weights({"alpha_1": a, "alpha_2": 0.9}, cases)
        | {"alpha_1": a, "alpha_2": 0.9}
        for a in (0.1, 0.9)
    ]
    (name,) = {c["name"] for c in cases}
    two = 1 / np.log2(3)
    assert [g[name] for g in grid] == pytest.approx([two, (1 + two) / 2]), (
        "the mean over both seeds"
    )
    weights = {
        name: [{"alpha_1": g["alpha_1"], "alpha_2": g["alpha_2"], "value": g[name]} for g in grid]
    }
    (chosen,) = model_selection._decide(cases, weights, (0.1, 0.3, 0.7, 0.9))
    assert (chosen["alpha_1"], chosen["uniform"]) == (0.9, 0.7), (
        "equal values go to the smaller weight"
    )


def test_test_prompts_are_pointwise_only_where_that_was_chosen(tmp_path, monkeypatch):
    asked = []
    really = model_selection.prompts_of

    def prompts_of(ctx, config, parts, made):
        asked.append(parts)
        return {"rows": 7} if parts else really(ctx, config, parts, made)  # which starts nothing

    monkeypatch.setattr(model_selection, "prompts_of", prompts_of)
    config = load("toy")
    for ranking, rows in (("listwise", 0), ("pointwise", 7)):
        store, key = Store(str(tmp_path / ranking)), "k" * 64
        read = [
            {"task": "rating", "backbone": "deepfm", "ranking": "pointwise"},
            {"task": "direct", "backbone": "light_gcn", "ranking": ranking},
        ]
        with store.writing("chosen/ift", key, {}) as out:
            (out / "chosen.json").write_text(json.dumps(read))
        ctx = Context(
            store, "prompts/ift-pointwise", key, tmp_path, "", {"chosen": ("chosen/ift", key)}
        )
        assert model_selection.pointwise_test_prompts(ctx, config, False)["rows"] == rows
    assert asked == [[], [(0, "direct", "light_gcn")]]
