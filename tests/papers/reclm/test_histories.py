"""Similar items, dissimilar ones, and the users of an item."""

import numpy as np

from raypipe.backbones.contract import Ragged
from raypipe.data.snapshot import TEST
from raypipe.papers.reclm.histories import (
    histories,
    load_tables,
    nearest_with_other_history,
    similar_items,
    users_by_item,
)


def test_similar_items_are_the_nearest_and_never_the_item_itself():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 1]], np.float32)
    got = similar_items(vectors, np.array([0, 3]), np.array([0, 1, 2, 3]), 2)
    assert got.tolist() == [[1, 3], [2, 1]]


def test_who_did_the_same_is_no_bad_example():
    known = Ragged(np.array([0, 2, 4, 6, 7]), np.array([1, 2, 2, 1, 3, 2, 2]))
    assert nearest_with_other_history(0, np.array([1, 2, 3]), known, 2) == 2, (
        "the order does not count"
    )
    assert (
        nearest_with_other_history(0, np.array([1, 2, 3]), known, 1) == 1
        and nearest_with_other_history(2, np.array([3]), known, 1) is None
    )


def test_takers_are_the_users_of_an_item(bench):
    source = load_tables(bench.context())
    taken, known = users_by_item(source, TEST), histories(source, TEST)
    pairs = {(u, i) for u in range(len(known)) for i in known.row(u)}
    assert {(u, i) for i in range(len(taken)) for u in taken.row(i)} == pairs and len(
        pairs
    ) == taken.start[-1]
