"""Small data whose structure every backbone must find, and small options."""

import numpy as np

from raypipe.backbones import registry
from raypipe.backbones.contract import FitData, Queries, Ragged, RatingQueries

ALL = [(task, name) for task in registry.FOLDERS for name in registry.names(task)]


RANKERS = [p for p in ALL if p[0] != "rating"]


CLOSED = ("als", "ease", "item_knn", "popularity")


def options(task, name, **overrides):
    """Small options; those that a backbone lacks, or a closed form has no use for, are left out."""
    wanted = {
        "embedding_size": 16,
        "batch_size": 64,
        "learning_rate": 0.01,
        "reg": 0.0,
        "ridge": 0.0,
        **overrides,
    }
    if name in CLOSED:
        wanted = {k: v for k, v in wanted.items() if k not in ("epochs", "reg")}
    fields = registry.find(task, name).Options.model_fields
    return registry.options(task, name, {k: v for k, v in wanted.items() if k in fields})


def checkerboard(task):
    """Two blocks of users and items. The missing item of the user's own block must come first."""
    n_users, n_items, user, item, left, rows = 24, 16, [], [], [], []
    for u in range(n_users):
        block_items = [i for i in range(n_items) if i % 2 == u % 2]
        missing = block_items[(u // 2) % len(block_items)]
        taken = [i for i in block_items if i != missing]
        taken = taken[u % 5 :] + taken[: u % 5]
        user += [u] * len(taken)
        item += taken
        rows.append(np.array(taken))
        left.append(missing)
    rating = np.where(np.array(item) % 4 < 2, 5.0, 2.0).astype(np.float32)
    nothing = np.zeros((n_users, 0), dtype=np.int64), np.zeros((n_items, 0), dtype=np.int64)
    queries = Queries(np.arange(n_users), Ragged.from_lists(rows), np.array(left))
    truth = np.where(np.array(left) % 4 < 2, 5.0, 2.0).astype(np.float32)
    validation = (
        RatingQueries(np.arange(n_users), np.array(left), truth) if task == "rating" else queries
    )
    return FitData(
        n_users,
        n_items,
        np.array(user),
        np.array(item),
        rating,
        Ragged.from_lists(rows),
        np.empty((0, 3), np.int64),
        *nothing,
        (),
        (),
        validation,
    )
