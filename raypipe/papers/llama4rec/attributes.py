"""Attribute prompts (P_3, L10 to L12): items whose value is asked for, each after worked examples.

With retrieval (L54) the examples are those items with a known value that are most alike, by tf-idf
over title and text, the most
alike last, next to the question: where a series, an author or a place tells the value, the example
    that tells it is in the
prompt, and the answer is one of the examples' values or "unknown". Without, examples are drawn at
random, and the answer is any known value or "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.data.dataset import Attribute, Dataset
from raypipe.papers.llama4rec.config_sections import AugmentConfig
from raypipe.papers.llama4rec.prompt_requests import IDENTITY, PromptRequest
from raypipe.prompts.contract import Rendered
from raypipe.prompts.templates import attribute
from raypipe.schema import ITEM, TEXT, TITLE
from raypipe.seeding import generator


class Question(NamedTuple):
    """A prompt about one attribute of one item; `value` is "" where it is not known."""

    attribute: str
    item_id: str
    prompt: Rendered
    value: str


def known_values(dataset: Dataset, wanted: Attribute) -> np.ndarray:
    """Each item's value from the items table or the dataset's worked examples; "" where neither has
    one.
    """
    items = dataset.items
    given = items[wanted.name] if wanted.name in items else pd.Series("", items.index)
    from_examples = items[TITLE].map(lambda title: wanted.examples.get(title, ""))
    return given.where(given != "", from_examples).to_numpy(str)


class _ItemTexts(NamedTuple):
    """Titles, texts and ids of all items, in catalogue order."""

    titles: np.ndarray
    texts: np.ndarray
    ids: np.ndarray


def questions(
    dataset: Dataset, config: AugmentConfig, known: bool, seed: int, exchanged: bool = False
) -> Iterator[Question]:
    """A question for each item whose value is missing or, for learning how to answer, known; its
    own value is never shown.

    Args:
        exchanged: all values of a question are exchanged by a permutation drawn for it, so that no
            memory of an item helps and the answer must be found in the examples (symbol tuning, Wei
            et al., EMNLP 2023).
    """
    items = _ItemTexts(*(dataset.items[column].to_numpy(str) for column in (TITLE, TEXT, ITEM)))
    words = [f"{title} {text}" for title, text in zip(items.titles, items.texts, strict=True)]
    rng = generator(seed, "attributes", known, exchanged)
    for wanted in dataset.attributes:
        values = known_values(dataset, wanted)
        with_value, targets = np.flatnonzero(values != ""), np.flatnonzero((values != "") == known)
        count = min(config.examples, len(with_value) - known)  # an item is no example of itself
        if count < 1 or not len(targets):
            continue
        choose = _nearest if config.retrieval else _random
        neighbours = choose(words, with_value, targets, count, rng)
        options = sorted(set(values) - {""})
        for item, examples in zip(targets, neighbours, strict=True):
            renamed = rng.permutation(options) if exchanged else options
            shown = dict(zip(options, renamed, strict=True)) | {"": ""}
            lines = [(items.titles[i], items.texts[i], shown[values[i]]) for i in examples]
            allowed = sorted({value for _, _, value in lines}) if config.retrieval else options
            target = (items.titles[item], items.texts[item], items.ids[item])
            prompt = attribute.render(lines, target, wanted.name, allowed)
            yield Question(wanted.name, items.ids[item], prompt, shown[values[item]])


def _random(
    words: list[str], shown: np.ndarray, targets: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows of the worked examples of each target item, never itself."""
    for item in targets:
        yield np.sort(rng.choice(shown[shown != item], count, replace=False))


def _nearest(
    words: list[str], shown: np.ndarray, targets: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """As `_random`, the most similar items, the most similar last; without a word in any text, the
    first ones.
    """
    # heavy, and most importers of this file do not need it
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    # numbers are left out: a year that two items share is rare, so it would weigh more than what
    # they are about
    vectors = TfidfVectorizer(token_pattern=r"[^\W\d]+").fit_transform([*words, "word"])
    neighbours = NearestNeighbors(n_neighbors=min(count + 1, len(shown)), metric="cosine")
    neighbours.fit(vectors[shown])
    for start in range(0, len(targets), 1024):
        part = targets[start : start + 1024]
        found = neighbours.kneighbors(vectors[part], return_distance=False)
        for item, rows in zip(part, found, strict=True):
            others = shown[rows]
            yield others[others != item][:count][::-1]


def prompts(dataset: Dataset, config: AugmentConfig, seed: int) -> pd.DataFrame:
    """PROMPTS rows for every missing attribute of every item (L10)."""
    identities, rows = [], []
    for question in questions(dataset, config, False, seed):
        item, name = question.item_id, question.attribute
        request = PromptRequest(seed, "all", "attribute", "rating", "augment", "", item, name)
        identities.append(request[: len(IDENTITY)])
        rows.append((f"{seed}/all/attribute/{name}/{item}", *question.prompt))
    prompts = pd.DataFrame(rows, columns=["prompt_id", *Rendered._fields])
    prompts = prompts.rename(columns={"text": "prompt"})
    return pd.concat([pd.DataFrame(identities, columns=list(IDENTITY)), prompts], axis=1)
