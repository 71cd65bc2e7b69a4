"""Metrics, tests and slices by hand-worked numbers."""

import numpy as np
import pytest

from raypipe.evaluation import metrics, significance, slices


def test_ranking_metrics():
    rank = np.array([1, 2, 3, 4, 5, 6, 0])
    got = metrics.ranking(rank)
    assert got["H@3"].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert got["H@5"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert got["N@3"] == pytest.approx([1, 0.63093, 0.5, 0, 0, 0, 0], abs=1e-5)
    assert got["N@5"] == pytest.approx([1, 0.63093, 0.5, 0.43068, 0.38685, 0, 0], abs=1e-5)


def test_rating_metrics():
    got = metrics.rating(np.array([3.0, 5.0]), np.array([4.0, 2.0]))
    assert got == pytest.approx({"RMSE": 5**0.5, "MAE": 2.0})


def test_rank_of():
    assert metrics.rank_of(np.array(["b", "x"]), np.array([["a", "b"], ["a", "b"]])).tolist() == [2, 0]


def test_paired_test():
    # differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom -> p = 0.0742
    got = significance.paired(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert got == pytest.approx((2.0, 0.0742, 2.0, (1.95996 + 0.84162) / 3**0.5), abs=1e-4)
    assert significance.paired(np.ones(3), np.ones(3)) == (0.0, 1.0, 0.0, 0.0)


def test_holm():
    # sorted 0.01, 0.03, 0.04 -> 0.03, max(0.03, 0.06), max(0.06, 0.04)
    assert significance.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])


def test_slices_keep_equal_lengths_together():
    assert slices.thirds(np.array([1, 1, 1, 5, 5, 9])).tolist() == [0, 0, 0, 1, 1, 2]
