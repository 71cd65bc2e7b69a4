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
    similar = similar_items(vectors, np.array([0, 3]), np.array([0, 1, 2, 3]), 2)
    assert similar.tolist() == [[1, 3], [2, 1]]


def test_a_user_with_the_same_history_is_no_bad_example():
    user_histories = Ragged(np.array([0, 2, 4, 6, 7]), np.array([1, 2, 2, 1, 3, 2, 2]))
    assert nearest_with_other_history(0, np.array([1, 2, 3]), user_histories, 2) == 2, (
        "the order does not count"
    )
    assert (
        nearest_with_other_history(0, np.array([1, 2, 3]), user_histories, 1) == 1
        and nearest_with_other_history(2, np.array([3]), user_histories, 1) is None
    )


def test_users_by_item_inverts_the_histories(bench):
    tables = load_tables(bench.context())
    item_users, user_histories = users_by_item(tables, TEST), histories(tables, TEST)
    pairs = {(u, i) for u in range(len(user_histories)) for i in user_histories.row(u)}
    assert {(u, i) for i in range(len(item_users)) for u in item_users.row(i)} == pairs and len(
        pairs
    ) == item_users.start[-1]
