"""Histories that prompts are built from."""

import numpy as np

from raypipe.papers.llama4rec.prompt_requests import Histories


def test_the_llm_reads_nothing_that_is_tested(toy):
    histories = Histories(toy)
    secret = toy.split.topk[toy.split.topk["part"] != "train"]
    for user, item in zip(secret["user_id"], toy.items.get_indexer(secret["item_id"]), strict=True):
        assert item not in histories.topk_train[user].items
        if user in histories.rated_visible:
            assert item not in histories.rated_visible[user].items
    for user, position, item in zip(
        secret["user_id"], secret["position"], toy.items.get_indexer(secret["item_id"]), strict=True
    ):
        assert item not in histories.before(user, position, "sequential", "test").items


def test_histories_hold_item_numbers(toy):
    past = Histories(toy).topk[toy.users[0]]
    assert past.items.dtype == np.int64 and len(past.items) == len(past.ratings)
