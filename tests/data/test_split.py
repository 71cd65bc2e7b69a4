"""Splits by hand."""

import numpy as np
import pandas as pd

from raypipe.data.config import DataConfig
from raypipe.data.split import evaluated_users, leave_one_out, make_split, temporal


def test_leave_one_out_by_hand():
    rows = [("u", i, 1.0, n) for n, i in enumerate("abcdef")] + [
        ("v", i, 1.0, n) for n, i in enumerate("ab")
    ]
    split = leave_one_out(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), 3
    )
    assert set(split["user_id"]) == {"u"}, "a user with two interactions cannot be split"
    assert split["part"].tolist() == ["train"] * 4 + ["validation", "test"]
    assert split["held"].tolist() == [False, False, True, True, False, False], (
        "the hint model keeps two training rows"
    )


def test_temporal_split_by_hand():
    rows = [
        ("u", "a", 1),
        ("u", "b", 2),
        ("u", "c", 5),
        ("u", "d", 6),
        ("u", "e", 9),
        ("u", "f", 10),
    ]
    rows += [
        ("v", "a", 1),
        ("v", "b", 3),
        ("v", "c", 4),
        ("w", "a", 8),
        ("w", "b", 9),
        ("w", "c", 10),
    ]
    log = pd.DataFrame(
        [(u, i, 5.0, t) for u, i, t in rows], columns=["user_id", "item_id", "rating", "timestamp"]
    )
    # the lower half of the twelve timestamps ends at 5, three quarters at 8 or 9
    split = temporal(log, (0.5, 0.75), 1)
    parts = {u: g["part"].tolist() for u, g in split.groupby("user_id")}
    first, second = np.quantile(log["timestamp"], (0.5, 0.75), method="lower")
    assert (first, second) == (5, 9)
    assert parts["u"] == ["train", "train", "train", "validation", "between", "test"]
    assert parts["v"] == ["train"] * 3, "v has no row after the cuts, so nothing is evaluated"
    assert parts["w"] == ["validation", "between", "test"], "w has no training row"
    assert split.loc[split["held"], "item_id"].tolist() == ["c", "c"], (
        "the newest training row of u and of v"
    )
    splits = make_split(log, DataConfig(split="temporal", temporal_cuts=(0.5, 0.75)), 1)
    assert set(evaluated_users(splits.topk, "direct")["user_id"]) <= {"u"}


def test_the_liked_protocol_splits_positives_and_hides_their_ratings():
    rows = [
        ("u", i, r, n)
        for n, (i, r) in enumerate([("a", 5), ("b", 4), ("c", 5), ("d", 4), ("e", 2), ("f", 1)])
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    split = make_split(log, DataConfig(protocol="liked"), 1)
    assert split.topk["item_id"].tolist() == ["a", "b", "c", "d"]
    assert split.topk["part"].tolist() == ["train", "train", "validation", "test"]
    assert split.rating.loc[split.rating["hidden"], "item_id"].tolist() == ["c", "d"]
    assert split.rating.loc[split.rating["part"] == "train", "item_id"].tolist() == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_evaluated_users():
    def user(name, items):
        return [
            (name, i, p)
            for i, p in zip(
                items, ["train"] * (len(items) - 2) + ["validation", "test"], strict=True
            )
        ]

    split = pd.DataFrame(
        user("u", "abcd") + user("v", "bax"), columns=["user_id", "item_id", "part"]
    )
    direct = evaluated_users(split, "direct")
    assert direct.values.tolist() == [["v", "validation", "a"]], "c, d and x have no training row"
    assert set(evaluated_users(split, "sequential")["user_id"]) == {"u"}, (
        "v has one training positive"
    )
