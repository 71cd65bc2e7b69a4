"""Tests of significance by hand-worked numbers."""

import numpy as np
import pytest
from scipy.stats import t

from raypipe.evaluation import significance


def test_paired_test():
    # differences 1, 2, 3: mean 2, standard deviation 1, t = 2 / (1 / sqrt 3) = 3.4641 with 2
    # degrees of freedom, so p = 0.0742
    result = significance.paired_test(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert result == pytest.approx((2.0, 0.0742, 2.0, (1.95996 + 0.84162) / 3**0.5), abs=1e-4)
    assert significance.paired_test(np.ones(3), np.ones(3)) == (0.0, 1.0, 0.0, 0.0)


def test_paired_test_over_users_and_seeds():
    # mean squares of seeds 13.5, users 6.5, rest 1.5; variance of the mean (13.5 + 6.5 - 1.5) / 6,
    # 1.6736 degrees of freedom
    result = significance.paired_test(
        np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]]), np.zeros((1, 3))
    )
    assert result == pytest.approx(
        (3.5, 2 * t.sf(3.5 / 1.755942, 1.6736), 3.5 / 3.25**0.5, 2.80158 * 1.755942), rel=1e-4
    )


def test_the_chance_of_a_few_seeds_is_not_called_significant():
    rng, significant = (
        np.random.default_rng(0),
        {"users": 0, "users and seeds": 0, "a true difference": 0},
    )
    for _ in range(300):
        fits, noise = rng.normal(0, 0.1, (5, 1)), rng.normal(0, 1, (5, 500))
        significant["users"] += (
            significance.paired_test((fits + noise).mean(0), np.zeros(500)).p < 0.05
        )
        significant["users and seeds"] += (
            significance.paired_test(fits + noise, np.zeros(500)).p < 0.05
        )
        significant["a true difference"] += (
            significance.paired_test(0.3 + fits + noise, np.zeros(500)).p < 0.05
        )
    assert (
        significant["users"] > 90
        and significant["users and seeds"] < 30
        and significant["a true difference"] > 250
    )


def test_group_test_compares_two_groups_of_users():
    # means 2 and 6 around the centre 4, variances 1 and 8; users count 5 / 3 and -5 / 2
    values, first, second = (
        np.array([1.0, 2, 3, 4, 8, 99]),
        np.array([1, 1, 1, 0, 0, 0], bool),
        np.array([0, 0, 0, 1, 1, 0], bool),
    )
    result = significance.group_test(values, first, second)
    shares = np.array([5 / 3, 5 / 3, 5 / 3, -5 / 2, -5 / 2]) * (values[:5] - 4)
    assert result.difference == pytest.approx(-4.0) and result.p == pytest.approx(
        significance.paired_test(shares, np.zeros(5)).p
    )
    assert result.effect == pytest.approx(-4 / ((1 + 8) / 2) ** 0.5)
    every_fit_is_lucky = np.tile(values, (2, 1)) + np.array([[0.0], [7.0]])
    assert significance.group_test(every_fit_is_lucky, first, second).difference == pytest.approx(
        -4.0
    )


def test_group_test_finds_true_differences_and_few_false_ones():
    rng, significant = (
        np.random.default_rng(0),
        {"nothing": 0, "unlike variances": 0, "seeds": 0, "a true difference": 0},
    )
    first, second = np.arange(300) < 80, np.arange(300) >= 200
    for _ in range(300):
        users, noise, fits = (
            rng.normal(0, 1, 300),
            rng.normal(0, 0.7, (5, 300)),
            rng.normal(0, 0.2, (5, 1)),
        )
        significant["nothing"] += (
            significance.group_test(3 + users + fits + noise, first, second).p < 0.05
        )
        significant["unlike variances"] += (
            significance.group_test((users + noise) * np.where(first, 2, 1), first, second).p < 0.05
        )
        significant["seeds"] += (
            significance.group_test(users + noise + fits * first, first, second).p < 0.05
        )
        significant["a true difference"] += (
            significance.group_test(users + noise + 0.7 * first, first, second).p < 0.05
        )
    assert (
        max(significant["nothing"], significant["unlike variances"], significant["seeds"]) < 30
        and significant["a true difference"] > 250
    )


def test_a_p_value_is_not_printed_as_zero():
    assert [significance.format_p(p) for p in (0.0004, 0.0123, 1.0)] == ["<0.001", "0.012", "1.000"]


def test_holm():
    # sorted 0.01, 0.03, 0.04 -> 0.03, max(0.03, 0.06), max(0.06, 0.04)
    assert significance.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
