"""MovieLens-100K as distributed: u.data, u.item (ISO-8859-1), u.user, u.genre.

943 users, 1,682 items, 100,000 ratings of 1 to 5 (Llama4Rec, Table III). Attributes asked of the LLM: director and star
(L12). Without a folder the files are fetched from GroupLens.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from raypipe.config import Config
from raypipe.data.dataset import RawDataset
from raypipe.data.delimited import read_delimited
from raypipe.data.download import Archive, files_of
from raypipe.data.sources import _movielens

ARCHIVE = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip", "0e33842e24a9c977be4e0107933c0723"
)
AGES = (0, 18, 25, 35, 45, 50, 56, 200)


class Options(Config):
    """MovieLens-100K has no options."""


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the four files of the distribution from `folder`; errors name file, line and column."""
    folder = files_of(folder, "ml_100k", ARCHIVE, "u.data", "u.item", "u.user", "u.genre")
    log = read_delimited(
        folder / "u.data",
        ["user_id", "item_id", "rating", "timestamp"],
        "\t",
        numeric=("rating", "timestamp"),
        filled=("user_id", "item_id"),
    )
    genres = [
        line.split("|")[0] for line in (folder / "u.genre").read_text().splitlines() if line.strip()
    ]
    columns = ["item_id", "title", "released", "video", "url", *genres]
    films = read_delimited(
        folder / "u.item", columns, "|", "iso-8859-1", filled=("item_id", "title")
    )
    people = read_delimited(
        folder / "u.user", ["user_id", "age", "gender", "occupation", "zip"], "|", numeric=("age",)
    )
    flags = films[genres] == "1"
    films["genres"] = [
        ", ".join(g for g, on in zip(genres, row, strict=True) if on) for row in flags.to_numpy()
    ]
    people["age_group"] = pd.cut(
        people["age"], AGES, right=False, labels=[str(a) for a in AGES[:-1]]
    ).astype(str)
    return _movielens.raw(log, _movielens.films(films), people, "ML-100K")
