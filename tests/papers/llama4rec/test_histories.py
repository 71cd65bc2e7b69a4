"""Histories that prompts are built from."""

import numpy as np

from raypipe.papers.llama4rec.histories import Histories


def test_the_histories_of_the_llm_hold_no_validation_or_test_item(toy):
    histories = Histories(toy)
    secret = toy.split.topk[toy.split.topk["part"] != "train"]
    for user, item in zip(secret["user_id"], toy.items.get_indexer(secret["item_id"]), strict=True):
        assert item not in histories.training_positives[user].items
        if user in histories.visible_ratings:
            assert item not in histories.visible_ratings[user].items
    for user, position, item in zip(
        secret["user_id"], secret["position"], toy.items.get_indexer(secret["item_id"]), strict=True
    ):
        assert item not in histories.before(user, position, "sequential", "test").items


def test_histories_hold_item_numbers(toy):
    past = Histories(toy).positives[toy.users[0]]
    assert past.items.dtype == np.int64 and len(past.items) == len(past.ratings)
