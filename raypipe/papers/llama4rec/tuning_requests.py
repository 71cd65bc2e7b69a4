"""Requests of the held rows, whose answers the LLM is tuned on (L28, L29)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raypipe.backbones.interaction_matrices import RankedLists
from raypipe.papers.llama4rec.augmentation_requests import Draw
from raypipe.papers.llama4rec.histories import NO_INTERACTIONS
from raypipe.papers.llama4rec.prompt_requests import (
    COLUMNS,
    PromptRequest,
    RequestBuilder,
    Target,
    rating_hints,
    split_name,
    table,
)
from raypipe.schema import RATING
from raypipe.seeding import generator

#: interactions before the target that a tuning row needs (L29: low-quality instructions are
#: dropped)
SHORTEST_HISTORY = 3


def rerank_tuning_requests(
    builder: RequestBuilder, task: str, ranked: RankedLists, k_prime: int, limit: int
) -> pd.DataFrame:
    """Listwise requests of the held rows, for tuning.

    Args:
        ranked: lists that are deeper than k'; the target is made sure to be a candidate, see
            `_tuning_candidates`.
        limit: at most so many requests: those with the target in the top k' first, otherwise at
            random.
    """
    rng = generator(builder.seed, "listwise", task, "held")
    requests: list[PromptRequest] = []
    in_top: list[bool] = []
    for target in builder.targets(task, "held"):
        items = ranked[target.user_id, split_name("held", target.position)]
        candidates = _tuning_candidates(items, target.item, k_prime, rng)
        if candidates is None:
            continue
        history = builder.histories.before(target.user_id, target.position, task, "held")
        if len(history.items) < SHORTEST_HISTORY:
            continue
        requests.append(builder.listwise(task, "held", target, history, candidates, rng))
        in_top.append(target.item in items[:k_prime])
    if len(requests) > limit:
        order = np.lexsort((rng.random(len(requests)), ~np.array(in_top)))
        requests = [requests[n] for n in np.sort(order[:limit])]
    return table(requests)


def rating_tuning_requests(
    builder: RequestBuilder, predictions: pd.DataFrame | None, limit: int
) -> pd.DataFrame:
    """Requests of the rating task for tuning: held rows that are not hidden, at most `limit` at
    random.

    Half of them get no hint, because pointwise re-ranking of top-k lists has none.
    """
    rows = builder.tables.target_rows("rating", "held")
    rows = rows[~rows["hidden"]]
    rng = generator(builder.seed, "rating", "held")
    if len(rows) > limit:
        rows = rows.iloc[np.sort(rng.permutation(len(rows))[:limit])]
    hints = rating_hints(predictions)
    requests = []
    for row in rows.itertuples():
        target = Target(row.user_id, row.position, row.i)
        ratings = builder.histories.visible_ratings.get(target.user_id, NO_INTERACTIONS)
        history = ratings.before_item(target.item)
        if len(history.items) < SHORTEST_HISTORY:
            continue
        hint = hints.get((target.user_id, row.item_id), np.nan)
        if rng.random() < 0.5:
            hint = np.nan
        truth = float(getattr(row, RATING))
        requests.append(builder.rating("rating", "held", target, history, hint, truth))
    return table(requests)


def augmentation_tuning_requests(
    held: pd.DataFrame, n_items: int, draw: Draw, limit: int, seed: int
) -> pd.DataFrame:
    """Tuning rows for P_1 and P_2 (LO16: a prompt that is used should be trained): the held item
    against random ones.
    """
    rng = generator(seed, "instructions", draw.template)
    chosen = held.iloc[np.sort(rng.permutation(len(held))[:limit])]
    requests = []
    for row in chosen.itertuples(index=False):
        others = rng.choice(n_items, draw.items + len(row.history), replace=False)
        others = others[~np.isin(others, row.history) & (others != row.answer)]
        candidates = rng.permutation(np.append(others[: draw.items - 1], row.answer))
        requests.append(
            row._replace(
                template=draw.template,
                task="augment",
                similar=(),
                hint=(),
                candidates=candidates,
            )
        )
    return pd.DataFrame(requests, columns=list(COLUMNS))


def _tuning_candidates(
    items: np.ndarray, target: int, k_prime: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Candidates of a tuning row, in the backbone's order.

    Where the target is among the top k', these are the candidates, as at inference. Where it stands
    deeper, it and k' - 1 random others of the deeper list: then the hint is honest but uninformed.
    Where it is not in the list at
    all the row is left out: a target that no hint supports would teach the LLM to ignore the hint.
    """
    places = np.flatnonzero(items == target)
    if not len(places):
        return None
    if places[0] < k_prime:
        return items[:k_prime]
    others = rng.choice(np.flatnonzero(items != target), k_prime - 1, replace=False)
    return items[np.sort(np.append(others, places[0]))]
