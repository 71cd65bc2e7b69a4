"""From asks to prompts: the one place that puts asks into words, for tuning, evaluation and serving alike."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec.attributes import known_values
from raypipe.papers.llama4rec.config import PromptConfig
from raypipe.prompts.contract import Person, Rendered, Style, Words, history, rated_history
from raypipe.prompts.templates import (
    attribute,
    listwise_constrained,
    listwise_freeform,
    listwise_logprobs,
    pair,
    pick,
    pointwise,
)
from raypipe.schema import ITEM, TEXT, TITLE

#: templates that ask for an order of candidates, as `Llama4RecConfig.lists` names them
LISTS: dict[str, Any] = {"listwise": listwise_logprobs, "written": listwise_constrained}
#: templates whose answer is among candidates
_CHOICES = LISTS | {"pair": pair, "pick": pick}


class Catalogue(NamedTuple):
    """What wording needs of a dataset."""

    words: Words
    ids: np.ndarray
    titles: np.ndarray
    levels: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Catalogue:
        log = dataset.interactions["rating"]
        return cls(
            Words(dataset.noun, dataset.verb),
            dataset.items[ITEM].to_numpy(object),
            dataset.items[TITLE].to_numpy(object),
            pointwise.levels_of(log.min(), log.max()),
        )


@functools.lru_cache(maxsize=2)
def catalogue(folder: Path) -> Catalogue:
    """The catalogue of a saved dataset, read once per process."""
    return Catalogue.of(Dataset.load(folder))


def render(ask: Any, catalogue: Catalogue, style: Style) -> Rendered:
    """The prompt of one ask (a row with the columns of asks.COLUMNS)."""
    titles = catalogue.titles

    def named(rows: Any) -> list[str]:
        return titles[np.asarray(rows, dtype=np.int64)].tolist() if len(rows) else []

    person = Person(
        named(ask.history),
        list(ask.ratings),
        named(ask.similar),
        list(ask.similar_ratings),
        named(ask.hint),
        None if pd.isna(ask.hint_rating) else float(ask.hint_rating),
    )
    if ask.template == "pointwise":
        return pointwise.render(
            catalogue.words, person, titles[int(ask.candidates[0])], catalogue.levels
        )
    candidates = np.asarray(ask.candidates, dtype=np.int64)
    if ask.template == "ranking":
        return listwise_freeform.render(
            catalogue.words, person, named(candidates), catalogue.ids[candidates].tolist()
        )
    return _CHOICES[ask.template].render(
        catalogue.words, person, named(candidates), catalogue.ids[candidates].tolist(), style
    )


def render_batch(asks: pd.DataFrame, folder: Path, style: Style) -> pd.DataFrame:
    """PROMPTS rows of a batch of asks."""
    book = catalogue(folder)
    made = [render(ask, book, style) for ask in asks.itertuples()]
    return pd.DataFrame(
        {
            "prompt_id": asks["ask_id"].to_numpy(),
            "template": asks["template"].to_numpy(),
            "prompt": [r.text for r in made],
            "mode": [r.mode for r in made],
            "pattern": [r.pattern for r in made],
            "options": [r.options for r in made],
            "payload": [r.payload for r in made],
        }
    )


def answer(ask: Any, rendered: Rendered, catalogue: Catalogue) -> str:
    """The true option of a tuning ask."""
    if ask.template == "pointwise":
        level = min(catalogue.levels, key=lambda v: (abs(v - ask.answer), v))
        return rendered.options[catalogue.levels.index(level)]
    return rendered.options[rendered.payload.index(catalogue.ids[int(ask.answer)])]


def corpus(
    dataset: Dataset,
    taken: Sequence[np.ndarray],
    rated: Sequence[tuple[np.ndarray, np.ndarray]],
    config: PromptConfig,
    together: int,
) -> Iterator[str]:
    """Texts for language-modelling, in the sentences that the prompts use.

    Args:
        taken: item numbers per user, oldest first; cut into windows of `config.history` items and the answer after them.
        rated: (item numbers, ratings) per user; cut into windows of `together`.
    """
    book = Catalogue.of(dataset)
    known = {wanted.name: known_values(dataset, wanted) for wanted in dataset.attributes}
    for number, (title, text) in enumerate(
        zip(dataset.items[TITLE], dataset.items[TEXT], strict=True)
    ):
        yield f'"{title}"; {text}' if text else f'"{title}"'
        for name, values in known.items():
            if values[number]:
                yield attribute.line(title, text, name, values[number])
    for items in taken:
        for end in range(len(items), 1, -config.history):
            yield window(book, items[:end], config)
    for items, ratings in rated:
        titles = list(book.titles[items])
        for end in range(len(titles), 0, -together):
            start = max(0, end - together)
            yield rated_history(book.words, titles[start:end], ratings[start:end].tolist())


def window(book: Catalogue, items: np.ndarray, config: PromptConfig, style: Style = "title") -> str:
    """The newest of `items` (numbers, oldest first) as a text: `config.history` of them and the last as the answer.

    Where answers are labels, the last is one of the history, as a title would be no answer.
    """
    titles = list(book.titles[items[-config.history - 1 :]])
    if style == "label":
        return f"{history(book.words, titles)}."
    return f'{history(book.words, titles[:-1])}. Answer: "{titles[-1]}"'
