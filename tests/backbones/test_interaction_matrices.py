"""Interaction matrices and evaluation queries."""

import numpy as np

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.data.config import DataConfig
from raypipe.data.split import make_split


def test_sequential_queries_are_not_masked_without_mask_history(toy):
    config = DataConfig(mask_history=False)
    open_ = InteractionMatrices(toy.dataset, make_split(toy.dataset.interactions, config, 2))
    assert not open_.queries("sequential", "test").masked and open_.queries("direct", "test").masked
    assert (
        config.label == "all, history unmasked"
        and DataConfig(split="temporal").label == "all, temporal"
    )


def test_a_query_holds_the_history_before_its_target(toy):
    rows, targets = toy.rows("direct"), toy.target_rows("sequential", "test")
    queries = toy.queries("sequential", "test")
    for n, (user, position) in enumerate(zip(targets["u"], targets["position"], strict=True)):
        user_items = rows[rows["u"] == user]["i"].tolist()
        assert (
            queries.history.row(n).tolist() == user_items[:position]
            and queries.target[n] == user_items[position]
        )
    some = queries.part(np.array([5, 2]))
    assert [some.history.row(n).tolist() for n in (0, 1)] == [
        queries.history.row(n).tolist() for n in (5, 2)
    ]
