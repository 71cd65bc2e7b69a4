"""Who asks a recommender, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.errors import UnknownError
from raypipe.papers.llama4rec.histories import NO_INTERACTIONS, Histories, Interactions
from raypipe.schema import USER

#: what a request may know of a user: everything, or what was known before the test row
AsOf = Literal["now", "test"]
#: the user id of a request that comes with a history
ANONYMOUS = ""


class RequestContext(NamedTuple):
    """Who asks: the user's number, what the model and the prompt may know, and N(u) of eq. 4."""

    user_id: str
    user: int
    seen: np.ndarray
    history: Interactions
    position: int
    interactions: int


@dataclass(frozen=True)
class UserLookup:
    """Finds users and items by id, and what is known of a user."""

    matrices: InteractionMatrices
    histories: Histories

    def context(
        self, task: str, user_id: str | None, history: list[str] | None, as_of: AsOf
    ) -> RequestContext:
        """What is known of a user, or of a history of item ids, for a top-k task.

        Raises:
            UnknownError: the user or an item is not known, or has no test row.
            ValueError: neither or both of user and history are given, or the history is empty.
        """
        if (user_id is None) == (history is None):
            raise ValueError("give either user_id or history, not both")
        if history is not None:
            if not history:
                raise ValueError("the history is empty")
            items = np.array([self.item_number(item) for item in history], dtype=np.int64)
            past = Interactions(items, np.ones(len(items), dtype=np.float32))
            return RequestContext(ANONYMOUS, 0, items, past, len(items), len(items))
        user = str(user_id)
        number = self.user_number(user)
        past = self.histories.positives.get(user, NO_INTERACTIONS)
        position, shown = len(past.items), past
        if as_of == "test":
            rows = self.matrices.target_rows(task, "test")
            rows = rows[rows[USER] == user]
            if not len(rows):
                raise UnknownError(f"user {user!r} has no test row", "user_id", "ask as of now")
            position = int(rows["position"].iloc[0])
            shown = self.histories.before(user, position, task, "test")
        interactions = len(self.histories.training(task).get(user, NO_INTERACTIONS).items)
        seen = past.items[:position]
        return RequestContext(user, number, seen, shown, position, interactions)

    def user_number(self, user_id: str) -> int:
        row = int(self.matrices.users.get_indexer([user_id])[0])
        if row < 0:
            raise UnknownError(
                f"there is no user {user_id!r}", "user_id", "send a history of item ids instead"
            )
        return row

    def item_number(self, item_id: str) -> int:
        row = int(self.matrices.items.get_indexer([item_id])[0])
        if row < 0:
            raise UnknownError(
                f"there is no item {item_id!r}", "item_id", "send an id of the items table"
            )
        return row
