"""Full ranking in chunks: score, mask, top-k, without a users x items matrix.

Q = queries, K = list length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from raypipe.backbones.allocator import keep_freed
from raypipe.backbones.contract import Queries, Ranker, Rater, RatingQueries, SetQueries
from raypipe.seeding import generator


class TopK(NamedTuple):
    """Ranked lists.

    Attributes:
        items: [Q, K] best first.
        scores: [Q, K] their scores.
        target_rank: [Q] rank of the target among all unmasked items (1 = first).
    """

    items: np.ndarray
    scores: np.ndarray
    target_rank: np.ndarray


@torch.inference_mode()
def top_k(model: Ranker, queries: Queries, k: int, seed: int, chunk: int = 1024) -> TopK:
    """Rank all items for each query, without the history if the queries are masked.

    Ties are broken by a seeded random permutation of the items, independent of the target.
    """
    keep_freed()
    model.eval()
    model.begin_scoring()
    device = model.device
    place = torch.from_numpy(generator(seed, "ties").permutation(model.n_items)).to(device)
    parts: list[tuple[torch.Tensor, ...]] = []
    for rows in _chunks(len(queries.user), chunk):
        width = max(model.context, 1)
        history = torch.from_numpy(queries.history.last(rows, width, model.n_items))
        scores = model.score(
            torch.from_numpy(queries.user[rows]).to(device), history.to(device)
        ).float()
        if queries.masked:
            line = np.repeat(
                np.arange(len(rows)), queries.history.start[rows + 1] - queries.history.start[rows]
            )
            seen = queries.history.values[
                queries.history.start[rows[0]] : queries.history.start[rows[-1] + 1]
            ]
            scores[
                torch.from_numpy(line).to(device), torch.from_numpy(seen).to(device)
            ] = -torch.inf
        key = _ordered(scores, place)
        target_key = key.gather(1, torch.from_numpy(queries.target[rows]).to(device)[:, None])
        best = key.topk(min(k, model.n_items), dim=1).indices
        parts.append((best, scores.gather(1, best), (key > target_key).sum(1) + 1))
    return TopK(*(torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True)))


@torch.inference_mode()
def top_sets(
    model: Ranker, queries: SetQueries, k: int, seed: int, chunk: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The best k items [Q, k] of the catalogue for each query, and whether each is relevant [Q, k].

    Seen items are left out. Ties are broken by a seeded random permutation of the items.
    """
    keep_freed()
    model.eval()
    model.begin_scoring()
    device = model.device
    catalogue = torch.from_numpy(queries.catalogue).to(device)
    place = torch.from_numpy(generator(seed, "ties").permutation(len(catalogue))).to(device)
    column = np.full(model.n_items, -1)
    column[queries.catalogue] = np.arange(len(queries.catalogue))
    items, relevant = [], []
    for rows in _chunks(len(queries.user), chunk):
        none = torch.full((len(rows), 1), model.n_items, device=device)
        scores = model.score(torch.from_numpy(queries.user[rows]).to(device), none).float()[
            :, catalogue
        ]
        marks = []
        for lists in (queries.seen, queries.targets):
            part = lists.take(rows)
            columns = column[part.values]
            inside = columns >= 0
            line = np.repeat(np.arange(len(rows)), np.diff(part.start))[inside]
            marks.append(
                (torch.from_numpy(line).to(device), torch.from_numpy(columns[inside]).to(device))
            )
        scores[marks[0]] = -torch.inf
        best = _best(scores, place, k)
        true = torch.zeros(scores.shape, dtype=torch.bool, device=device)
        true[marks[1]] = True
        items.append(catalogue[best].cpu().numpy())
        relevant.append(true.gather(1, best).cpu().numpy())
    return np.concatenate(items), np.concatenate(relevant)


def _best(scores_BI: torch.Tensor, place_I: torch.Tensor, k: int) -> torch.Tensor:
    """[B, k] best first, ties in the order of `place`; only rows with ties need a second sort."""
    values, best = scores_BI.topk(min(k + 1, scores_BI.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    if tied.any():
        best[tied] = _ordered(scores_BI[tied], place_I).topk(best.shape[1], dim=1).indices
    return best[:, :k]


def _ordered(scores_BI: torch.Tensor, place_I: torch.Tensor) -> torch.Tensor:
    """[B, I] distinct integers per row in the order of the scores, ties in the order of `place`.

    The bits of a positive float, read as an integer, keep its order. Those of a negative float are
    inverted first.
    """
    bits = (scores_BI + 0.0).view(torch.int32)  # adding zero turns -0 into 0
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits.long() << 32) - place_I


@torch.inference_mode()
def predict(model: Rater, queries: RatingQueries, chunk: int = 65536) -> np.ndarray:
    """[Q] predicted ratings."""
    model.eval()
    model.begin_scoring()
    parts = []
    for rows in _chunks(len(queries.user), chunk):
        user = torch.from_numpy(queries.user[rows]).to(model.device)
        item = torch.from_numpy(queries.item[rows]).to(model.device)
        parts.append(model.predict(user, item).cpu().numpy())
    return np.concatenate(parts)


def similar_users(embeddings_Ud: torch.Tensor, chunk: int = 2048) -> np.ndarray:
    """[U] the most similar other user of each by cosine (eq. 3, L14); the first one among ties."""
    return np.concatenate(
        [cosine.argmax(1).cpu().numpy() for cosine in _cosines(embeddings_Ud, chunk)]
    )


def nearest_users(embeddings_Ud: torch.Tensor, n: int, chunk: int = 2048) -> np.ndarray:
    """[U, n] the most similar other users of each by cosine, best first (RecLM R11)."""
    n = min(n, len(embeddings_Ud) - 1)
    return np.concatenate(
        [cosine.topk(n, dim=1).indices.cpu().numpy() for cosine in _cosines(embeddings_Ud, chunk)]
    )


def _cosines(embeddings_Ud: torch.Tensor, chunk: int) -> Iterator[torch.Tensor]:
    """[chunk, U] cosines of some users with all users; -inf with themselves."""
    unit = torch.nn.functional.normalize(embeddings_Ud, dim=1)
    for rows in _chunks(len(unit), chunk):
        cosine = unit[rows] @ unit.T
        cosine[torch.arange(len(rows)), rows] = -torch.inf
        yield cosine


def _chunks(n: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))
