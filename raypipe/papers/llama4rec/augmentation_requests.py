"""Requests of data augmentation: which of some items without an interaction would the user prefer
(P_1, P_2)?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from raypipe.papers.llama4rec.histories import NO_INTERACTIONS
from raypipe.papers.llama4rec.prompt_requests import RequestBuilder, table
from raypipe.seeding import generator


@dataclass(frozen=True)
class Draw:
    """What data augmentation asks: so many questions for each user, each about so many items."""

    template: str
    per_user: int
    items: int


def augmentation_requests(
    builder: RequestBuilder,
    draw: Draw,
    stream: int,
    lists: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Requests of data augmentation, about items without a training interaction of the user (L6,
    L8, LO18).

    Args:
        stream: seed of the draws.
        lists: user -> items to draw from, of a backbone that was fitted on earlier additions (L55);
            None: the whole catalogue.
    """
    requests = []
    titled = np.array([bool(title) for title in builder.tables.dataset.items["title"]])
    for user in builder.tables.users:
        history = builder.histories.training_positives.get(user, NO_INTERACTIONS)
        if not len(history.items):
            continue
        rng = generator(stream, draw.template, user)
        free = titled.copy()
        free[history.items] = False
        if lists is None:
            pool = np.flatnonzero(free)
        else:
            pool = lists.get(user, NO_INTERACTIONS.items)
            pool = pool[free[pool]]
        if len(pool) < draw.items:
            continue
        for number in range(draw.per_user):
            candidates = rng.choice(pool, draw.items, replace=False)
            requests.append(builder.choice(draw.template, user, number, candidates))
    return table(requests)
