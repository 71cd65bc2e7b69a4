"""BookCrossing: BX-Book-Ratings.csv, BX-Books.csv, BX-Users.csv (ISO-8859-1, semicolons, quotes).

Ratings of 1 to 10 (0 marks an implicit rating and is left out), 5-core (L33). There are no
timestamps, so each history gets a random order by seed (L34): 6,851 users, 9,085 items, 115,219
ratings (Llama4Rec, Table III). The LLM fills in genre and page length (L12). The original site no
longer exists, so pass the folder of the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from raypipe.config import Config
from raypipe.data.dataset import Attribute, RawDataset
from raypipe.data.delimited import Format, need_columns, need_folder, read_delimited
from raypipe.data.kcore import k_core
from raypipe.seeding import generator

#: worked examples for the LLM: facts about well-known books
GENRES = {
    "The Da Vinci Code": "thriller",
    "Harry Potter and the Sorcerer's Stone (Book 1)": "fantasy",
    "Bridget Jones's Diary": "romance",
    "To Kill a Mockingbird": "classic",
    "The Hobbit : The Enchanting Prelude to The Lord of the Rings": "fantasy",
    "Interview with the Vampire": "horror",
}
LENGTHS = {
    "The Da Vinci Code": "400 to 500 pages",
    "Harry Potter and the Sorcerer's Stone (Book 1)": "300 to 400 pages",
    "To Kill a Mockingbird": "200 to 300 pages",
    "The Lovely Bones: A Novel": "300 to 400 pages",
}


class Options(Config):
    """How the log is filtered and ordered."""

    core: int = Field(
        5,
        ge=1,
        description="users and items with fewer interactions are removed until none is left",
    )
    seed: int = Field(0, ge=0, description="seed of the random order of each history")


def read(folder: Path | None, options: Options) -> RawDataset:
    """Read the three files from `folder`; errors name file, line and column."""
    names = "BX-Book-Ratings.csv", "BX-Books.csv", "BX-Users.csv"
    folder = need_folder(folder, "book_crossing", *names)

    def table(name: str, columns: dict[str, str], numeric: tuple[str, ...] = ()) -> pd.DataFrame:
        path = folder / name
        frame = read_delimited(path, None, Format(";", "iso-8859-1", escape="\\"), numeric)
        need_columns(frame, path, *columns)
        return frame[list(columns)].rename(columns=columns)

    log = table(
        names[0],
        {"User-ID": "user_id", "ISBN": "item_id", "Book-Rating": "rating"},
        ("Book-Rating",),
    )
    log = k_core(
        log[log["rating"] > 0].drop_duplicates(["user_id", "item_id"], keep="last"), options.core
    )
    log["timestamp"] = _random_order(log["user_id"], options.seed)
    kept = ("ISBN", "Book-Title", "Book-Author", "Year-Of-Publication", "Publisher")
    books = table(
        names[1], dict(zip(kept, ("item_id", "title", "author", "year", "publisher"), strict=True))
    )
    books = books[
        books["item_id"].isin(set(log["item_id"])) & (books["title"].str.strip() != "")
    ].drop_duplicates("item_id")
    books["decade"] = books["year"].map(_decade)
    books["text"] = (
        "author: " + books["author"] + "; publisher: " + books["publisher"] + "; year: "
    ) + books["year"]
    people = table(names[2], {"User-ID": "user_id", "Location": "location", "Age": "age"})
    people = people[people["user_id"].isin(set(log["user_id"]))]
    age = pd.to_numeric(people["age"], errors="coerce")
    people["age_group"] = np.where(
        age.between(5, 100), (age // 10 * 10).fillna(0).astype(int).astype(str), "unknown"
    )
    people["country"] = people["location"].str.split(",").str[-1].str.strip().replace("", "unknown")
    return RawDataset(
        pa.Table.from_pandas(
            log[["user_id", "item_id", "rating", "timestamp"]], preserve_index=False
        ),
        pa.Table.from_pandas(
            books[["item_id", "title", "text", "author", "publisher", "decade"]],
            preserve_index=False,
        ),
        pa.Table.from_pandas(people[["user_id", "country", "age_group"]], preserve_index=False),
        noun="book",
        verb="read",
        item_features=("author", "publisher", "decade"),
        user_features=("country", "age_group"),
        attributes=(Attribute("genre", GENRES), Attribute("length", LENGTHS)),
        published_as="BookCrossing",
    )


def _decade(year: str) -> str:
    return year[:3] + "0s" if len(year) == 4 and year[0] in "12" else "unknown"


def _random_order(user: pd.Series, seed: int) -> np.ndarray:
    """[N] places 0, 1, ... of each user's rows, in an order by the seed and the user only."""
    order = np.empty(len(user), dtype=np.int64)
    for name, rows in user.groupby(user).indices.items():
        order[rows] = generator(seed, "order", str(name)).permutation(len(rows))
    return order
