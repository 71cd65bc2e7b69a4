"""Toy data drawn by seed, with structure that backbones and the LLM can learn.

Item popularity has a long tail, texts reveal the taste, histories depend on order, and attributes
have a known truth. Each film belongs to a genre and a saga, and its title's words come from the
genre. Each user likes a few genres. A user mostly continues a saga with its next part, otherwise
draws a popular film of a liked genre. A director works in one genre and shifts the ratings of the
films, so filling in a missing director helps to predict ratings. The items table shows half of the
directors; `truth` returns all.

With `arriving`, some sagas are released in the last fifth of the log, and every user is active from
beginning to end. These are cold-start items that arrive after training (RecLM).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from raypipe.config import Config
from raypipe.data.dataset import Attribute, RawDataset
from raypipe.seeding import generator

WORDS = {
    "Comedy": ("Banana", "Laughing", "Awkward", "Wedding", "Prank", "Silly", "Neighbour", "Picnic"),
    "Horror": ("Crypt", "Whisper", "Midnight", "Scream", "Bone", "Cellar", "Hollow", "Raven"),
    "Space": ("Orbit", "Comet", "Star", "Rocket", "Lunar", "Nebula", "Signal", "Colony"),
    "Western": ("Canyon", "Sheriff", "Dust", "Saddle", "Outlaw", "Prairie", "Bullet", "Ranch"),
    "Romance": ("Kiss", "Letter", "Summer", "Heart", "Paris", "Dance", "Promise", "Rain"),
    "Crime": (
        "Heist",
        "Alibi",
        "Detective",
        "Harbour",
        "Witness",
        "Motive",
        "Vault",
        "Fingerprint",
    ),
}
SURNAMES = (
    "Abara",
    "Bergson",
    "Castellan",
    "Dumont",
    "Eklund",
    "Farrow",
    "Grieg",
    "Hashimoto",
    "Ilves",
    "Jankovic",
    "Kowal",
    "Lindqvist",
    "Moreau",
    "Nakata",
    "Okafor",
    "Petrov",
    "Quispe",
    "Rossi",
)


#: start of the log, its length, and the release of arriving films, in seconds
BEGIN, SPAN = 1_500_000_000, 100_000_000
RELEASE = BEGIN + SPAN * 4 // 5
#: films of a saga
PARTS = 4


class Options(Config):
    """Size and seed of the toy data."""

    users: int = Field(400, ge=20, description="number of users")
    items: int = Field(240, ge=60, description="number of films")
    mean_length: int = Field(28, ge=8, description="average interactions per user")
    shown: float = Field(0.5, gt=0, le=1, description="share of directors shown in the items table")
    arriving: float = Field(
        0.0, ge=0, lt=1, description="share of sagas released in the last fifth of the log"
    )
    seed: int = Field(7, description="seed of all draws")


@dataclass(frozen=True)
class Films:
    """The drawn films: arrays of length n_items."""

    genre: np.ndarray
    saga: np.ndarray
    director: np.ndarray
    year: np.ndarray
    quality: np.ndarray
    popularity: np.ndarray
    titles: list[str]


def _films(options: Options) -> Films:
    rng = generator(options.seed, "toy", "films")
    names = list(WORDS)
    n = options.items
    saga = np.arange(n) // PARTS
    sagas = saga.max() + 1
    genre = (rng.permutation(sagas) % len(names))[saga]
    director = genre * 3 + rng.integers(0, 3, sagas)[saga]
    quality = (rng.normal(0, 0.35, len(SURNAMES)))[director] + rng.normal(0, 0.3, n)
    popularity = 1 / (1 + rng.permutation(sagas)[saga]) ** 0.8 * np.exp(rng.normal(0, 0.3, n))
    year = rng.integers(1970, 2010, sagas)[saga] + np.arange(n) % PARTS * 2
    titles = _titles(genre, year, rng)
    return Films(genre, saga, director, year, quality, popularity, titles)


def _titles(genre: np.ndarray, year: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Titles such as "Orbit of the Comet, Part 2 (1984)"; the words come from the genre."""
    names = list(WORDS)
    titles: list[str] = []
    stems: set[str] = set()
    stem = ""
    for i in range(len(genre)):
        part = i % PARTS + 1
        if part == 1:
            stem = _stem(WORDS[names[genre[i]]], rng)
            while stem in stems:
                stem = _stem(WORDS[names[genre[i]]], rng)
            stems.add(stem)
        titles.append(f"{stem} ({year[i]})" if part == 1 else f"{stem}, Part {part} ({year[i]})")
    return titles


