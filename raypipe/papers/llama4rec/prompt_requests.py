"""Asks: what is asked of the LLM, as compact rows of item numbers, before anything is put into words.

An ask is one future prompt. Its columns (lists hold row numbers of the items table):
  ask_id, template          the id says task, user and purpose and is unique in its stage
  user_id, task, split      split: validation, test, held (tuning targets) or augment
  history, ratings          the user's most recent items, oldest first; ratings may be empty
  similar, similar_ratings  the same of the most similar user; empty without prompt augmentation
  hint, hint_rating         the conventional model's top items and predicted rating; empty and NaN without
  candidates                items to choose from, or the one target
  answer                    the true candidate's item number, or the true rating: for tuning alone, else -1
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices, RankedLists
from raypipe.papers.llama4rec.config import PromptConfig
from raypipe.schema import ITEM, RATING, USER
from raypipe.seeding import generator


class Ask(NamedTuple):
    """One ask in memory: the row that serving puts into words; tables of asks have the same columns."""

    ask_id: str
    template: str
    user_id: str
    task: str
    split: str
    history: Any
    ratings: Any = ()
    similar: Any = ()
    similar_ratings: Any = ()
    hint: Any = ()
    hint_rating: float = float("nan")
    candidates: Any = ()
    answer: float = -1


COLUMNS = Ask._fields


class Past(NamedTuple):
    """A user's items (row numbers) and ratings, oldest first."""

    items: np.ndarray
    ratings: np.ndarray

    def last(self, n: int) -> Past:
        return (
            Past(self.items[len(self.items) - n :], self.ratings[len(self.ratings) - n :])
            if n < len(self.items)
            else self
        )


NOTHING = Past(np.empty(0, np.int64), np.empty(0, np.float32))


class Histories:
    """What an LLM may read of each user.

    Top-k histories hold the positives; rating histories hold rated training rows. For tuning and for top-k prompts, rows that
    are validation or test of a top-k task are hidden from rating histories too.
    """

    def __init__(self, tables: InteractionMatrices) -> None:
        topk, rating = tables.rows("direct"), tables.rows("rating")
        train = rating[rating["part"] == "train"]
        self.topk = self._group(topk)
        self.topk_train = self._group(topk[topk["part"] == "train"])
        self.rated = self._group(train)
        self.rated_visible = self._group(train[~train["hidden"]])

    @staticmethod
    def _group(rows: pd.DataFrame) -> dict[str, Past]:
        if not len(rows):
            return {}
        number, users = pd.factorize(rows[USER])
        order, ends = (
            np.argsort(number, kind="stable"),
            np.cumsum(np.bincount(number, minlength=len(users)))[:-1],
        )
        items, ratings = (
            rows["i"].to_numpy(np.int64)[order],
            rows[RATING].to_numpy(np.float32)[order],
        )
        return dict(
            zip(
                users.tolist(),
                map(Past, np.split(items, ends), np.split(ratings, ends)),
                strict=True,
            )
        )

    def before(self, user: str, position: int, task: str, part: str) -> Past:
        """Positives before the target. A direct model has training rows only, so its LLM reads no more (fair comparison)."""
        if part == "test" and task == "direct":
            return self.topk_train.get(user, NOTHING)
        past = self.topk[user]
        return Past(past.items[:position], past.ratings[:position])


