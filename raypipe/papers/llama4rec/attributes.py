"""Attribute prompts (P_3, L10 to L12): items whose value is asked for, each after worked examples.

With retrieval (L54) the examples are those items with a known value that are most alike, by tf-idf over title and text, the most
alike last, next to the question: where a series, an author or a place tells the value, the example that tells it is in the
prompt, and the answer is one of the examples' values or "unknown". Without, examples are drawn at random, and the answer is any
known value or "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.data.dataset import Attribute, Dataset
from raypipe.papers.llama4rec.config import AugmentConfig
from raypipe.prompts.contract import Rendered
from raypipe.prompts.templates import attribute
from raypipe.schema import ITEM, PROMPTS, TEXT, TITLE
from raypipe.seeding import generator


class Question(NamedTuple):
    """A prompt about one item; `value` is "" where it is not known."""

    name: str
    item_id: str
    rendered: Rendered
    value: str


def known_values(dataset: Dataset, wanted: Attribute) -> np.ndarray:
    """Each item's value from the items table or the dataset's worked examples; "" where neither has one."""
    items = dataset.items
    given = items[wanted.name] if wanted.name in items else pd.Series("", items.index)
    return given.where(
        given != "", items[TITLE].map(lambda title: wanted.examples.get(title, ""))
    ).to_numpy(str)


def questions(
    dataset: Dataset, config: AugmentConfig, known: bool, seed: int, exchanged: bool = False
) -> Iterator[Question]:
    """A question for each item whose value is missing or, for learning how to answer, known; its own value is never shown.

    Args:
        exchanged: all values of a question are exchanged by a permutation drawn for it, so that no memory of an item helps and the
            answer must be found in the examples (symbol tuning, Wei et al., EMNLP 2023).
    """
    items = dataset.items
    titles, texts, ids = (items[c].to_numpy(str) for c in (TITLE, TEXT, ITEM))
    words = [f"{title} {text}" for title, text in zip(titles, texts, strict=True)]
    rng = generator(seed, "attributes", known, exchanged)
    for wanted in dataset.attributes:
        value = known_values(dataset, wanted)
        options = sorted(set(value) - {""})
        shown, asked = np.flatnonzero(value != ""), np.flatnonzero((value != "") == known)
        count = min(config.examples, len(shown) - known)  # an item is no example of itself
        if count < 1 or not len(asked):
            continue
        found = (
            _nearest(words, shown, asked, count)
            if config.retrieval
            else _random(shown, asked, count, rng)
        )
        for item, of in zip(asked, found, strict=True):
            told = dict(
                zip(options, rng.permutation(options) if exchanged else options, strict=True)
            ) | {"": ""}
            examples = [(titles[i], texts[i], told[value[i]]) for i in of]
            allowed = sorted({v for _, _, v in examples}) if config.retrieval else options
            made = attribute.render(
                examples, titles[item], texts[item], wanted.name, allowed, ids[item]
            )
            yield Question(wanted.name, ids[item], made, told[value[item]])


def _random(
    shown: np.ndarray, asked: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows of the worked examples of each asked item, never itself."""
    for item in asked:
        yield np.sort(rng.choice(shown[shown != item], count, replace=False))


def _nearest(
    words: list[str], shown: np.ndarray, asked: np.ndarray, count: int
) -> Iterator[np.ndarray]:
    """As `_random`, the most alike items, the most alike last; without a word in any text, the first ones."""
    from sklearn.feature_extraction.text import (
        TfidfVectorizer,  # heavy, and most of who imports this file has no need of it
    )
    from sklearn.neighbors import NearestNeighbors

    # numbers are left out: a year that two items share is rare, so it would weigh more than what they are about
    vectors = TfidfVectorizer(token_pattern=r"[^\W\d]+").fit_transform([*words, "word"])
    nearest = NearestNeighbors(n_neighbors=min(count + 1, len(shown)), metric="cosine").fit(
        vectors[shown]
    )
    for start in range(0, len(asked), 1024):
        part = asked[start : start + 1024]
        for item, found in zip(
            part, nearest.kneighbors(vectors[part], return_distance=False), strict=True
        ):
            others = shown[found]
            yield others[others != item][:count][::-1]


def prompts(dataset: Dataset, config: AugmentConfig, seed: int) -> pd.DataFrame:
    """PROMPTS rows for every missing attribute of every item (L10)."""
    rows = [
        (
            f"attribute/{q.name}/{q.item_id}",
            "attribute",
            q.rendered.text,
            q.rendered.mode,
            q.rendered.pattern,
            list(q.rendered.options),
            list(q.rendered.payload),
        )
        for q in questions(dataset, config, False, seed)
    ]
    return pd.DataFrame(rows, columns=list(PROMPTS.columns))
