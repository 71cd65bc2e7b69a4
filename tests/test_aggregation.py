"""Eq. 3 to 6 by hand-worked numbers."""

import numpy as np
import pytest
import torch

from raypipe import aggregation
from raypipe.backbones.scoring import similar_users


def test_similar_user_by_cosine():
    # cosines of user 0: with 1 (2,2)/sqrt 8 -> 0.7071; with 2 (3,1)/sqrt 10 -> 0.9487; with 3 -> -1
    users = torch.tensor([[1.0, 0.0], [2.0, 2.0], [3.0, 1.0], [-5.0, 0.0]])
    nearest = similar_users(users)
    assert nearest[0] == 2
    # user 1: with 0 0.7071, with 2 8 / (sqrt 8 sqrt 10) = 0.8944
    assert nearest[1] == 2
    assert similar_users(users, chunk=1).tolist() == nearest.tolist()


def test_long_tail_coefficient():
    assert aggregation.long_tail_coefficient(np.array([0, 1, 9])) == pytest.approx([0.0, 0.693147, 2.302585], abs=1e-6)


def test_weight_falls_with_activity_and_has_a_floor():
    ell = np.log(np.array([2.0, 4.0, 8.0]))  # (log 8 - ell) / (log 8 - log 2) = 1, 1/2, 0
    assert aggregation.llm_weight(ell, ell[0], ell[2], 0.5, 0.3) == pytest.approx([0.5, 0.25, 0.15])


def test_weight_where_all_users_are_alike_is_the_floor():
    assert aggregation.llm_weight(np.ones(2), 1.0, 1.0, 0.5, 0.3) == pytest.approx([0.15, 0.15])


def test_weight_of_a_user_outside_the_range_is_clipped():
    assert aggregation.llm_weight(np.array([0.0, 9.0]), 1.0, 2.0, 0.9, 0.1) == pytest.approx([0.9, 0.09])


def test_ratings_are_interpolated():
    assert aggregation.blend_ratings(np.array([5.0]), np.array([3.0]), np.array([0.25])) == pytest.approx([3.5])


def test_positions_keep_the_conventional_order_among_equals():
    assert aggregation.positions(np.array([[0.1, 0.7, 0.7, -1.0]])).tolist() == [[3, 1, 2, 4]]


def test_lists_are_blended_by_position():
    # utilities at alpha = 0.6 of items at conventional 1, 2, 3 and LLM 3, 1, 2:
    # -(0.6*3 + 0.4*1) = -2.2, -(0.6*1 + 0.4*2) = -1.4, -(0.6*2 + 0.4*3) = -2.4
    assert aggregation.blend_ranks(np.array([[3, 1, 2]]), np.array([0.6])).tolist() == [[2, 1, 3]]


def test_equal_utilities_keep_the_conventional_order():
    # at alpha = 0.5 and LLM 2, 1: both -1.5
    assert aggregation.blend_ranks(np.array([[2, 1]]), np.array([0.5])).tolist() == [[1, 2]]


@pytest.mark.parametrize("alpha,expected", [(0.0, [[1, 2, 3, 4]]), (1.0, [[4, 2, 1, 3]])])
def test_the_ends_are_the_two_models(alpha, expected):
    assert aggregation.blend_ranks(np.array([[4, 2, 1, 3]]), np.array([alpha])).tolist() == expected
