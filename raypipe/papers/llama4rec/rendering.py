"""From prompt requests to prompts: the one place that turns item numbers into text, for tuning,
evaluation and serving.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec.attributes import known_values
from raypipe.papers.llama4rec.config_sections import PromptConfig
from raypipe.papers.llama4rec.prompt_requests import IDENTITY, Items, PromptRequest, request_id
from raypipe.prompts.contract import (
    Person,
    Rendered,
    Style,
    Words,
    history,
    rated_history,
)
from raypipe.prompts.templates import (
    attribute,
    listwise_constrained,
    listwise_freeform,
    listwise_logprobs,
    pair,
    pick,
    pointwise,
)
from raypipe.schema import ITEM, RATING, TEXT, TITLE

#: renders a template whose answer is among candidates, from their titles and item ids
RenderChoice = Callable[[Words, Person, Sequence[str], Sequence[str], Style], Rendered]

#: templates whose answer is among candidates, by name
CHOICES: dict[str, RenderChoice] = {
    "listwise_logprobs": listwise_logprobs.render,
    "listwise_constrained": listwise_constrained.render,
    "listwise_freeform": listwise_freeform.render,
    "pair": pair.render,
    "pick": pick.render,
}


class Catalogue(NamedTuple):
    """What rendering needs of a dataset: its words, and ids and titles by item number."""

    words: Words
    ids: np.ndarray
    titles: np.ndarray
    levels: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Catalogue:
        """The catalogue of a dataset in memory."""
        ratings = dataset.interactions[RATING]
        return cls(
            Words(dataset.noun, dataset.verb),
            dataset.items[ITEM].to_numpy(object),
            dataset.items[TITLE].to_numpy(object),
            pointwise.levels_of(ratings.min(), ratings.max()),
        )

    def names(self, items: Items) -> list[str]:
        """The titles of some item numbers."""
        return self.titles[np.asarray(items, dtype=np.int64)].tolist() if len(items) else []


@functools.lru_cache(maxsize=2)
def catalogue(folder: Path) -> Catalogue:
    """The catalogue of a saved dataset, read once per process."""
    return Catalogue.of(Dataset.load(folder))


def render(request: PromptRequest, catalogue: Catalogue, style: Style) -> Rendered:
    """The prompt of one request."""
    person = Person(
        catalogue.names(request.history),
        list(request.ratings),
        catalogue.names(request.similar),
        list(request.similar_ratings),
        catalogue.names(request.hint),
        None if pd.isna(request.hint_rating) else float(request.hint_rating),
    )
    candidates = np.asarray(request.candidates, dtype=np.int64)
    titles = catalogue.names(candidates)
    if request.template == "pointwise":
        return pointwise.render(catalogue.words, person, titles[0], catalogue.levels)
    ids = catalogue.ids[candidates].tolist()
    return CHOICES[request.template](catalogue.words, person, titles, ids, style)


def render_table(requests: pd.DataFrame, catalogue: Catalogue, style: Style) -> pd.DataFrame:
    """PROMPTS rows of a table of requests, with the columns that say what each is about."""
    rows = list(requests.itertuples(index=False))
    rendered = [render(row, catalogue, style) for row in rows]
    prompts = pd.DataFrame(rendered, columns=list(Rendered._fields))
    prompts = prompts.rename(columns={"text": "prompt"})
    prompts.insert(0, "prompt_id", list(map(request_id, rows)))
    return pd.concat([requests[list(IDENTITY)].reset_index(drop=True), prompts], axis=1)


def answer(request: PromptRequest, rendered: Rendered, catalogue: Catalogue) -> str:
    """The true option of a tuning request."""
    if request.template == "pointwise":
        level = min(catalogue.levels, key=lambda v: (abs(v - request.answer), v))
        return rendered.options[catalogue.levels.index(level)]
    return rendered.options[rendered.payload.index(catalogue.ids[int(request.answer)])]


class RatedItems(NamedTuple):
    """A user's rated items, oldest first: numbers and ratings."""

    items: np.ndarray
    ratings: np.ndarray


def corpus(
    dataset: Dataset,
    sequences: Sequence[np.ndarray],
    rated: Sequence[RatedItems],
    config: PromptConfig,
    rating_history_length: int,
) -> Iterator[str]:
    """Texts for language-modelling, in the sentences that the prompts use.

    Args:
        sequences: item numbers per user, oldest first; cut into windows of `config.history` items
            and the answer after them.
        rated: rated items per user; cut into windows of `rating_history_length`.
    """
    items = Catalogue.of(dataset)
    yield from _item_lines(dataset)
    for sequence in sequences:
        for end in range(len(sequence), 1, -config.history):
            yield window(items, sequence[:end], config)
    for numbers, ratings in rated:
        titles = items.names(numbers)
        for end in range(len(titles), 0, -rating_history_length):
            start = max(0, end - rating_history_length)
            yield rated_history(items.words, titles[start:end], ratings[start:end].tolist())


def _item_lines(dataset: Dataset) -> Iterator[str]:
    """Each item with its text, and with each of its known attributes."""
    known = {wanted.name: known_values(dataset, wanted) for wanted in dataset.attributes}
    items = zip(dataset.items[TITLE], dataset.items[TEXT], strict=True)
    for number, (title, text) in enumerate(items):
        yield f'"{title}"; {text}' if text else f'"{title}"'
        for name, values in known.items():
            if values[number]:
                yield attribute.line(title, text, name, values[number])


def window(
    items: Catalogue, sequence: np.ndarray, config: PromptConfig, style: Style = "title"
) -> str:
    """The newest items of a sequence (numbers, oldest first) as a text: `config.history` of them,
    and the last as the answer.

    Where answers are labels, the last is one of the history, as a title would be no answer.
    """
    titles = items.names(sequence[-config.history - 1 :])
    if style == "label":
        return history(items.words, titles)
    question = listwise_logprobs.question(items.words, has_candidates=False)
    return f'{history(items.words, titles[:-1])} {question} Answer: "{titles[-1]}"'
