"""Measures of all variants, by hand-worked numbers."""

import numpy as np
import pandas as pd
import pytest

from raypipe.data.dataset import read, true_attributes
from raypipe.papers.llama4rec import (
    attribute_accuracy,
    evaluation,
)
from raypipe.papers.llama4rec.config import load
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store


def predictions(ranks):
    """Users a, b, ... with three items each; the target of user n stands at rank ranks[n]."""
    rows = [
        (u, str(r), r, str(rank))
        for u, rank in zip("abcdef", ranks, strict=False)
        for r in (1, 2, 3)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "target"])


def test_variants_are_measured_per_seed_slice_and_against_the_better_baseline():
    frames = {
        "base": [predictions([1, 2, 2, 3]), predictions([1, 2, 2, 3])],
        "ift": [predictions([3, 3, 3, 3]), predictions([3, 3, 3, 3])],
        "llama4rec": [predictions([1, 1, 2, 2]), predictions([1, 2, 1, 3])],
    }
    groups = {"history": np.array([0, 0, 2, 2])}
    rows = evaluation.measure("direct", "mf", frames, groups)
    row = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "N@3"))
    two, three = 1 / np.log2(3), 1 / 2
    assert row["values"] == pytest.approx([(2 + 2 * two) / 4, (2 + two + three) / 4])
    assert row["slices"]["history"] == {
        "tail": pytest.approx((1 + 1 + 1 + two) / 4),
        "head": pytest.approx((two + two + 1 + three) / 4),
    }
    gain = np.array(
        [0, (1 - two) / 2, (1 - two) / 2, (two - three) / 2]
    )  # over Base, each user's mean of both seeds
    assert row["against"] == "base" and row["effect"] == pytest.approx(
        gain.mean() / gain.std(ddof=1)
    )
    assert row["oracle"] == 1.0, "every user's target is among the three"
    ift = next(r for r in rows if (r["variant"], r["metric"]) == ("ift", "N@3"))
    assert "p" not in ift and ift["tails"]["history"]["level"] == {"difference": 0.0, "p": 1.0}, (
        "all targets have rank three"
    )
    tails = row["tails"]["history"]
    assert tails["level"]["difference"] == pytest.approx((3 + two - (1 + 2 * two + three)) / 4)
    assert (
        tails["gain"]["difference"] == pytest.approx((gain[0] + gain[1] - gain[2] - gain[3]) / 2)
        and 0 < tails["gain"]["p"] < 1
    )


def test_in_rating_a_smaller_error_is_a_gain():
    def predicted_ratings(*errors):
        return pd.DataFrame(
            {"user_id": list("ab"), "truth": 3.0, "prediction": 3.0 + np.array(errors)}
        )

    frames = {"base": [predicted_ratings(1.0, -1.0)], "llama4rec": [predicted_ratings(0.5, -0.2)]}
    rows = evaluation.measure("rating", "deepfm", frames, {"history": np.array([0, 2])})
    row = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "RMSE"))
    assert row["values"] == [pytest.approx((0.29 / 2) ** 0.5)] and row["effect"] > 0
    assert row["slices"]["history"] == {"tail": pytest.approx(0.5), "head": pytest.approx(0.2)}
    assert row["tails"] == {}, "one user in each third is too few"
    twice = {
        name: [pd.concat([frame, frame.assign(user_id=list("cd"))])]
        for name, (frame,) in frames.items()
    }
    rows = evaluation.measure("rating", "deepfm", twice, {"history": np.array([0, 2, 0, 2])})
    tails = next(r for r in rows if (r["variant"], r["metric"]) == ("llama4rec", "RMSE"))["tails"][
        "history"
    ]
    assert tails["level"]["difference"] == pytest.approx(0.3), "errors are larger in the tail"
    assert tails["gain"]["difference"] == pytest.approx(-0.3), "and the LLM lowers them less there"


def test_attributes_are_compared_with_the_truth_and_judged_by_another_llm(tmp_path):
    store, key = Store(str(tmp_path)), "k" * 64
    truth = true_attributes(load("toy").data)["director"]
    items = sorted(truth)[:4]
    wrong = next(v for v in truth.values() if v != truth[items[1]])
    with store.writing("augmentation", key, {}) as out:
        values = [truth[items[0]], wrong, "unknown", truth[items[3]]]
        pd.DataFrame({"item_id": items, "director": values}).to_parquet(out / "attributes.parquet")

    def context(*names):
        (tmp_path / "out").mkdir(exist_ok=True)
        return Context(
            store, "s", key, tmp_path / "out", "", {n.split("/")[0]: (n, key) for n in names}
        )

    (line,) = attribute_accuracy.attribute_accuracy(context("augmentation"), load("toy"))["lines"]
    assert line == {
        "attribute": "director",
        "drawn": 4,
        "not known": 1,
        "truth known": 3,
        "right": 2,
    }
    run = load("toy", {"judge": {"url": "http://127.0.0.1:9/v1", "model": "m"}})
    with store.writing("data", key, {}) as out:
        read(run.data).save(out)
    with store.writing("prompts/judge", key, {}) as out:
        sources = context("augmentation", "data")
        assert attribute_accuracy.judge_prompts(
            Context(store, "s", key, out, "", sources.inputs), run
        ) == {"rows": 3}
    with store.writing("completions/judge", key, {}) as out:
        answers = pd.DataFrame(
            {
                "prompt_id": [f"judge/director/{i}" for i in (items[0], items[1], items[3])],
                "answer": ["yes", "yes", "?"],
            }
        )
        answers.assign(logprobs=[[]] * 3).to_parquet(out / "completions.parquet")
    result = attribute_accuracy.attribute_accuracy(
        context("augmentation", "prompts/judge", "completions/judge"), run
    )
    (line,) = result["lines"]
    assert (line["judged correct"], line["judged not correct"], line["rejected"]) == (2, 0, 1)
    assert line["judge agrees with the truth"] == 1 and result["rejected"] == {"not_an_option": 1}