def _stem(words: tuple[str, ...], rng: np.random.Generator) -> str:
    first, second = rng.choice(words, 2, replace=False)
    return f"{first} {rng.choice(('of the', 'and the', 'in the', 'beyond the'))} {second}"


def truth(options: Options) -> dict[str, dict[str, str]]:
    """ "director" -> item_id -> director, also of films whose director the items table hides.

    Generated attributes are compared with it.
    """
    films = _films(options)
    return {"director": {f"m{i:04d}": SURNAMES[d] for i, d in enumerate(films.director)}}


def read(folder: Path | None, options: Options) -> RawDataset:
    """Draw the data. The folder is not used."""
    films = _films(options)
    names = np.array(list(WORDS))
    rng = generator(options.seed, "toy", "users")
    taste = rng.dirichlet([0.35] * len(names), options.users)
    log = _log(films, taste, options, rng)
    shown = rng.random(options.items) < options.shown
    items = _items(films, shown)
    in_club = rng.random(options.users) < 0.7
    users = pd.DataFrame(
        {
            "user_id": [f"u{u:04d}" for u in range(options.users)],
            "club": np.where(in_club, names[taste.argmax(1)], "none"),
        }
    )
    return RawDataset(
        pa.Table.from_pandas(log, preserve_index=False),
        pa.Table.from_pandas(items, preserve_index=False),
        pa.Table.from_pandas(users, preserve_index=False),
        noun="film",
        verb="watched",
        item_features=("genre", "decade"),
        user_features=("club",),
        attributes=(Attribute("director"),),
    )


def _items(films: Films, shown: np.ndarray) -> pd.DataFrame:
    """The items table; the director is empty where it is not `shown`."""
    genre = pd.Series(np.array(list(WORDS))[films.genre])
    year = pd.Series(films.year).astype(str)
    return pd.DataFrame(
        {
            "item_id": [f"m{i:04d}" for i in range(len(films.year))],
            "title": films.titles,
            "text": "genre: " + genre + "; year: " + year + "; a " + genre.str.lower() + " film",
            "genre": genre,
            "decade": [f"{year // 10}0s" for year in films.year],
            "director": np.where(shown, np.array(SURNAMES)[films.director], ""),
        }
    )


def _log(
    films: Films, taste: np.ndarray, options: Options, rng: np.random.Generator
) -> pd.DataFrame:
    """Interactions of all users, each in order of time. taste: [users, genres]."""
    n = options.items
    rows: list[tuple[str, str, float, int]] = []
    lengths = np.clip(
        rng.lognormal(np.log(options.mean_length * 0.8), 0.65, options.users), 4, n // 2
    ).astype(int)
    bias = rng.normal(0, 0.35, options.users)
    late = np.zeros(n, dtype=bool)
    if options.arriving:
        draws = generator(options.seed, "toy", "arriving").random(films.saga.max() + 1)
        late = draws[films.saga] < options.arriving
    for u in range(options.users):
        seen = np.zeros(n, dtype=bool)
        clock = BEGIN if options.arriving else int(rng.integers(1_500_000_000, 1_600_000_000))
        last = -1
        for _ in range(lengths[u]):
            next_part = last + 1
            continues = last >= 0 and next_part < n and films.saga[next_part] == films.saga[last]
            if continues and not seen[next_part] and rng.random() < 0.55:
                item = next_part
            else:
                released = ~late | (clock >= RELEASE)
                weight = films.popularity * (taste[u][films.genre] + 0.02) * ~seen * released
                item = int(rng.choice(n, p=weight / weight.sum()))
            seen[item], last = True, item
            longest = 2 * SPAN // lengths[u] if options.arriving else 400_000
            clock += int(rng.integers(1 if options.arriving else 600, longest))
            score = (
                3.4
                + bias[u]
                + films.quality[item]
                + 1.4 * (taste[u][films.genre[item]] - 0.25)
                + rng.normal(0, 0.55)
            )
            rows.append((f"u{u:04d}", f"m{item:04d}", float(np.clip(np.round(score), 1, 5)), clock))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
