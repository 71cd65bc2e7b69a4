"""MovieLens-100K as distributed: u.data, u.item (ISO-8859-1), u.user, u.genre.

943 users, 1,682 items, 100,000 ratings of 1 to 5 (Llama4Rec, Table III). The LLM fills in director
and star (L12). Without a folder the files are downloaded from GroupLens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.config import Config
from raypipe.data.dataset import RawDataset
from raypipe.data.delimited import Format, read_delimited
from raypipe.data.download import Archive, dataset_folder
from raypipe.data.sources import _movielens

ARCHIVE = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"
)
AGES = (0, 18, 25, 35, 45, 50, 56, 200)


class Options(Config):
    """MovieLens-100K has no options."""


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the four files from `folder`; errors name file, line and column."""
    folder = dataset_folder(folder, "ml_100k", ARCHIVE, "u.data", "u.item", "u.user", "u.genre")
    log = read_delimited(
        folder / "u.data",
        ["user_id", "item_id", "rating", "timestamp"],
        Format("\t"),
        numeric=("rating", "timestamp"),
        filled=("user_id", "item_id"),
    )
    lines = (folder / "u.genre").read_text().splitlines()
    genres = [line.split("|")[0] for line in lines if line.strip()]
    columns = ["item_id", "title", "released", "video", "url", *genres]
    films = read_delimited(
        folder / "u.item", columns, Format("|", "iso-8859-1"), filled=("item_id", "title")
    )
    people = read_delimited(
        folder / "u.user",
        ["user_id", "age", "gender", "occupation", "zip"],
        Format("|"),
        numeric=("age",),
    )
    names, flags = np.array(genres), (films[genres] == "1").to_numpy()
    films["genres"] = [", ".join(names[row]) for row in flags]
    labels = list(map(str, AGES[:-1]))
    people["age_group"] = pd.cut(people["age"], AGES, right=False, labels=labels).astype(str)
    return _movielens.raw(log, _movielens.films(films), people, "ML-100K")
