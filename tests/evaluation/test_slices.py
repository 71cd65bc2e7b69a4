"""Slices of users."""

import numpy as np

from raypipe.evaluation import slices


def test_slices_keep_equal_lengths_together():
    assert slices.thirds(np.array([1, 1, 1, 5, 5, 9])).tolist() == [0, 0, 0, 1, 1, 2]
