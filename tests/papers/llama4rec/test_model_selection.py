"""Weights and ranking modes are chosen on validation."""

import json

import numpy as np
import pytest

from raypipe.papers.llama4rec import (
    aggregation,
    learned_weight,
    model_selection,
    validation_case,
)
from raypipe.papers.llama4rec.config import load
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store


def rating_case(llm, backbone, truth, ell=None):
    n = len(truth)
    ell = np.zeros(n) if ell is None else ell
    return case(
        "pointwise", "all", llm, truth, "rating", backbone_output=np.array(backbone), ell=ell
    )


def listwise_case(scope, ranks, target=(1, 2), ranking="listwise"):
    """A case whose LLM gives each candidate a rank."""
    return case(ranking, scope, -np.array(ranks), target)


def case(ranking, scope, llm, target=(1, 2), task="direct", **overrides):
    """A case of model_selection.py; the backbone's utilities are -1 and -2."""
    n = len(target)
    values = {
        "ell": np.linspace(0.0, 1.0, n),
        "ell_range": (0.0, 1.0),
        "llm": np.asarray(llm, dtype=float),
        "backbone_output": np.tile([-1.0, -2.0], (n, 1)),
        "target": np.array(target),
    }
    return validation_case.Case(task, "b", ranking, scope, **values | overrides)


def test_quality_is_the_ndcg_of_the_mixed_list():
    found_targets = listwise_case("all", [[2, 1], [2, 1]])
    # targets at conventional 1 and 2; the LLM reverses both lists: ranks 2 and 1
    assert found_targets.quality(None) == pytest.approx((1 / np.log2(3) + 1) / 2)
    assert found_targets.quality(np.array([0.0, 1.0])) == pytest.approx(1.0)
    missed = listwise_case("all", [[1, 2], [1, 2]], target=(0, 1))
    assert missed.quality(None) == pytest.approx(0.5)


def test_quality_of_ratings_is_minus_rmse():
    rating = rating_case([4.0], [2.0], [3.0])
    assert rating.quality(np.array([0.5])) == 0.0 and rating.quality(None) == -1.0


def test_the_better_ranking_wins_on_the_compared_users():
    turned, kept = [[2, 1], [1, 2]], [[1, 2], [2, 1]]
    pointwise = listwise_case("compared", kept, ranking="pointwise")
    cases = [listwise_case("all", turned), listwise_case("compared", turned), pointwise]
    (chosen,) = model_selection.decide(cases, {})
    assert chosen["ranking"] == "pointwise" and chosen["compared"]["pointwise"] == 1.0
    cases = [listwise_case("all", kept), listwise_case("compared", kept), pointwise]
    (chosen,) = model_selection.decide(cases, {})
    assert chosen["ranking"] == "listwise", "equal values go to listwise"
    right, wrong = [1, 2], [2, 1]
    poor, better = [wrong, wrong, right, right], [right, right, wrong, right]
    first = (1, 1, 1, 1)
    cases = [
        listwise_case("all", poor, first),
        listwise_case("compared", poor, first),
        listwise_case("compared", better, first, "pointwise"),
    ]
    (chosen,) = model_selection.decide(cases, {})
    assert chosen["compared"]["pointwise"] > chosen["compared"]["listwise"]
    assert chosen["ranking"] == "listwise", "a lead within two standard errors is not enough"


def test_the_learned_weight_finds_the_users_for_whom_the_llm_is_right():
    rng = np.random.default_rng(0)
    n, k = 400, 6
    ell = np.linspace(0.0, 4.0, n)
    target = rng.integers(1, k + 1, n)
    right = np.eye(k)[target - 1] * 3 + rng.normal(size=(n, k))
    noise = rng.normal(size=(n, k))
    tail = (ell < 2)[:, None]
    llm, backbone = np.where(tail, right, noise), np.where(tail, noise, right)
    short_histories = case("listwise", "all", llm, target, ell=ell, backbone_output=backbone)
    everyone = [np.arange(n)]
    b = learned_weight.learn([short_histories], everyone)
    alpha = aggregation.learned_weight(ell, *b)
    assert b[1] < 0 and alpha[0] > 0.8 and alpha[-1] < 0.2
    uniform = [short_histories.quality(np.full(n, a)) for a in (0.0, 0.3, 0.5, 0.7, 1.0)]
    assert learned_weight.cross_fitted([short_histories]) > 1.05 * max(uniform)
    turned = case("listwise", "all", backbone, target, ell=ell, backbone_output=llm)
    assert learned_weight.learn([turned], everyone)[1] > 0
    rated = rating_case(np.full(n, 4.0), np.full(n, 2.0), np.where(ell < 2, 4.0, 2.0), ell)
    weight = aggregation.learned_weight(ell, *learned_weight.learn([rated], everyone))
    assert rated.quality(weight) > -0.6
    missed = case("listwise", "all", llm, np.zeros(n, int), ell=ell, backbone_output=backbone)
    nothing = learned_weight.learn([missed], everyone)
    assert nothing == pytest.approx((0.0, 0.0), abs=1e-2), (
        "without a found target there is nothing to learn"
    )


def test_between_equal_weights_the_smaller_is_chosen():
    single = listwise_case("all", [[1, 2], [1, 2]])
    points = [(0.1, 0.1, 0.4), (0.5, 0.3, 0.5), (0.5, 0.1, 0.5), (0.9, 0.1, 0.5)]
    grid = [model_selection._point(*point) for point in points]
    (chosen,) = model_selection.decide([single], {single.name: grid})
    assert (chosen["alpha_1"], chosen["alpha_2"], chosen["validation"]) == (0.5, 0.1, 0.5)


def test_one_weight_is_chosen_for_all_seeds_and_one_uniform_weight():
    turned, kept = [[2, 1], [2, 1]], [[1, 2], [1, 2]]
    cases = [
        listwise_case("all", turned, target=(2, 2)),
        listwise_case("all", kept, target=(2, 2)),
    ]  # two seeds
    (name,) = {seed_case.name for seed_case in cases}
    grid = []
    for alpha_1 in (0.1, 0.9):
        point = {"alpha_1": alpha_1, "alpha_2": 0.9}
        value = model_selection._evaluate_weights(point, cases)[name]
        grid.append(point | {"value": value})
    ndcg_at_second = 1 / np.log2(3)
    values = [point["value"] for point in grid]
    assert values == pytest.approx([ndcg_at_second, (1 + ndcg_at_second) / 2]), (
        "the mean over both seeds"
    )
    (chosen,) = model_selection.decide(cases, {name: grid}, (0.1, 0.3, 0.7, 0.9))
    assert (chosen["alpha_1"], chosen["uniform"]) == (0.9, 0.7), (
        "equal values go to the smaller weight"
    )


def test_pointwise_test_prompts_are_built_only_where_pointwise_was_chosen(tmp_path, monkeypatch):
    rendered = []
    really = model_selection.render_requests

    def render_requests(ctx, config, parts, requests):
        rendered.append(parts)
        # without parts nothing is started
        return {"rows": 7} if parts else really(ctx, config, parts, requests)

    monkeypatch.setattr(model_selection, "render_requests", render_requests)
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
    assert rendered == [[], [(0, "direct", "light_gcn")]]
