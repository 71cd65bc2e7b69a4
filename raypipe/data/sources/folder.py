"""Your own data: a folder with interactions.csv, items.csv and, for user features, users.csv.

interactions.csv  user_id, item_id; optional: rating (else 1), timestamp (else the file's order)
items.csv         item_id, title; optional: text; further columns become item features
users.csv         user_id; further columns become user features

The first line names the columns. The LLM fills in the empty values of the columns in `attributes`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import Field

from raypipe.config import Config
from raypipe.data.dataset import Attribute, RawDataset
from raypipe.data.delimited import Format, need_columns, need_folder, read_delimited


class Options(Config):
    """The format of the files, and the words for prompts."""

    delimiter: str = Field(",", description="character between two columns")
    encoding: str = Field("utf-8", description="encoding of the files")
    noun: str = Field("item", description="what prompts call an item, e.g. film")
    verb: str = Field("chose", description="what the user did, in prompts, e.g. watched")
    attributes: tuple[str, ...] = Field(
        (), description="columns of items.csv whose empty values the LLM fills in"
    )


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the folder; errors name file, line and column."""
    folder = need_folder(folder, "folder", "interactions.csv", "items.csv")

    def table(name: str, *, numeric: tuple[str, ...] = (), filled: tuple[str, ...]) -> pd.DataFrame:
        path = folder / name
        frame = read_delimited(
            path, None, Format(options.delimiter, options.encoding), numeric, filled
        )
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
    no_features = {"item_id", "title", "text", *options.attributes}
    return RawDataset(
        pa.Table.from_pandas(
            log[["user_id", "item_id", "rating", "timestamp"]], preserve_index=False
        ),
        pa.Table.from_pandas(items, preserve_index=False),
        pa.Table.from_pandas(users, preserve_index=False),
        noun=options.noun,
        verb=options.verb,
        item_features=tuple(c for c in items if c not in no_features),
        user_features=tuple(c for c in users if c != "user_id"),
        attributes=tuple(Attribute(a) for a in options.attributes),
    )
