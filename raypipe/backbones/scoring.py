"""Full ranking in chunks: score, mask, top-k; never a users x items matrix. Q = queries, K = list length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from raypipe.backbones.contract import Queries, Ranker, Rater, RatingQueries
from raypipe.seeding import generator


class TopK(NamedTuple):
    """items [Q, K] best first, scores [Q, K], and the rank [Q] of the target among all unmasked items (1 = first)."""

    items: np.ndarray
    scores: np.ndarray
    target_rank: np.ndarray


@torch.inference_mode()
def top_k(model: Ranker, queries: Queries, k: int, seed: int, chunk: int = 1024) -> TopK:
    """Rank all items for each query, the query's history masked.

    Equal scores are ordered by a random permutation of the items (seeded), never by whether one is the target.
    """
    model.eval()
    model.begin_scoring()
    order = torch.from_numpy(generator(seed, "ties").permutation(model.n_items))
    place = torch.empty_like(order)
    place[order] = torch.arange(model.n_items)
    parts: list[tuple[torch.Tensor, ...]] = []
    for rows in _chunks(len(queries.user), chunk):
        width = max(model.context, 1)
        history = torch.from_numpy(queries.history.last(rows, width, model.n_items))
        scores = model.score(torch.from_numpy(queries.user[rows]), history)
        line = np.repeat(np.arange(len(rows)), queries.history.start[rows + 1] - queries.history.start[rows])
        seen = queries.history.values[queries.history.start[rows[0]] : queries.history.start[rows[-1] + 1]]
        scores[torch.from_numpy(line), torch.from_numpy(seen)] = -torch.inf
        mixed = scores[:, order]
        target = place[torch.from_numpy(queries.target[rows])][:, None]
        own = mixed.gather(1, target)
        before = torch.arange(model.n_items)[None, :] < target
        rank = (mixed > own).sum(1) + ((mixed == own) & before).sum(1) + 1
        best, at = mixed.topk(min(k, model.n_items), dim=1)
        parts.append((order[at], best, rank))
    return TopK(*(torch.cat(p).numpy() for p in zip(*parts, strict=True)))


@torch.inference_mode()
def predict(model: Rater, queries: RatingQueries, chunk: int = 65536) -> np.ndarray:
    """[Q] predicted ratings."""
    model.eval()
    model.begin_scoring()
    parts = [
        model.predict(torch.from_numpy(queries.user[rows]), torch.from_numpy(queries.item[rows])).numpy()
        for rows in _chunks(len(queries.user), chunk)
    ]
    return np.concatenate(parts)


def similar_users(embeddings_Ud: torch.Tensor, chunk: int = 2048) -> np.ndarray:
    """[U] the most similar other user of each by cosine (eq. 3, L14); the first in user order among equals."""
    unit = torch.nn.functional.normalize(embeddings_Ud, dim=1)
    nearest = []
    for rows in _chunks(len(unit), chunk):
        cosine = unit[rows] @ unit.T
        cosine[torch.arange(len(rows)), torch.from_numpy(rows)] = -torch.inf
        nearest.append(cosine.argmax(1))
    return torch.cat(nearest).numpy()


def _chunks(n: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))
