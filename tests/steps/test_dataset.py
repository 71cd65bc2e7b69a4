"""Data files are identified by their content; a dataset is read, cleaned and counted."""

import pandas as pd
import pytest

from raypipe.data.config import SourceConfig
from raypipe.errors import DataError
from raypipe.papers.llama4rec import config
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.steps.dataset import fingerprint, read_stage


def test_data_files_are_identified_by_their_content(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "items.csv").write_text("item_id,title\n1,A\n")
    first, second = (
        config.load(None, {"data.name": "folder", "data.dir": str(tmp_path / place)}).data
        for place in ("one", "two")
    )
    assert (
        fingerprint(first) == fingerprint(second) and fingerprint(config.load("toy").data) is None
    )
    (tmp_path / "two" / "items.csv").write_text("item_id,title\n1,B\n")
    assert fingerprint(first) != fingerprint(second)


def read(tmp_path, rated, **options):
    """The facts of the stage that reads a dataset, and the folder that it wrote."""
    origin = SourceConfig(name="folder", dir=str(tmp_path), **options)
    store = Store(str(tmp_path / "run"))
    (tmp_path / "out").mkdir()
    stage = read_stage(origin, "data", rated)
    return stage.run(Context(store, "data", "k" * 64, tmp_path / "out", "", {}))


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\n1,A\n2,B\n3,C\n")
    log = [f"u{user},{item},{rating}" for user, item, rating in ((1, 1, 4), (1, 2, 4), (2, 3, 4))]
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\n" + "\n".join(log) + "\n")
    return tmp_path / "interactions.csv"


def test_the_stage_writes_a_clean_dataset_and_counts_it(tmp_path, rows):
    facts = read(tmp_path, rated=False, min_interactions=2)
    assert (facts["rows"], facts["users"], facts["items"]) == (2, 1, 3)
    log = pd.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert log["user_id"].tolist() == ["u1", "u1"]
    assert facts["quality"]


def test_equal_ratings_cannot_be_predicted(tmp_path, rows):
    with pytest.raises(DataError, match=r"all ratings are equal(?s:.)*--tasks direct,sequential"):
        read(tmp_path, rated=True)
    (tmp_path / "out").rmdir()
    rows.write_text(rows.read_text() + "u2,1,5\n")
    assert read(tmp_path, rated=True)["rows"] == 4
