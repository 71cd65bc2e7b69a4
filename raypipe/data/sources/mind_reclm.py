"""MIND as released by RecLM, as Parquet: two days of news clicks (RecLM R24).

The first day is for training, the second to be predicted.

interactions_train.parquet   user_id, item_id, position in the user's list
interactions_test.parquet    the same
items.parquet                item_id, category, subcategory, title, abstract

57,128 users; 2,386 items and 89,734 clicks on the first day, 2,461 items and 88,362 clicks on the
second. A timestamp is the day's first second plus the position, because no times were released. The
positions carry no order: either of two items comes first equally often.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from raypipe.config import Config
from raypipe.data.dataset import RawDataset
from raypipe.data.delimited import need_columns, need_folder

#: seconds of a day: the second snapshot begins here
DAY = 86_400


class Options(Config):
    """The MIND snapshots have no options."""


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the three files; errors name missing files and columns."""
    files = ("interactions_train.parquet", "interactions_test.parquet", "items.parquet")
    folder = need_folder(folder, "mind_reclm", *files)
    days = []
    for number, name in enumerate(files[:2]):
        day = _table(folder / name, "user_id", "item_id", "position")
        days.append(day.assign(timestamp=number * DAY + day["position"], rating=1.0))
    log = pd.concat(days, ignore_index=True)
    items = _table(
        folder / files[2], "item_id", "category", "subcategory", "title", "abstract"
    ).rename(columns={"abstract": "text"})
    return RawDataset(
        pa.Table.from_pandas(
            log[["user_id", "item_id", "rating", "timestamp"]], preserve_index=False
        ),
        pa.Table.from_pandas(items.rename(columns={"abstract": "text"}), preserve_index=False),
        pa.table({"user_id": log["user_id"].unique()}),
        noun="news article",
        verb="read",
        item_features=("category", "subcategory"),
        published_as="MIND",
    )


def _table(path: Path, *columns: str) -> pd.DataFrame:
    """A Parquet file with ids as strings, after a check of its columns."""
    frame = pd.read_parquet(path)
    need_columns(frame, path, *columns)
    return frame.astype({name: "str" for name in columns if name.endswith("_id")})
