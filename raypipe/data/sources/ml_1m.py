"""MovieLens-1M as distributed: ratings.dat, movies.dat (ISO-8859-1), users.dat.

6,040 users, 3,706 rated items (of 3,883 listed), 1,000,209 ratings of 1 to 5 (Llama4Rec, Table
III). The LLM fills in director and star (L12). Without a folder the files are downloaded from
GroupLens.
"""

from __future__ import annotations

from pathlib import Path

from raypipe.config import Config
from raypipe.data.dataset import RawDataset
from raypipe.data.delimited import Format, read_delimited
from raypipe.data.download import Archive, dataset_folder
from raypipe.data.sources import _movielens

ARCHIVE = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906"
)


class Options(Config):
    """MovieLens-1M has no options."""


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the three files from `folder`; errors name file, line and column."""
    folder = dataset_folder(folder, "ml_1m", ARCHIVE, "ratings.dat", "movies.dat", "users.dat")
    log = read_delimited(
        folder / "ratings.dat",
        ["user_id", "item_id", "rating", "timestamp"],
        Format("::"),
        numeric=("rating", "timestamp"),
        filled=("user_id", "item_id"),
    )
    films = read_delimited(
        folder / "movies.dat",
        ["item_id", "title", "genres"],
        Format("::", "iso-8859-1"),
        filled=("item_id", "title"),
    )
    people = read_delimited(
        folder / "users.dat", ["user_id", "gender", "age_group", "occupation", "zip"], Format("::")
    )
    films["genres"] = films["genres"].str.replace("|", ", ", regex=False)
    return _movielens.raw(log, _movielens.films(films), people, "ML-1M")
