"""MovieLens-100K as distributed: u.data, u.item (ISO-8859-1), u.user, u.genre.

943 users, 1,682 items, 100,000 ratings of 1 to 5 (Llama4Rec, Table III). Attributes asked of the LLM: director and star
(L12). The worked examples are facts about well-known films.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from raypipe.config import Config
from raypipe.data.dataset import Attribute, Raw
from raypipe.data.delimited import need_folder, read_delimited

AGES = (0, 18, 25, 35, 45, 50, 56, 200)
DIRECTORS = {
    "Toy Story (1995)": "John Lasseter",
    "Star Wars (1977)": "George Lucas",
    "Pulp Fiction (1994)": "Quentin Tarantino",
    "Fargo (1996)": "Joel Coen",
    "Psycho (1960)": "Alfred Hitchcock",
    "Titanic (1997)": "James Cameron",
    "Schindler's List (1993)": "Steven Spielberg",
    "Scream (1996)": "Wes Craven",
}
STARS = {
    "Toy Story (1995)": "Tom Hanks",
    "Star Wars (1977)": "Harrison Ford",
    "Pulp Fiction (1994)": "John Travolta",
    "Fargo (1996)": "Frances McDormand",
    "Psycho (1960)": "Anthony Perkins",
    "Titanic (1997)": "Leonardo DiCaprio",
    "Schindler's List (1993)": "Liam Neeson",
    "Scream (1996)": "Neve Campbell",
}


class Options(Config):
    """MovieLens-100K has no options."""


def read(folder: Path | None, options: Options) -> Raw:
    """Read the four files of the distribution from `folder`; errors name file, line and column."""
    folder = need_folder(folder, "ml_100k", "u.data", "u.item", "u.user", "u.genre")
    log = read_delimited(
        folder / "u.data", ["user_id", "item_id", "rating", "timestamp"], "\t", numeric=("rating", "timestamp"),
        filled=("user_id", "item_id"),
    )  # fmt: skip
    genres = [line.split("|")[0] for line in (folder / "u.genre").read_text().splitlines() if line.strip()]
    columns = ["item_id", "title", "released", "video", "url", *genres]
    films = read_delimited(folder / "u.item", columns, "|", "iso-8859-1", filled=("item_id", "title"))
    people = read_delimited(folder / "u.user", ["user_id", "age", "gender", "occupation", "zip"], "|", numeric=("age",))
    year = films["title"].str.extract(r"\((\d{4})\)\s*$")[0].fillna("")
    flags = films[genres] == "1"
    films["genres"] = [", ".join(g for g, on in zip(genres, row, strict=True) if on) for row in flags.to_numpy()]
    films["genre"] = films["genres"].str.split(", ").str[0]
    films["decade"] = year.map(lambda y: y[:3] + "0s" if y else "unknown")
    films["text"] = [f"genres: {g}; year: {y or 'unknown'}" for g, y in zip(films["genres"], year, strict=True)]
    people["age_group"] = pd.cut(people["age"], AGES, right=False, labels=[str(a) for a in AGES[:-1]]).astype(str)
    people["region"] = people["zip"].str[:1]
    log["timestamp"] = log["timestamp"].astype("int64")
    return Raw(
        pa.Table.from_pandas(log, preserve_index=False),
        pa.Table.from_pandas(films[["item_id", "title", "text", "genre", "genres", "decade"]], preserve_index=False),
        pa.Table.from_pandas(people[["user_id", "gender", "age_group", "occupation", "region"]], preserve_index=False),
        noun="film",
        verb="watched",
        item_features=("genre", "genres", "decade"),
        user_features=("gender", "age_group", "occupation", "region"),
        attributes=(Attribute("director", DIRECTORS), Attribute("star", STARS)),
        published_as="ML-100K",
    )
