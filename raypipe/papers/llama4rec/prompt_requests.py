"""Prompt requests: who is asked which question, as item numbers, before anything becomes text.

A request is one future prompt. Tuning, evaluation and serving build requests with the same
`RequestBuilder`, and rendering.py turns them into text. Lists hold row numbers of the items table.

Columns that say what a request is about (its identity):
  seed, backbone    the run's seed, and the backbone whose output the question is about ("all": any)
  template, task    the prompt template, and the task: direct, sequential, rating or augment
  split             validation, test, held (tuning targets), augment or serve
  user_id, item_id  "" where the question is about no single user or item
  attribute         the attribute that is asked for, else ""
  chunk             the number of the prompt where one question takes several
  position          held rows: the place of the target in the user's history, else -1
Columns that hold its content:
  history, ratings          the user's most recent items, oldest first; ratings may be empty
  similar, similar_ratings  the same of the most similar user; empty without prompt augmentation
  hint, hint_rating         the backbone's top items and predicted rating; empty and NaN without
  candidates                items to choose from, or the one target
  answer                    the true candidate's item number or the true rating, for tuning; else -1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices, RankedLists
from raypipe.papers.llama4rec.config_sections import PromptConfig
from raypipe.papers.llama4rec.histories import NO_INTERACTIONS, Histories, Interactions
from raypipe.schema import ITEM, USER
from raypipe.seeding import generator

Items = Sequence[int] | np.ndarray
Ratings = Sequence[float] | np.ndarray


class PromptRequest(NamedTuple):
    """One request; a table of requests has the same columns."""

    seed: int
    backbone: str
    template: str
    task: str
    split: str
    user_id: str
    item_id: str = ""
    attribute: str = ""
    chunk: int = 0
    position: int = -1
    history: Items = ()
    ratings: Ratings = ()
    similar: Items = ()
    similar_ratings: Ratings = ()
    hint: Items = ()
    hint_rating: float = float("nan")
    candidates: Items = ()
    answer: float = -1


COLUMNS = PromptRequest._fields
#: the columns that say what a prompt is about
IDENTITY = COLUMNS[: COLUMNS.index("history")]


def request_id(request: PromptRequest) -> str:
    """A unique, readable name of a request, by which rows are sorted; it is never taken apart."""
    split = split_name(request.split, request.position)
    about = (request.task, split, request.user_id, request.item_id, request.chunk)
    return "/".join(map(str, (request.seed, request.backbone, request.template, *about)))


def table(requests: Iterable[PromptRequest]) -> pd.DataFrame:
    """Requests as a table."""
    return pd.DataFrame(requests, columns=list(COLUMNS))


def split_name(split: str, position: int) -> str:
    """The `split` of a LISTS row: a user has several held rows."""
    return f"held{position}" if split == "held" else split


class Target(NamedTuple):
    """A row that is asked about: whose it is, its place in the user's history, and the item's
    number.
    """

    user_id: str
    position: int
    item: int


@dataclass(frozen=True)
class RequestBuilder:
    """Builds requests about users from what is known of them.

    Args:
        tables: the data and its split.
        histories: what prompts may show.
        config: lengths of the lists in a prompt (LO13).
        rating_history_length: rated items in prompts about a rating.
        seed, backbone: identity of the requests.
        similar: user -> most similar user (L14). None: prompts without augmentation, that is
            without similar user and hints.
    """

    tables: InteractionMatrices
    histories: Histories
    config: PromptConfig
    rating_history_length: int
    seed: int
    backbone: str
    similar: Mapping[str, str] | None

    def listwise(
        self,
        task: str,
        split: str,
        target: Target,
        history: Interactions,
        candidates: np.ndarray,
        rng: np.random.Generator,
    ) -> PromptRequest:
        """A request to rank candidates (L16 to L18).

        Args:
            candidates: [K] in the backbone's order. The prompt lists them in random order, so that
                their order tells nothing; the first are the hint.
        """
        shown = history.last(self.config.history)
        if task == "direct" and self.config.direct_history == "shuffled":
            order = rng.permutation(len(shown.items))
            shown = Interactions(shown.items[order], shown.ratings[order])
        hint = candidates[: self.config.hint] if self.similar is not None else NO_INTERACTIONS.items
        return PromptRequest(
            self.seed,
            self.backbone,
            "listwise_logprobs",
            task,
            split,
            target.user_id,
            position=target.position if split == "held" else -1,
            history=shown.items,
            similar=self._similar(target.user_id, self.histories.training_positives).items,
            hint=hint,
            candidates=rng.permutation(candidates),
            answer=target.item if split == "held" else -1,
        )

    def rating(
        self,
        task: str,
        split: str,
        target: Target,
        history: Interactions,
        hint_rating: float = float("nan"),
        truth: float = -1,
    ) -> PromptRequest:
        """A request for the rating of the target (L22), also to rank a list item by item (L25)."""
        shown = history.last(self.rating_history_length)
        other = self._similar(target.user_id, self.histories.visible_ratings)
        return PromptRequest(
            self.seed,
            self.backbone,
            "pointwise",
            task,
            split,
            target.user_id,
            str(self.tables.items[target.item]),
            position=target.position if split == "held" else -1,
            history=shown.items,
            ratings=shown.ratings,
            similar=other.items,
            similar_ratings=other.ratings,
            hint_rating=hint_rating,
            candidates=(target.item,),
            answer=truth,
        )

    def choice(
        self, template: str, user: str, number: int, candidates: np.ndarray
    ) -> PromptRequest:
        """A request of data augmentation: which of some items would the user prefer (P_1, P_2)?"""
        history = self.histories.training_positives.get(user, NO_INTERACTIONS)
        return PromptRequest(
            self.seed,
            self.backbone,
            template,
            "augment",
            "augment",
            user,
            chunk=number,
            history=history.last(self.config.history).items,
            similar=self._similar(user, self.histories.training_positives).items,
            candidates=candidates,
        )

    def _similar(self, user: str, histories: Mapping[str, Interactions]) -> Interactions:
        """What a prompt shows of the most similar user."""
        if self.similar is None or self.config.similar == 0 or user not in self.similar:
            return NO_INTERACTIONS
        return histories.get(self.similar[user], NO_INTERACTIONS).last(self.config.similar)

    def targets(self, task: str, split: str) -> list[Target]:
        """The rows of a split that are asked about."""
        rows = self.tables.target_rows(task, split)
        columns = (rows[USER].tolist(), rows["position"].tolist(), rows["i"].tolist())
        return list(map(Target, *columns))


def listwise_stream(seed: int, task: str, user: str) -> np.random.Generator:
    """The random order of a user's candidates: the same in evaluation and in serving."""
    return generator(seed, "listwise", task, user)


