"""Interaction matrices and evaluation queries."""

import numpy as np
import pytest

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.data.config import DataConfig
from raypipe.data.split import make_split


def test_the_history_may_be_recommended_again_where_it_is_asked_for(toy):
    config = DataConfig(mask_history=False)
    open_ = InteractionMatrices(toy.dataset, make_split(toy.dataset.interactions, config, 2))
    assert not open_.queries("sequential", "test").masked and open_.queries("direct", "test").masked
    assert (
        config.label == "all, history unmasked"
        and DataConfig(split="temporal").label == "all, temporal"
    )


def test_queries_hold_what_came_before(toy):
    rows, asked = toy.rows("direct"), toy.target_rows("sequential", "test")
    queries = toy.queries("sequential", "test")
    for n, (user, position) in enumerate(zip(asked["u"], asked["position"], strict=True)):
        own = rows[rows["u"] == user]["i"].tolist()
        assert (
            queries.history.row(n).tolist() == own[:position] and queries.target[n] == own[position]
        )
    some = queries.part(np.array([5, 2]))
    assert [some.history.row(n).tolist() for n in (0, 1)] == [
        queries.history.row(n).tolist() for n in (5, 2)
    ]


@pytest.fixture
def own(tmp_path):
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,colour\n"
        "a,Red ball,round,red\nb,Blue box,,blue\nc,Green cup,tall,green\n"
    )
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,rating,timestamp\nu,a,3,1\nu,b,4,2\nu,c,5,3\n"
    )
    return tmp_path
