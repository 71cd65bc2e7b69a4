"""MIND as RecLM released it, as Parquet: two days of news clicks, the first to train on, the second to be foretold (RecLM R24).

interactions_train.parquet, interactions_test.parquet   user_id, item_id, position (the order within a user's list)
items.parquet                                           item_id, category, subcategory, title, abstract

57,128 users; 2,386 items and 89,734 clicks on the first day, 2,461 and 88,362 on the second. Times are the day's first second plus
the position: no others were released, and positions tell no order (which of two items stands first is as even as chance).
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
    """Read the three files; errors name what is missing."""
    files = ("interactions_train.parquet", "interactions_test.parquet", "items.parquet")
    folder = need_folder(folder, "mind_reclm", *files)
    days = [_table(folder / name, "user_id", "item_id", "position") for name in files[:2]]
    log = pd.concat(
        [day.assign(timestamp=n * DAY + day["position"], rating=1.0) for n, day in enumerate(days)],
        ignore_index=True,
    )
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
    frame = pd.read_parquet(path)
    need_columns(frame, path, *columns)
    return frame.astype({name: "str" for name in columns if name.endswith("_id")})
