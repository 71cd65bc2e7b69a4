"""Your own data: a folder with interactions.csv and items.csv, and users.csv where there are user features.

interactions.csv  user_id, item_id; optional rating (else 1) and timestamp (else the order of the file)
items.csv         item_id, title; optional text and any further columns, which become item features
users.csv         user_id and any further columns, which become user features
The first line names the columns. A column named in `attributes` is filled by the LLM where it is empty.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from raypipe.config import Config
from raypipe.data.dataset import Attribute, RawDataset
from raypipe.data.delimited import need_columns, need_folder, read_delimited


class Options(Config):
    """How the files are written and what the items are."""

    delimiter: str = ","
    encoding: str = "utf-8"
    noun: str = "item"
    verb: str = "chose"
    attributes: tuple[str, ...] = ()


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the folder; errors name file, line and column."""
    folder = need_folder(folder, "folder", "interactions.csv", "items.csv")

    def table(name: str, *, numeric: tuple[str, ...] = (), filled: tuple[str, ...]) -> pd.DataFrame:
        path = folder / name
        frame = read_delimited(path, None, options.delimiter, options.encoding, numeric, filled)
        need_columns(frame, path, *filled)
        return frame

    log = table("interactions.csv", numeric=("rating", "timestamp"), filled=("user_id", "item_id"))
    if "rating" not in log:
        log["rating"] = 1.0
    log["timestamp"] = log["timestamp"].astype("int64") if "timestamp" in log else range(len(log))
    items = table("items.csv", filled=("item_id", "title"))
    if "text" not in items:
        items["text"] = ""
    for name in options.attributes:
        if name not in items:
            items[name] = ""
    if (folder / "users.csv").is_file():
        users = table("users.csv", filled=("user_id",))
    else:
        users = pd.DataFrame({"user_id": log["user_id"].unique()})
    given = {"item_id", "title", "text", *options.attributes}
    return RawDataset(
        pa.Table.from_pandas(
            log[["user_id", "item_id", "rating", "timestamp"]], preserve_index=False
        ),
        pa.Table.from_pandas(items, preserve_index=False),
        pa.Table.from_pandas(users, preserve_index=False),
        noun=options.noun,
        verb=options.verb,
        item_features=tuple(c for c in items if c not in given),
        user_features=tuple(c for c in users if c != "user_id"),
        attributes=tuple(Attribute(a) for a in options.attributes),
    )
