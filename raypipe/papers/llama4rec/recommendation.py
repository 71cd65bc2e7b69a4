"""What the recommender of a bundle answers."""

from __future__ import annotations

from typing import NamedTuple


class Recommendation(NamedTuple):
    """One item of an answer. rank_llm is None for items below the re-ranked list, or where the LLM
    gave no answer.
    """

    item_id: str
    title: str
    rank: int
    rank_rec: int
    rank_llm: int | None


class Answer(NamedTuple):
    """A list, the weight of the LLM for this user, and whether the LLM's answer could be used."""

    items: list[Recommendation]
    alpha: float
    task: str
    backbone: str
    llm_answered: bool


class Rating(NamedTuple):
    """A mixed rating and its two parts."""

    prediction: float
    rec: float
    llm: float | None
    alpha: float
    backbone: str
