"""Metrics by hand-worked numbers."""

import numpy as np
import pytest

from raypipe.evaluation import metrics


def test_ranking_metrics():
    rank = np.array([1, 2, 3, 4, 5, 6, 0])
    values = metrics.ranking(rank)
    assert values["H@3"].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert values["H@5"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert values["N@3"] == pytest.approx([1, 0.63093, 0.5, 0, 0, 0, 0], abs=1e-5)
    assert values["N@5"] == pytest.approx([1, 0.63093, 0.5, 0.43068, 0.38685, 0, 0], abs=1e-5)


def test_rating_metrics():
    values = metrics.rating(np.array([3.0, 5.0]), np.array([4.0, 2.0]))
    assert values == pytest.approx({"RMSE": 5**0.5, "MAE": 2.0})


def test_rank_of():
    assert metrics.target_ranks(
        np.array(["b", "x"]), np.array([["a", "b"], ["a", "b"]])
    ).tolist() == [
        2,
        0,
    ]
