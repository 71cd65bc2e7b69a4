"""Eq. 3 to 6 by hand-worked numbers."""

import numpy as np
import pytest
import torch

from raypipe.backbones.scoring import similar_users
from raypipe.papers.llama4rec import aggregation


def test_similar_user_by_cosine():
    # cosines of user 0: with 1 (2,2)/sqrt 8 -> 0.7071; with 2 (3,1)/sqrt 10 -> 0.9487; with 3 -> -1
    users = torch.tensor([[1.0, 0.0], [2.0, 2.0], [3.0, 1.0], [-5.0, 0.0]])
    nearest = similar_users(users)
    assert nearest[0] == 2
    # user 1: with 0 0.7071, with 2 8 / (sqrt 8 sqrt 10) = 0.8944
    assert nearest[1] == 2
    assert similar_users(users, chunk=1).tolist() == nearest.tolist()


def test_long_tail_coefficient():
    assert aggregation.long_tail_coefficient(np.array([0, 1, 9])) == pytest.approx(
        [0.0, 0.693147, 2.302585], abs=1e-6
    )


def test_weight_falls_with_activity_and_has_a_floor():
    ell = np.log(np.array([2.0, 4.0, 8.0]))  # (log 8 - ell) / (log 8 - log 2) = 1, 1/2, 0
    assert aggregation.llm_weight(ell, ell[0], ell[2], 0.5, 0.3) == pytest.approx([0.5, 0.25, 0.15])


def test_with_equal_users_the_weight_is_the_floor():
    assert aggregation.llm_weight(np.ones(2), 1.0, 1.0, 0.5, 0.3) == pytest.approx([0.15, 0.15])


def test_weight_of_a_user_outside_the_range_is_clipped():
    assert aggregation.llm_weight(np.array([0.0, 9.0]), 1.0, 2.0, 0.9, 0.1) == pytest.approx(
        [0.9, 0.09]
    )


def test_ratings_are_interpolated():
    assert aggregation.blend_ratings(
        np.array([5.0]), np.array([3.0]), np.array([0.25])
    ) == pytest.approx([3.5])


def test_positions_keep_the_conventional_order_among_equals():
    assert aggregation.positions(np.array([[0.1, 0.7, 0.7, -1.0]])).tolist() == [[3, 1, 2, 4]]


def test_lists_are_mixed_by_position():
    # utilities at alpha = 0.6 of items at conventional 1, 2, 3 and LLM 3, 1, 2:
    # -(0.6*3 + 0.4*1) = -2.2, -(0.6*1 + 0.4*2) = -1.4, -(0.6*2 + 0.4*3) = -2.4
    utilities = aggregation.mixed(-np.array([[3, 1, 2]]), -np.array([[1, 2, 3]]), np.array([0.6]))
    assert utilities.tolist() == [[-2.2, -1.4, -2.4]] and aggregation.positions(
        utilities
    ).tolist() == [[2, 1, 3]]
    assert aggregation.by_position(np.array([[0.2, 0.9, 0.5]])).tolist() == [[-3.0, -1.0, -2.0]]


def test_equal_utilities_keep_the_conventional_order():
    # at alpha = 0.5 and LLM 2, 1: both -1.5
    utilities = aggregation.mixed(-np.array([[2, 1]]), -np.array([[1, 2]]), np.array([0.5]))
    assert aggregation.positions(utilities).tolist() == [[1, 2]]
    third = aggregation.mixed(
        np.array([[0.1, 0.3]]), np.array([[0.3, 0.2]]), np.array([1 / 3])
    )  # equal but for rounding
    assert aggregation.positions(third).tolist() == [[1, 2]]


def test_a_constant_added_to_all_utilities_of_a_user_changes_nothing():
    llm, rec, alpha = np.array([[-3.0, -1.0, -2.5]]), np.array([[0.9, 0.1, 0.4]]), np.array([0.4])
    shifted = aggregation.mixed(llm - 7.0, rec + 2.0, alpha)
    assert (
        aggregation.positions(shifted).tolist()
        == aggregation.positions(aggregation.mixed(llm, rec, alpha)).tolist()
    )


@pytest.mark.parametrize("alpha,expected", [(0.0, [[1, 2, 3, 4]]), (1.0, [[4, 2, 1, 3]])])
def test_weights_zero_and_one_give_the_two_models(alpha, expected):
    llm, rec = (
        aggregation.by_position(-np.array([[4, 2, 1, 3]])),
        aggregation.by_position(np.array([[9.0, 5.0, 4.0, 2.0]])),
    )
    assert (
        aggregation.positions(aggregation.mixed(llm, rec, np.array([alpha]))).tolist() == expected
    )
