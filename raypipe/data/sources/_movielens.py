"""Shared by the MovieLens datasets: attributes for the LLM, and columns from titles and genres."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from raypipe.data.dataset import Attribute, RawDataset

#: worked examples for the LLM: facts about well-known films
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
#: ML-1M names its first episode in full
LONG_TITLES = {"Star Wars (1977)": "Star Wars: Episode IV - A New Hope (1977)"}


def films(table: pd.DataFrame) -> pd.DataFrame:
    """The items table from item_id, title and `genres` ("Comedy, Drama")."""
    year = table["title"].str.extract(r"\((\d{4})\)\s*$")[0].fillna("")
    return pd.DataFrame(
        {
            "item_id": table["item_id"],
            "title": table["title"],
            "text": "genres: " + table["genres"] + "; year: " + year.replace("", "unknown"),
            "genre": table["genres"].str.split(", ").str[0],
            "genres": table["genres"],
            "decade": year.map(lambda digits: digits[:3] + "0s" if digits else "unknown"),
        }
    )


def raw(
    log: pd.DataFrame, items: pd.DataFrame, people: pd.DataFrame, published_as: str
) -> RawDataset:
    """The tables of a MovieLens dataset. `people` has gender, age_group, occupation and zip."""
    people = people.assign(region=people["zip"].str[:1])
    log["timestamp"] = log["timestamp"].astype("int64")
    titles = set(items["title"])

    def in_dataset(examples: dict[str, str]) -> dict[str, str]:
        """The examples under the dataset's own titles."""
        return {t if t in titles else LONG_TITLES.get(t, t): value for t, value in examples.items()}

    return RawDataset(
        pa.Table.from_pandas(
            log[["user_id", "item_id", "rating", "timestamp"]], preserve_index=False
        ),
        pa.Table.from_pandas(items, preserve_index=False),
        pa.Table.from_pandas(
            people[["user_id", "gender", "age_group", "occupation", "region"]], preserve_index=False
        ),
        noun="film",
        verb="watched",
        item_features=("genre", "genres", "decade"),
        user_features=("gender", "age_group", "occupation", "region"),
        attributes=(
            Attribute("director", in_dataset(DIRECTORS)),
            Attribute("star", in_dataset(STARS)),
        ),
        published_as=published_as,
    )
