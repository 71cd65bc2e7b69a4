"""From raw tables to a clean dataset."""

import pandas as pd
import pyarrow as pa
import pytest

from raypipe.data.audit import audit
from raypipe.data.config import DataConfig
from raypipe.data.dataset import RawDataset, clean, clean_title
from raypipe.data.kcore import k_core
from raypipe.data.split import Split, leave_one_out, make_split
from raypipe.errors import DataError


def raw(log, titles=None):
    frame = pd.DataFrame(log, columns=["user_id", "item_id", "rating", "timestamp"])
    titles = titles or {i: f"Film {i}" for i in frame["item_id"]}
    items = pd.DataFrame(
        {"item_id": list(titles), "title": list(titles.values()), "text": "a text"}
    )
    users = pd.DataFrame({"user_id": frame["user_id"].unique()})
    as_table = lambda f: pa.Table.from_pandas(f, preserve_index=False)  # noqa: E731
    return RawDataset(as_table(frame), as_table(items), as_table(users), "film", "watched")


ROWS = [("u", "a", 3.0, 1), ("u", "b", 4.0, 2), ("u", "c", 5.0, 3)]


def test_repeated_rows_keep_the_latest():
    dataset = clean(raw([*ROWS, ("u", "a", 1.0, 9)]), DataConfig())
    assert dataset.interactions[["item_id", "rating"]].values.tolist() == [
        ["b", 4.0],
        ["c", 5.0],
        ["a", 1.0],
    ]
    assert dataset.quality["repeated user-item rows dropped"] == 1


def test_short_users_are_left_out_and_counted():
    dataset = clean(raw([*ROWS, ("v", "a", 1.0, 9)]), DataConfig())
    assert set(dataset.interactions["user_id"]) == {"u"}
    assert dataset.quality["users dropped with too few interactions"] == 1
    with pytest.raises(DataError, match="no user has 3"):
        clean(raw(ROWS[:2]), DataConfig())


def test_items_without_a_row_get_a_title():
    dataset = clean(raw(ROWS, {"a": "A", "b": "B"}), DataConfig())
    assert dataset.titles["c"] == "Unknown item c"
    assert dataset.quality["items without a row in the items table"] == 1


def test_titles_cannot_break_a_prompt():
    assert clean_title('Say "Hi",\n\tnow ') == "Say 'Hi', now"
    dataset = clean(raw(ROWS, {"a": 'The "X"', "b": "The 'X'", "c": "C"}), DataConfig())
    assert list(dataset.titles.values()) == ["The 'X'", "The 'X' [2]", "C"]
    assert dataset.quality["equal titles numbered"] == 1


def test_equal_times_keep_file_order():
    log = clean(
        raw([("u", "c", 1.0, 5), ("u", "a", 1.0, 5), ("u", "b", 1.0, 5), ("u", "d", 1.0, 1)]),
        DataConfig(),
    ).interactions
    split = leave_one_out(log, 1)
    assert dict(zip(split["item_id"], split["part"], strict=True)) == {
        "d": "train",
        "c": "train",
        "a": "validation",
        "b": "test",
    }


def test_the_audit_measures_and_checks(toy):
    findings = audit(toy.split)
    later = "training rows of all users that are later than a test row, mean share"
    assert 0.05 < findings[f"top-k: {later}"] < 0.95, (
        "with leave-one-out, training reads rows later than other users' test rows"
    )
    split = make_split(toy.dataset.interactions, DataConfig(split="temporal"), 2)
    assert audit(split)[f"top-k: {later}"] == 0 == audit(split)[f"rating: {later}"]
    broken = toy.split.topk.assign(position=0)
    with pytest.raises(AssertionError):
        audit(Split(broken, toy.split.rating))


def test_the_k_core_is_computed_until_nothing_changes():
    log = pd.DataFrame({"user_id": list("aabbcc"), "item_id": list("xyxyyz")})
    # z has one user, without z user c has one item, without c nothing else falls
    assert k_core(log, 2).to_numpy().tolist() == [["a", "x"], ["a", "y"], ["b", "x"], ["b", "y"]]
    assert k_core(log, 4).empty
