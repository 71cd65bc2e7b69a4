"""Toy data drawn by seed: a long tail, texts that carry the taste, order in time, and attributes with a known truth.

Each film belongs to a genre and a saga; its title's words come from the genre. Each user likes a few genres. A user
mostly goes on with the next part of a saga that was begun, otherwise draws a popular film of a liked genre. A
director works in one genre and shifts the ratings of his films, so that filling in a missing director helps to
predict ratings. Half of the directors are shown in the items table; `truth` gives them all.

With `arriving`, a share of the sagas comes out in the last fifth of the log, in which every user is active from beginning to end:
data with items that arrive after training (RecLM).
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


#: where the log begins, how long it is, and when arriving films come out, in seconds
BEGIN, SPAN = 1_500_000_000, 100_000_000
RELEASE = BEGIN + SPAN * 4 // 5


class Options(Config):
    """Size and seed of the toy data."""

    users: int = Field(400, ge=20)
    items: int = Field(240, ge=60)
    mean_length: int = Field(28, ge=8, description="interactions a user, on average")
    shown: float = Field(
        0.5, gt=0, le=1, description="share of the directors that the items table shows"
    )
    arriving: float = Field(
        0.0, ge=0, lt=1, description="share of the sagas that come out in the last fifth of the log"
    )
    seed: int = 7


@dataclass(frozen=True)
class Films:
    """Arrays of length n_items."""

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
    n, parts = options.items, 4
    saga = np.arange(n) // parts
    genre = (rng.permutation(saga.max() + 1) % len(names))[saga]
    director = genre * 3 + rng.integers(0, 3, saga.max() + 1)[saga]
    quality = (rng.normal(0, 0.35, len(SURNAMES)))[director] + rng.normal(0, 0.3, n)
    popularity = (
        1 / (1 + rng.permutation(saga.max() + 1)[saga]) ** 0.8 * np.exp(rng.normal(0, 0.3, n))
    )
    first_year = rng.integers(1970, 2010, saga.max() + 1)
    titles, used = [], set()
    for i in range(n):
        if i % parts == 0:
            while True:
                one, two = rng.choice(WORDS[names[genre[i]]], 2, replace=False)
                stem = f"{one} {rng.choice(('of the', 'and the', 'in the', 'beyond the'))} {two}"
                if stem not in used:
                    used.add(stem)
                    break
        titles.append(stem if i % parts == 0 else f"{stem}, Part {i % parts + 1}")
    year = first_year[saga] + np.arange(n) % parts * 2
    return Films(
        genre,
        saga,
        director,
        year,
        quality,
        popularity,
        [f"{t} ({y})" for t, y in zip(titles, year, strict=True)],
    )


def truth(options: Options) -> dict[str, dict[str, str]]:
    """ "director" -> item_id -> director for every film, shown or not: the truth that generated attributes are judged by."""
    films = _films(options)
    return {"director": {f"m{i:04d}": SURNAMES[d] for i, d in enumerate(films.director)}}


def read(folder: Path | None, options: Options) -> RawDataset:
    """Draw the data; the folder is not used."""
    films = _films(options)
    names = list(WORDS)
    n = options.items
    rng = generator(options.seed, "toy", "users")
    rows: list[tuple[str, str, float, int]] = []
    taste = rng.dirichlet([0.35] * len(names), options.users)
    lengths = np.clip(
        rng.lognormal(np.log(options.mean_length * 0.8), 0.65, options.users), 4, n // 2
    ).astype(int)
    bias = rng.normal(0, 0.35, options.users)
    late = np.zeros(n, dtype=bool)
    if options.arriving:
        late = (
            generator(options.seed, "toy", "arriving").random(films.saga.max() + 1)[films.saga]
            < options.arriving
        )
    for u in range(options.users):
        seen = np.zeros(n, dtype=bool)
        clock = int(rng.integers(1_500_000_000, 1_600_000_000)) if not options.arriving else BEGIN
        last = -1
        for _ in range(lengths[u]):
            following = (
                last + 1
                if last >= 0 and last + 1 < n and films.saga[last + 1] == films.saga[last]
                else -1
            )
            if following >= 0 and not seen[following] and rng.random() < 0.55:
                item = following
            else:
                out = ~late | (clock >= RELEASE)
                weight = films.popularity * (taste[u][films.genre] + 0.02) * ~seen * out
                item = int(rng.choice(n, p=weight / weight.sum()))
            seen[item], last = True, item
            clock += (
                int(rng.integers(600, 400_000))
                if not options.arriving
                else int(rng.integers(1, 2 * SPAN // lengths[u]))
            )
            score = (
                3.4
                + bias[u]
                + films.quality[item]
                + 1.4 * (taste[u][films.genre[item]] - 0.25)
                + rng.normal(0, 0.55)
            )
            rows.append((f"u{u:04d}", f"m{item:04d}", float(np.clip(np.round(score), 1, 5)), clock))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    shown = rng.random(n) < options.shown
    genre = [names[g] for g in films.genre]
    items = pd.DataFrame(
        {
            "item_id": [f"m{i:04d}" for i in range(n)],
            "title": films.titles,
            "text": [
                f"genre: {g}; year: {y}; a {g.lower()} film"
                for g, y in zip(genre, films.year, strict=True)
            ],
            "genre": genre,
            "decade": [f"{y // 10}0s" for y in films.year],
            "director": [
                SURNAMES[d] if s else "" for d, s in zip(films.director, shown, strict=True)
            ],
        }
    )
    favourite = [names[t] for t in taste.argmax(1)]
    told = rng.random(options.users) < 0.7
    users = pd.DataFrame(
        {
            "user_id": [f"u{u:04d}" for u in range(options.users)],
            "club": [f if k else "none" for f, k in zip(favourite, told, strict=True)],
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
