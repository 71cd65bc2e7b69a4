"""From answers to scores and utilities: the LLM's score for each candidate, beside the backbone's.

U = users, K = k', the length of the re-ranked list.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from raypipe.papers.llama4rec import aggregation
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import listwise_constrained, listwise_logprobs, pointwise
from raypipe.schema import ITEM, USER

#: how a list can be ranked, see model_selection.py
Ranking = Literal["listwise", "pointwise"]
RANKINGS: tuple[Ranking, ...] = ("listwise", "pointwise")
#: parsers of the templates whose answer orders candidates
LISTWISE = {
    "listwise_logprobs": listwise_logprobs.parse,
    "listwise_constrained": listwise_constrained.parse,
}


class LLMScore(NamedTuple):
    """The LLM's score for one item; a table of scores has the same columns.

    Attributes:
        chunk: the number of the prompt that named the item, 0 where there is one.
        score: larger is better: a log-probability, minus a place, or an expected rating.
    """

    seed: int
    backbone: str
    task: str
    split: str
    ranking: Ranking
    user_id: str
    item_id: str
    chunk: int
    score: float


COLUMNS = list(LLMScore._fields)


def llm_scores(answers: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """The LLM's scores, and how many answers were rejected or repaired, by kind (LO23).

    Args:
        answers: PROMPTS rows of re-ranking and rating, joined with their COMPLETIONS.

    Returns:
        a table with COLUMNS.
    """
    rejected: Counter[str] = Counter()
    scores: list[LLMScore] = []
    for row in answers.itertuples():
        completion = Completion(row.answer, list(row.logprobs))
        options, payload = list(row.options), list(row.payload)
        identity = (row.seed, row.backbone, row.task, row.split)
        if row.template in LISTWISE:
            ranked = LISTWISE[row.template](completion, options, payload)
            if isinstance(ranked, Rejected):
                rejected[ranked.kind] += 1
                continue
            for item, score in ranked:
                scores.append(LLMScore(*identity, "listwise", row.user_id, item, row.chunk, score))
            if row.template == "listwise_constrained":
                order = listwise_constrained.named(row.answer, options)
                rejected["repeated (first place kept)"] += len(set(order)) < len(order)
        else:
            rating = pointwise.parse(completion, options, payload)
            if isinstance(rating, Rejected):
                rejected[rating.kind] += 1
                continue
            scores.append(LLMScore(*identity, "pointwise", row.user_id, row.item_id, 0, rating))
    return pd.DataFrame(scores, columns=COLUMNS), +rejected


class Candidates(NamedTuple):
    """The first k' items [U, K] of each list and their scores [U, K]; shorter lists end in "" with
    the score -inf.
    """

    items: np.ndarray
    scores: np.ndarray


def candidates(lists: pd.DataFrame, k: int) -> Candidates:
    """The first k items of LISTS rows."""
    longest = max((len(items) for items in lists["items"]), default=0)
    items_UK = np.full((len(lists), min(k, longest)), "", dtype=object)
    scores_UK = np.full(items_UK.shape, -np.inf)
    for row, (items, scores) in enumerate(zip(lists["items"], lists["scores"], strict=True)):
        n = min(k, len(items))
        items_UK[row, :n], scores_UK[row, :n] = items[:n], scores[:n]
    return Candidates(items_UK, scores_UK)


class Utilities(NamedTuple):
    """What the LLM and the backbone say about each candidate, in the backbone's order.

    Attributes:
        llm, backbone: [U, K] utilities, larger is better.
        answered: [U] whether the LLM's answer about the user could be used.
    """

    llm: np.ndarray
    backbone: np.ndarray
    answered: np.ndarray


def utilities(lists: pd.DataFrame, scores: pd.DataFrame, config: Llama4RecConfig) -> Utilities:
    """The utilities that eq. 6 mixes.

    A user whose answer was rejected gets the backbone's utilities twice, so that nothing is
    invented (LO23). Candidates that are not rated, because there are more than
    `rerank.pointwise_k`, are -inf to the LLM and so stay behind the others; those that a shorter
    list does not have are -inf to both.

    Args:
        lists: LISTS rows of the users.
        scores: the scores of one ranking for them, see `llm_scores`.
    """
    pointwise_ranking = set(scores["ranking"]) == {"pointwise"}
    merge_chunks = chunks_must_be_merged(config) and not pointwise_ranking
    keys = zip(scores[USER], scores[ITEM], strict=True)
    score_of = dict(zip(keys, zip(scores["score"], scores["chunk"], strict=True), strict=True))
    items_UK, backbone_UK = candidates(lists, config.k_prime)
    llm_UK = backbone_UK.copy()
    answered_U = np.zeros(len(lists), dtype=bool)
    for row, user in enumerate(lists[USER]):
        items = items_UK[row][backbone_UK[row] > -np.inf]
        if pointwise_ranking:
            items = items[: config.rerank.pointwise_k]
        known = [score_of[user, item] for item in items if (user, item) in score_of]
        if not known or len(known) < len(items):
            continue
        answered_U[row] = True
        score_K, chunk_K = np.array(known).T
        if merge_chunks:
            score_K = merged(score_K, chunk_K, backbone_UK[row, : len(items)])
        llm_UK[row, len(items) :] = -np.inf
        llm_UK[row, : len(items)] = score_K
    if config.utilities_are_positions:
        llm_UK, backbone_UK = map(aggregation.by_position, (llm_UK, backbone_UK))
    return Utilities(llm_UK, backbone_UK, answered_U)


def chunks_must_be_merged(config: Llama4RecConfig) -> bool:
    """Whether the scores of two chunks cannot be compared: labels and listed titles are told apart
    within a prompt only.
    """
    return config.candidates_per_prompt < config.k_prime and config.style != "title"


def merged(llm_K: np.ndarray, chunk_K: np.ndarray, backbone_K: np.ndarray) -> np.ndarray:
    """[K] log-probabilities over all candidates from those within chunks (L51).

    p(i) = p_LLM(i | its chunk) p_backbone(its chunk), where p_backbone is the softmax of the
    backbone's scores.
    """
    merged_K = np.empty(len(llm_K))
    for chunk in np.unique(chunk_K):
        members = chunk_K == chunk
        share = logsumexp(backbone_K[members]) - logsumexp(backbone_K)
        merged_K[members] = llm_K[members] - logsumexp(llm_K[members]) + share
    return merged_K