def listwise(
    tables: InteractionMatrices,
    histories: Histories,
    task: str,
    part: str,
    ranked: RankedLists,
    similar: dict[str, str] | None,
    config: PromptConfig,
    k_prime: int,
    seed: int,
    limit: int | None = None,
) -> pd.DataFrame:
    """Re-ranking asks of a part: one a target row.

    Args:
        ranked: lists of the model that gives candidates and hints, see `InteractionMatrices.read_lists`. For held rows they are deeper than k' and
            the target is made sure to be a candidate, see `_tuning_candidates`.
        similar: user -> most similar user; None for prompts without augmentation.
        limit: at most so many asks (held rows), those with the target in the top k' first, otherwise at random.
    """
    targets = tables.target_rows(task, part)
    rng = generator(seed, "listwise", task, part)
    rows: list[tuple[object, ...]] = []
    within: list[bool] = []
    for user, position, target in zip(
        *(targets[c].tolist() for c in (USER, "position", "i")), strict=True
    ):
        items = ranked[user, split_name(part, position)]
        if part == "held":
            candidates = _tuning_candidates(items, target, k_prime, rng)
            if candidates is None:
                continue
        else:
            candidates = items[:k_prime]
        past = histories.before(user, position, task, part)
        if part == "held" and len(past.items) < 3:
            continue  # L29: low-quality instructions
        past = past.last(config.history)
        if task == "direct" and config.direct_history == "shuffled":
            order = rng.permutation(len(past.items))
            past = Past(past.items[order], past.ratings[order])
        other = _similar_past(histories.topk_train, similar, user, config)
        hint = candidates[: config.hint] if similar is not None else NOTHING.items
        name = f"listwise/{task}/{split_name(part, position)}/0/{user}"
        rows.append(
            (
                name,
                "listwise",
                user,
                task,
                part,
                past.items,
                (),
                other.items,
                (),
                hint,
                np.nan,
                rng.permutation(candidates),
                target if part == "held" else -1,
            )
        )
        within.append(limit is not None and target in items[:k_prime])
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if limit is not None and len(frame) > limit:
        order = np.lexsort((rng.random(len(frame)), ~np.array(within)))
        frame = frame.iloc[np.sort(order[:limit])].reset_index(drop=True)
    return frame