def rerank_requests(
    builder: RequestBuilder, task: str, split: str, ranked: RankedLists, k_prime: int
) -> pd.DataFrame:
    """Listwise requests of validation or test: one for each target row.

    Args:
        ranked: the backbone's lists, see `InteractionMatrices.ranked`; the first k' items are the
            candidates.
    """
    requests = []
    for target in builder.targets(task, split):
        candidates = ranked[target.user_id, split][:k_prime]
        rng = listwise_stream(builder.seed, task, target.user_id)
        history = builder.histories.before(target.user_id, target.position, task, split)
        requests.append(builder.listwise(task, split, target, history, candidates, rng))
    return table(requests)


def chunks(candidates: np.ndarray, size: int) -> list[np.ndarray]:
    """The fewest parts of at most `size` candidates, of about equal length."""
    return np.array_split(candidates, -(-len(candidates) // size))


def in_chunks(requests: pd.DataFrame, size: int) -> pd.DataFrame:
    """Listwise requests with at most `size` candidates each, of about equal number (L51)."""
    if requests["candidates"].map(len).max() <= size:
        return requests
    rows = []
    for request in requests.itertuples(index=False):
        for number, candidates in enumerate(chunks(request.candidates, size)):
            rows.append(request._replace(chunk=number, candidates=candidates))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def pointwise_requests(
    builder: RequestBuilder,
    task: str,
    split: str,
    ranked: RankedLists,
    count: int,
    users: set[str] | None = None,
) -> pd.DataFrame:
    """Requests to rate the first `count` candidates of each list, one by one (L25); of some users
    or all.

    They hint no rating: a top-k backbone predicts none.
    """
    requests = []
    for target in builder.targets(task, split):
        user = target.user_id
        if users is not None and user not in users:
            continue
        history = builder.histories.visible_ratings.get(user, NO_INTERACTIONS)
        for item in ranked[user, split][:count]:
            candidate = Target(user, target.position, int(item))
            requests.append(builder.rating(task, split, candidate, history))
    return table(requests)


def rating_requests(
    builder: RequestBuilder, split: str, predictions: pd.DataFrame | None
) -> pd.DataFrame:
    """Requests of the rating task for validation or test.

    Args:
        predictions: user_id, item_id, prediction of the backbone; None without prompt augmentation.
    """
    hints = rating_hints(predictions)
    requests = []
    for target in builder.targets("rating", split):
        history = builder.histories.training_ratings.get(target.user_id, NO_INTERACTIONS)
        hint = hints.get((target.user_id, builder.tables.items[target.item]), np.nan)
        requests.append(builder.rating("rating", split, target, history, hint))
    return table(requests)


def rating_hints(predictions: pd.DataFrame | None) -> dict[tuple[str, str], float]:
    """(user, item) -> the backbone's prediction."""
    if predictions is None:
        return {}
    pairs = zip(predictions[USER], predictions[ITEM], strict=True)
    return dict(zip(pairs, predictions["prediction"], strict=True))
