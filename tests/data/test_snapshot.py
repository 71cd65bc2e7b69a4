"""Two snapshots: training rows, queries, and the counts that RecLM publishes."""

import numpy as np
import pandas as pd
import pytest

from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.data.config import SnapshotConfig
from raypipe.data.dataset import Dataset, read
from raypipe.data.snapshot import Snapshots, make_snapshots
from raypipe.errors import DataError
from tests.support.paths import ROOT

MIND = ROOT.parent / "shared" / "data" / "mind-reclm"


def small():
    """Thirty users with one to five items before time 100, and up to three after it, some new."""
    rng = np.random.default_rng(0)
    rows = []
    for u in range(30):
        for t, i in enumerate(rng.choice(20, rng.integers(1, 6), replace=False)):
            rows.append((f"u{u:02d}", f"i{i:02d}", 1.0, t))
        for t, i in enumerate(rng.choice(np.arange(10, 30), rng.integers(0, 4), replace=False)):
            rows.append((f"u{u:02d}", f"i{i:02d}", 1.0, 100 + t))
    rows.append(("u99", "i05", 1.0, 101))  # this user has no earlier row
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).drop_duplicates(
        ["user_id", "item_id"]
    )
    items = pd.DataFrame(
        {
            "item_id": [f"i{i:02d}" for i in range(30)],
            "title": [f"T{i}" for i in range(30)],
            "text": "",
        }
    )
    return Dataset(
        log,
        items,
        pd.DataFrame({"user_id": log["user_id"].unique()}),
        "item",
        "saw",
        (),
        (),
        (),
        {},
    )


CONFIG = SnapshotConfig(cut=100, validation_items=0.2, validation_users=0.7)


def test_validation_is_held_out_of_the_first_snapshot_and_test_is_the_second():
    dataset = small()
    snapshots = make_snapshots(dataset.interactions, CONFIG, 0)
    log = snapshots.rows.merge(dataset.interactions, on=["user_id", "item_id"])
    assert ((log["part"] == "test") == (log["timestamp"] >= 100)).all() and "u99" not in set(
        log["user_id"]
    )
    train, validation, test = (snapshots.part(part) for part in ("train", "validation", "test"))
    cold = set(validation.loc[validation["cold"], "item_id"])
    assert len(cold) >= 4 and not cold & set(train["item_id"])  # a fifth of some twenty items
    warm = validation[~validation["cold"]]
    assert len(warm) and warm["user_id"].is_unique and set(warm["user_id"]) <= set(train["user_id"])
    assert set(test.loc[test["cold"], "item_id"]) == set(test["item_id"]) - set(
        train["item_id"]
    ) - set(validation["item_id"])
    assert snapshots.rows.equals(make_snapshots(dataset.interactions, CONFIG, 0).rows)
    assert not snapshots.rows.equals(make_snapshots(dataset.interactions, CONFIG, 1).rows)


def test_a_grown_log_keeps_most_of_its_held_out_rows():
    log = small().interactions
    more = pd.DataFrame([("u03", "i25", 1.0, 90), ("u07", "i26", 1.0, 91)], columns=log.columns)
    before, after = (
        make_snapshots(interactions, CONFIG, 0).part("validation")
        for interactions in (log, pd.concat([log, more], ignore_index=True))
    )
    pairs = [set(zip(part["user_id"], part["item_id"], strict=True)) for part in (before, after)]
    assert len(pairs[0] ^ pairs[1]) < len(pairs[0]) / 3


@pytest.mark.parametrize("part", ["validation", "test"])
def test_queries_are_about_known_users_and_rank_the_items_of_the_snapshot(part):
    dataset = small()
    snapshots = make_snapshots(dataset.interactions, CONFIG, 0)
    tables = SnapshotMatrices(dataset, snapshots)
    known_rows = (
        snapshots.part("train") if part == "validation" else snapshots.part("train", "validation")
    )
    part_rows = snapshots.part(part)
    for setting in ("full-shot", "zero-shot"):
        setting_rows = part_rows[part_rows["cold"]] if setting == "zero-shot" else part_rows
        setting_rows = setting_rows[setting_rows["user_id"].isin(set(known_rows["user_id"]))]
        queries = tables.queries(part, setting)
        assert list(tables.users[queries.user]) == sorted(setting_rows["user_id"].unique())
        for n, user in enumerate(queries.user):
            name = tables.users[user]
            assert set(tables.items[queries.targets.row(n)]) == set(
                setting_rows.loc[setting_rows["user_id"] == name, "item_id"]
            )
            assert set(tables.items[queries.seen.row(n)]) == set(
                known_rows.loc[known_rows["user_id"] == name, "item_id"]
            )
        first = snapshots.part("train", "validation")["item_id"]
        catalogue = (
            set(first)
            if (part, setting) == ("validation", "full-shot")
            else set(setting_rows["item_id"])
        )
        assert set(tables.items[queries.catalogue]) == catalogue
    data = tables.fit_data(part, None)
    assert sorted(zip(tables.users[data.user], tables.items[data.item], strict=True)) == sorted(
        zip(known_rows["user_id"], known_rows["item_id"], strict=True)
    )
    assert list(data.validation.user) == list(tables.queries("validation", "full-shot").user)


def test_a_cut_outside_the_log_is_an_error(tmp_path):
    dataset = small()
    with pytest.raises(DataError, match="no row lies after the cut at 1000"):
        make_snapshots(dataset.interactions, SnapshotConfig(cut=1000), 0)
    snapshots = make_snapshots(dataset.interactions, SnapshotConfig(), 0)
    assert 0.1 < len(snapshots.part("test")) / len(snapshots.rows) < 0.3
    snapshots.save(tmp_path)
    assert Snapshots.load(tmp_path).rows.equals(snapshots.rows)


def test_missing_files_of_mind_are_named(tmp_path):
    with pytest.raises(DataError, match=r"interactions_train\.parquet"):
        read(SnapshotConfig(name="mind_reclm", dir=str(tmp_path)))


@pytest.mark.skipif(
    not MIND.is_dir(),
    reason="the MIND snapshots are not there: their licence forbids shipping them",
)
def test_mind_has_the_counts_of_the_paper():
    config = SnapshotConfig(name="mind_reclm", dir=str(MIND), cut=86_400)
    dataset = read(config)
    facts = make_snapshots(dataset.interactions, config, 0).facts()
    published = {
        "users": 57_128,
        "items in both": 1_020,
        "first items": 2_386,
        "first rows": 89_734,
        "second items": 2_461,
        "second rows": 87_974,
    }
    counted = {
        "full-shot users": 56_972,
        "zero-shot users": 20_394,
        "zero-shot items": 1_441,
        "zero-shot rows": 25_928,
    }
    assert facts | published | counted == facts
    assert dataset.quality["repeated user-item rows dropped"] == 388