def chunks(candidates: np.ndarray, size: int) -> list[np.ndarray]:
    """The fewest parts of at most `size` candidates, of about equal length."""
    return np.array_split(candidates, -(-len(candidates) // size))


def in_chunks(asks: pd.DataFrame, size: int) -> pd.DataFrame:
    """Listwise asks with at most `size` candidates each, of about equal number (L51); the number of the chunk is in the id."""
    if asks["candidates"].map(len).max() <= size:
        return asks
    rows = []
    for ask in asks.itertuples(index=False):
        *about, _, user = ask.ask_id.split("/", 4)
        parts = enumerate(chunks(ask.candidates, size))
        rows += [
            ask._replace(ask_id="/".join([*about, str(n), user]), candidates=part)
            for n, part in parts
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def pointwise_candidates(
    asks: pd.DataFrame,
    histories: Histories,
    similar: dict[str, str] | None,
    config: PromptConfig,
    rated: int,
) -> pd.DataFrame:
    """Pointwise asks (L25) for the candidates of listwise asks: k' a user, with `rated` items of the history.

    No rating is hinted: these models predict none.
    """
    rows: list[tuple[object, ...]] = []
    for ask in asks.itertuples():
        past = histories.rated_visible.get(ask.user_id, NOTHING).last(rated)
        other = _similar_past(histories.rated_visible, similar, ask.user_id, config)
        for candidate in ask.candidates:
            name = f"pointwise/{ask.task}/{ask.split}/{ask.user_id}/{int(candidate)}"
            rows.append(
                (
                    name,
                    "pointwise",
                    ask.user_id,
                    ask.task,
                    ask.split,
                    past.items,
                    past.ratings,
                    other.items,
                    other.ratings,
                    (),
                    np.nan,
                    (candidate,),
                    -1,
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rating(
    tables: InteractionMatrices,
    histories: Histories,
    part: str,
    predictions: pd.DataFrame | None,
    similar: dict[str, str] | None,
    config: PromptConfig,
    rated: int,
    seed: int,
    limit: int | None = None,
) -> pd.DataFrame:
    """Rating asks of a part.

    Args:
        rated: the most items of the history.
        predictions: user_id, item_id, prediction of the conventional model; None without prompt augmentation.
        limit: at most so many, at random. Of held rows those hidden from the LLM are left out, and half get no rating hint,
            because the pointwise re-ranking of top-k lists has none.
    """
    targets = tables.target_rows("rating", part)
    rng = generator(seed, "rating", part)
    if part == "held":
        targets = targets[~targets["hidden"]]
    if limit is not None and len(targets) > limit:
        targets = targets.iloc[np.sort(rng.permutation(len(targets))[:limit])]
    hints: dict[tuple[str, str], float] = {}
    if predictions is not None:
        hints = dict(
            zip(
                zip(predictions[USER], predictions[ITEM], strict=True),
                predictions["prediction"],
                strict=True,
            )
        )
    source = histories.rated_visible if part == "held" else histories.rated
    rows: list[tuple[object, ...]] = []
    for user, item, position, number, truth in zip(
        targets[USER],
        targets[ITEM],
        targets["position"],
        targets["i"],
        targets[RATING],
        strict=True,
    ):
        past = source.get(user, NOTHING)
        if part == "held":  # nothing after the target, and not the target
            stop = np.flatnonzero(past.items == number)
            past = Past(past.items[: stop[0]], past.ratings[: stop[0]]) if len(stop) else past
            if len(past.items) < 3:
                continue
        past = past.last(rated)
        other = _similar_past(histories.rated_visible, similar, user, config)
        hint = hints.get((user, item), np.nan)
        if part == "held" and rng.random() < 0.5:
            hint = np.nan
        name = f"pointwise/rating/{split_name(part, position)}/{user}"
        rows.append(
            (
                name,
                "pointwise",
                user,
                "rating",
                part,
                past.items,
                past.ratings,
                other.items,
                other.ratings,
                (),
                hint,
                (number,),
                float(truth) if part == "held" else -1,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def augmentation(
    tables: InteractionMatrices,
    histories: Histories,
    config: PromptConfig,
    per_user: int,
    size: int,
    template: str,
    seed: int,
    lists: dict[str, np.ndarray] | None = None,
    similar: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Pair (P_1) and pick (P_2) asks: `size` items drawn among those without a training interaction of the user (L6, L8, LO18).

    Args:
        lists: user -> the row numbers to draw from, best first, of a model that was fitted on earlier additions (L55).
        similar: user -> most similar user, as that model sees it; None for prompts without.
    """
    rows: list[tuple[object, ...]] = []
    n = len(tables.items)
    known_text = np.array([bool(t) for t in tables.dataset.items["title"]])
    for user in tables.users:
        past = histories.topk_train.get(user, NOTHING)
        if not len(past.items):
            continue
        rng = generator(seed, template, user)
        free = np.ones(n, dtype=bool)
        free[past.items] = False
        free &= known_text
        pool = (
            np.flatnonzero(free)
            if lists is None
            else lists[user][free[lists[user]]]
            if user in lists
            else NOTHING.items
        )
        if len(pool) < size:
            continue
        shown = past.last(config.history)
        other = _similar_past(histories.topk_train, similar, user, config)
        for number in range(per_user):
            about = (f"{template}/{user}/{number}", template, user, "augment", "augment")
            candidates = rng.choice(pool, size, replace=False)
            rows.append((*about, shown.items, (), other.items, (), (), np.nan, candidates, -1))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def augmentation_instructions(
    held: pd.DataFrame, n_items: int, size: int, template: str, limit: int, seed: int
) -> pd.DataFrame:
    """Tuning rows for P_1 and P_2 (LO16: a prompt that is used should be trained): the held item against random ones."""
    rng = generator(seed, "instructions", template)
    picked = held.iloc[np.sort(rng.permutation(len(held))[:limit])]
    rows = []
    for ask in picked.itertuples():
        others = rng.choice(n_items, size + len(ask.history), replace=False)
        others = others[~np.isin(others, ask.history) & (others != ask.answer)][: size - 1]
        candidates = rng.permutation(np.append(others, ask.answer))
        rows.append(
            (
                f"{template}/{ask.ask_id}",
                template,
                ask.user_id,
                "augment",
                "held",
                ask.history,
                (),
                (),
                (),
                (),
                np.nan,
                candidates,
                ask.answer,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def split_name(part: str, position: int) -> str:
    """The `split` of a LISTS row: a user has several held rows."""
    return f"held{position}" if part == "held" else part


def _similar_past(
    pasts: dict[str, Past], similar: dict[str, str] | None, user: str, config: PromptConfig
) -> Past:
    if similar is None or config.similar == 0 or user not in similar:
        return NOTHING
    return pasts.get(similar[user], NOTHING).last(config.similar)


def _tuning_candidates(
    items: np.ndarray, target: int, k_prime: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Candidates of a tuning row, in the conventional order.

    Where the target is among the top k', these are the candidates, as at inference. Where it stands deeper, it and k' - 1 random
    others of the deeper list: then the hint is honest but uninformed. Where it is not in the list at all the row is left out:
    a target that no hint supports would teach the LLM to go against the hint.
    """
    place = np.flatnonzero(items == target)
    if not len(place):
        return None
    if place[0] < k_prime:
        return items[:k_prime]
    others = rng.choice(np.flatnonzero(items != target), k_prime - 1, replace=False)
    return items[np.sort(np.append(others, place[0]))]
