"""From completions to ranks: what the LLM says of each candidate, beside what the conventional model says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.rendering import LISTS
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import listwise_constrained, pointwise

COLUMNS = ["seed", "backbone", "template", "task", "split", "user_id", "item", "value", "chunk"]


def values(answered: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """The LLM's value of each candidate, larger is better, and the rejected answers by kind, with those that were mended (LO23).

    Args:
        answered: prompts with completions; a prompt_id is seed/backbone/template/task/split/, then chunk/user (listwise), user/item
            number (pointwise candidates) or user (rating task).

    Returns:
        COLUMNS frame: `item` is an item id (listwise), a row number (pointwise candidates) or "" (rating task); `value` a
        log-probability, minus a place, or an expected rating; `chunk` the number of the prompt that named the item, 0 where there
        is one.
    """
    rejected: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
    for row in answered.itertuples():
        number, *about, rest = row.prompt_id.split("/", 5)
        about = [int(number), *about]
        template, task = about[2], about[3]
        completion = Completion(row.answer, list(row.logprobs))
        got: Any
        if template == "listwise":
            got = LISTS[row.template].parse(completion, list(row.options), list(row.payload))
            if row.template == "written":
                order = listwise_constrained.named(row.answer, row.options)
                rejected["repeated (mended)"] += len(set(order)) < len(order)
            if not isinstance(got, Rejected):
                chunk, _, user = rest.partition("/")
                rows += [(*about, user, item, value, int(chunk)) for item, value in got]
        else:
            user, _, item = rest.rpartition("/") if task != "rating" else (rest, "", "")
            got = pointwise.parse(completion, list(row.options), list(row.payload))
            if not isinstance(got, Rejected):
                rows.append((*about, user, item, got, 0))
        if isinstance(got, Rejected):
            rejected[got.kind] += 1
    return pd.DataFrame(rows, columns=COLUMNS), +rejected


def candidates(lists: pd.DataFrame, k: int) -> tuple[np.ndarray, np.ndarray]:
    """([U, K], [U, K]) the first k items of LISTS rows and their scores; shorter lists end in "" with the score -inf."""
    longest = max((len(items) for items in lists["items"]), default=0)
    ids = np.full((len(lists), min(k, longest)), "", dtype=object)
    scores = np.full(ids.shape, -np.inf)
    for row, (items, values) in enumerate(zip(lists["items"], lists["scores"], strict=True)):
        n = min(k, len(items))
        ids[row, :n], scores[row, :n] = items[:n], values[:n]
    return ids, scores


def utilities(
    lists: pd.DataFrame, said: pd.DataFrame, item_number: dict[str, int], config: Llama4RecConfig
) -> tuple[np.ndarray, np.ndarray]:
    """([U, K], [U, K]) what the LLM and what the conventional model say of each candidate, in conventional order.

    A user whose answer was rejected gets the conventional utilities twice, so that nothing is made up (LO23). Candidates that
    are not rated, because there are more than `pointwise_k`, are -inf to the LLM and so stay behind the others; those that a
    shorter list does not have are -inf to both.

    Args:
        lists: LISTS rows of the users.
        said: what `values` gave for them.
    """
    apart, pointwise = must_merge(config), set(said["template"]) == {"pointwise"}
    told = zip(said["value"], said["chunk"], strict=True)
    by_id = dict(zip(zip(said["user_id"], said["item"], strict=True), told, strict=True))
    ids, rec = candidates(lists, config.k_prime)
    llm = rec.copy()
    for row, user in enumerate(lists["user_id"]):
        own = ids[row][rec[row] > -np.inf]
        if pointwise:
            own = own[: config.rerank.pointwise_k]
        found = [by_id.get((user, str(item_number[i])) if pointwise else (user, i)) for i in own]
        if found and not any(v is None for v in found):
            value, chunk = np.array(found).T
            llm[row, len(own) :] = -np.inf
            llm[row, : len(own)] = (
                merged(value, chunk, rec[row, : len(own)]) if apart and not pointwise else value
            )
    if config.by_position:
        return aggregation.by_position(llm), aggregation.by_position(rec)
    return llm, rec


def must_merge(config: Llama4RecConfig) -> bool:
    """Whether the values of two chunks cannot be compared: labels and listed titles are told apart within a prompt alone."""
    return config.at_once < config.k_prime and config.style != "title"


def merged(llm_K: np.ndarray, chunk_K: np.ndarray, rec_K: np.ndarray) -> np.ndarray:
    """[K] log-probabilities over all candidates from those within chunks (L51).

    p(i) = p_LLM(i | its chunk) p_Rec(its chunk), where p_Rec is the softmax of the conventional scores.
    """
    out = np.empty(len(llm_K))
    for chunk in np.unique(chunk_K):
        own = chunk_K == chunk
        out[own] = llm_K[own] - logsumexp(llm_K[own]) + logsumexp(rec_K[own]) - logsumexp(rec_K)
    return out
