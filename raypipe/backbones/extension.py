"""Extend a fitted backbone over texts by a user and items that arrived later (RecLM R1, R7).

A new user's x_u is the mean over users with common items, where rare items have more weight. The
user has a profile, and is connected to the items of the history in the graph. A new item is
represented by its text and profile. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from raypipe.backbones.contract import FitData, Ragged, Ranker
from raypipe.backbones.entities import TextVectors


class NewItems(NamedTuple):
    """Vectors [n, dt] of texts and of profiles; None where the backbone has no item profiles."""

    text: np.ndarray
    profile: np.ndarray | None


class NewUser(NamedTuple):
    """Item numbers of the history, and the profile's vector [dt]; None without user profiles."""

    history: np.ndarray
    profile: np.ndarray | None


def extend_model(
    model: Ranker, data: FitData, items: NewItems | None = None, user: NewUser | None = None
) -> tuple[Ranker, FitData]:
    """A copy of `model` with new items and a new user, and its arrays.

    New items are numbered after the last item. The new user is the last one.

    Args:
        data: the data that the model was built from, with texts.
    """
    assert data.texts is not None, "only backbones over texts can be extended"
    texts, n_items, n_users = data.texts, data.n_items, data.n_users
    user_rows, item_rows, rating, sequences = data.user, data.item, data.rating, data.sequences
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
        history = np.asarray(user.history, np.int64)
        user_rows = np.concatenate([user_rows, np.full(len(history), n_users)])
        item_rows = np.concatenate([item_rows, history])
        rating = np.concatenate([rating, np.ones(len(history), np.float32)])
        sequences = Ragged(
            np.append(sequences.start, sequences.start[-1] + len(history)),
            np.concatenate([sequences.values, history]),
        )
        n_users += 1
        if texts.user_profile is not None:
            vector = (
                np.zeros(texts.user_profile.shape[1], np.float32)
                if user.profile is None
                else user.profile
            )
            texts = texts._replace(user_profile=np.concatenate([texts.user_profile, vector[None]]))
        vectors = state["entities.user"]
        weights = torch.from_numpy(common_item_weights(data, history)).to(vectors)
        state["entities.user"] = torch.cat([vectors, weights @ vectors])
    larger_data = replace(
        data,
        texts=texts,
        n_items=n_items,
        n_users=n_users,
        user=user_rows,
        item=item_rows,
        rating=rating,
        sequences=sequences,
        user_codes=np.zeros((n_users, 0), np.int64),
        item_codes=np.zeros((n_items, 0), np.int64),
    )
    larger = type(model)(larger_data, model.options)
    larger.load_state_dict(state)
    return larger.eval(), larger_data  # type: ignore[return-value]


def common_item_weights(data: FitData, history: np.ndarray) -> np.ndarray:
    """[1, U] weights with sum one of the users who share items with a history.

    Each item divides its weight among its users, so a rare item counts more. All users weigh the
    same where no user shares an item.
    """
    taken = np.isin(data.item, history)
    users = np.bincount(data.item[taken], minlength=data.n_items)
    weight = np.bincount(data.user[taken], 1.0 / users[data.item[taken]], minlength=data.n_users)
    total = weight.sum()
    return (weight / total if total else np.full(data.n_users, 1.0 / data.n_users))[None]
