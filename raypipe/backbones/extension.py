"""A fitted backbone over texts, asked about a user and items that came after it was fitted (RecLM R1, R7).

A new user begins as the mean of the x_u of those who took the same items, rare items counting more, with a profile of the own, and
stands in the graph beside the items of the own history. A new item begins as its text and profile. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from raypipe.backbones.contract import FitData, Ragged, Ranker
from raypipe.backbones.entities import TextVectors


class NewItems(NamedTuple):
    """Text vectors [n, dt], and those of the profiles [n, dt], or None where the backbone has no profiles of items."""

    text: np.ndarray
    profile: np.ndarray | None


class NewUser(NamedTuple):
    """Item numbers of the history, and the vector [dt] of the profile, or None where the backbone has no profiles of users."""

    history: np.ndarray
    profile: np.ndarray | None


def extend_model(
    model: Ranker, data: FitData, items: NewItems | None = None, user: NewUser | None = None
) -> tuple[Ranker, FitData]:
    """A copy of `model` that also knows new items, numbered on from the last, and a new user, the last; with its arrays.

    Args:
        data: what the model was built from, texts included.
    """
    assert data.texts is not None, "only backbones that begin with texts know what they never saw"
    texts, n_items, n_users = data.texts, data.n_items, data.n_users
    who, what, rating, sequences = data.user, data.item, data.rating, data.sequences
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if items is not None:
        more = len(items.text)
        n_items += more
        profile = (
            None
            if texts.item_profile is None or items.profile is None
            else np.concatenate([texts.item_profile, items.profile])
        )
        texts = TextVectors(np.concatenate([texts.item, items.text]), texts.user_profile, profile)
        offset = state["entities.offset"]
        state["entities.offset"] = torch.cat([offset, offset.new_zeros(more)])
    if user is not None:
        own = np.asarray(user.history, np.int64)
        who, what = np.concatenate([who, np.full(len(own), n_users)]), np.concatenate([what, own])
        rating = np.concatenate([rating, np.ones(len(own), np.float32)])
        sequences = Ragged(
            np.append(sequences.start, sequences.start[-1] + len(own)),
            np.concatenate([sequences.values, own]),
        )
        n_users += 1
        if texts.user_profile is not None:
            vector = (
                np.zeros(texts.user_profile.shape[1], np.float32)
                if user.profile is None
                else user.profile
            )
            texts = texts._replace(user_profile=np.concatenate([texts.user_profile, vector[None]]))
        known = state["entities.user"]
        state["entities.user"] = torch.cat(
            [known, torch.from_numpy(like(data, own)).to(known) @ known]
        )
    made = replace(
        data,
        texts=texts,
        n_items=n_items,
        n_users=n_users,
        user=who,
        item=what,
        rating=rating,
        sequences=sequences,
        user_codes=np.zeros((n_users, 0), np.int64),
        item_codes=np.zeros((n_items, 0), np.int64),
    )
    larger = type(model)(made, model.options)
    larger.load_state_dict(state)
    return larger.eval(), made  # type: ignore[return-value]


def like(data: FitData, history: np.ndarray) -> np.ndarray:
    """[1, U] weights, of sum one, of the users who took items of a history: an item is shared among its takers, so that a rare one
    tells more; equal where nobody took any.
    """
    taken = np.isin(data.item, history)
    takers = np.bincount(data.item[taken], minlength=data.n_items)
    weight = np.bincount(data.user[taken], 1.0 / takers[data.item[taken]], minlength=data.n_users)
    total = weight.sum()
    return (weight / total if total else np.full(data.n_users, 1.0 / data.n_users))[None]
