"""Stages that write prompts: Ray Data tasks that build the requests of a part and render them.

A part is what one task works on: a backbone of a seed, or a task of a seed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cluster import ray_data
from raypipe.papers.llama4rec import attributes, rendering
from raypipe.papers.llama4rec.augmentation_requests import Draw, augmentation_requests
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.config_sections import AugmentConfig
from raypipe.papers.llama4rec.histories import Histories
from raypipe.papers.llama4rec.prompt_requests import (
    RequestBuilder,
    in_chunks,
    pointwise_requests,
    rating_requests,
    rerank_requests,
)
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.schema import PROMPTS, USER
from raypipe.seeding import derive, generator

#: requests that are rendered at once
PIECE = 4096


class Part(NamedTuple):
    """A backbone of a seed; `backbone` is "all" where a prompt is for all of a task."""

    seed: int
    task: str
    backbone: str


#: makes tables of requests for a part
Requests = Callable[[Part], Iterator[pd.DataFrame]]


def backbone_parts(config: Llama4RecConfig) -> list[Part]:
    """A part for each backbone of each seed."""
    parts = []
    for seed, task in itertools.product(config.repetitions, config.tasks):
        parts += [Part(seed, task, name) for name in config.backbones[task]]
    return parts


def task_parts(config: Llama4RecConfig) -> list[Part]:
    """A part for each task of each seed, for all of its backbones."""
    return [Part(seed, task, "all") for seed in config.repetitions for task in config.tasks]


def tables(ctx: Context, number: str = "") -> InteractionMatrices:
    """The inputs `data` and `split`; a stage that reads several datasets numbers them."""
    return InteractionMatrices.load(ctx.input(f"data{number}"), ctx.input(f"split{number}"))


@functools.lru_cache(maxsize=1)
def _known(data: Path, split: Path) -> tuple[InteractionMatrices, Histories]:
    source = InteractionMatrices.load(data, split)
    return source, Histories(source)


def request_builder(
    ctx: Context, config: Llama4RecConfig, part: Part, with_hints: bool
) -> RequestBuilder:
    """The builder of a part's requests, from the inputs `data` and `split`, which each process
    reads once.

    Args:
        with_hints: show the similar user that the part's backbone finds, and its hints.
    """
    source, histories = _known(ctx.input("data"), ctx.input("split"))
    return RequestBuilder(
        source,
        histories,
        config.prompts,
        config.rating_history_length,
        part.seed,
        part.backbone,
        similar_users(_model(ctx, part)) if with_hints else None,
    )


def similar_users(folder: Path) -> dict[str, str]:
    """user -> most similar user, as a backbone stage wrote it."""
    frame = pd.read_parquet(folder / "similar.parquet")
    return dict(zip(frame[USER].tolist(), frame["similar"].tolist(), strict=True))


def _model(ctx: Context, part: Part) -> Path:
    """The output of the part's backbone."""
    return ctx.input(f"model/{part.seed}/{part.backbone}")


def rerank(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """The requests of validation and test: listwise for all users, and pointwise for some of the
    first seed.
    """
    builder = request_builder(ctx, config, part, with_hints)
    folder = _model(ctx, part)
    if part.task == "rating":
        predictions = pd.read_parquet(folder / "predictions.parquet") if with_hints else None
        for split in ("validation", "test"):
            yield rating_requests(builder, split, predictions)
        return
    ranked = builder.tables.read_lists(folder / "lists.parquet")
    for split in ("validation", "test"):
        requests = rerank_requests(builder, part.task, split, ranked, config.k_prime)
        requests = in_chunks(requests, config.candidates_per_prompt)
        yield requests.assign(template=config.listwise_template)
        if config.rerank.pointwise and split == "validation" and part.seed == config.seed:
            users = _compared_users(builder, config, part)
            yield pointwise_requests(
                builder, part.task, split, ranked, config.pointwise_candidates, users
            )


def _compared_users(builder: RequestBuilder, config: Llama4RecConfig, part: Part) -> set[str]:
    """The validation users on whom listwise and pointwise are compared."""
    users = np.array([target.user_id for target in builder.targets(part.task, "validation")])
    order = generator(part.seed, "pointwise users", part.task).permutation(len(users))
    return set(users[order[: config.rerank.pointwise_users]].tolist())


def pointwise_test(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """Requests that rate the first candidates of a backbone's test lists, one by one."""
    builder = request_builder(ctx, config, part, with_hints)
    ranked = builder.tables.read_lists(_model(ctx, part) / "lists.parquet")
    yield pointwise_requests(builder, part.task, "test", ranked, config.pointwise_candidates)


def draw_of(task: str, config: AugmentConfig) -> Draw | None:
    """What data augmentation asks for a task; None where it asks nothing."""
    if task == "direct" and config.pairs_per_user:
        return Draw("pair", config.pairs_per_user, 2)
    if task == "sequential" and config.insertions_per_user:
        return Draw("pick", config.insertions_per_user, config.pick_from)
    return None


def augment(ctx: Context, config: Llama4RecConfig, part: Part) -> Iterator[pd.DataFrame]:
    """The requests of data augmentation, pairs or picks, for all backbones of a task at once."""
    if draw := draw_of(part.task, config.augment):
        builder = request_builder(ctx, config, part, with_hints=False)
        yield augmentation_requests(builder, draw, part.seed)


def guided_augment(
    ctx: Context, config: Llama4RecConfig, number: int, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """The requests of a later round of data augmentation (L55), each backbone's own.

    Items come from the top of its list, whose order the answers can change, and the similar user is
    the one that it finds.
    """
    draw = draw_of(part.task, config.augment)
    if draw is None:
        return
    builder = request_builder(ctx, config, part, with_hints)
    lists = {}
    for (user, split), items in builder.tables.read_lists(
        _model(ctx, part) / "lists.parquet"
    ).items():
        if split == "validation":  # the history before it is training alone
            lists[user] = items
    yield augmentation_requests(builder, draw, derive(part.seed, "round", number), lists)


def guided_prompts(
    ctx: Context, config: Llama4RecConfig, number: int, with_hints: bool
) -> dict[str, Any]:
    """prompts/ of a later round of data augmentation."""
    requests = functools.partial(guided_augment, ctx, config, number, with_hints)
    return render_requests(ctx, config, backbone_parts(config), requests)


def rerank_prompts(ctx: Context, config: Llama4RecConfig, wave: str) -> dict[str, Any]:
    """prompts/ of a wave, of all seeds."""
    requests = functools.partial(rerank, ctx, config, WAVES[wave].hints)
    return render_requests(ctx, config, backbone_parts(config), requests)


def augmentation_prompts(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """prompts/ of data augmentation, of all seeds, with those about missing attributes."""

    def prompts(part: Part) -> Iterator[pd.DataFrame]:
        yield from _rendered(ctx, config, part, augment(ctx, config, part))
        if part.task == "rating" and config.augment.attributes:
            source, _ = _known(ctx.input("data"), ctx.input("split"))
            yield attributes.prompts(source.dataset, config.augment, part.seed)

    return write_prompts(ctx, task_parts(config), prompts)


def render_requests(
    ctx: Context, config: Llama4RecConfig, parts: Sequence[Part], requests: Requests
) -> dict[str, Any]:
    """prompts/ of the requests of each part."""
    return write_prompts(ctx, parts, lambda part: _rendered(ctx, config, part, requests(part)))


def _rendered(
    ctx: Context, config: Llama4RecConfig, part: Part, tables: Iterator[pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """PROMPTS rows of a part's requests, which are kept in requests/ too."""
    catalogue = rendering.catalogue(ctx.input("data"))
    for number, requests in enumerate(tables):
        kept = pa.Table.from_pandas(requests, preserve_index=False)
        ray_data.write(kept, _requests_folder(ctx.out, part), str(number))
        for start in range(0, len(requests), PIECE):
            piece = requests.iloc[start : start + PIECE]
            yield rendering.render_table(piece, catalogue, config.style)


def read_requests(folder: Path, part: Part) -> pd.DataFrame:
    """The requests of a part that a stage kept."""
    return ray_data.read_finished(_requests_folder(folder, part))


def _requests_folder(folder: Path, part: Part) -> str:
    return str(folder / "requests" / f"{part.seed}-{part.task}-{part.backbone}")


def write_prompts(ctx: Context, parts: Sequence[Part], prompts: Requests) -> dict[str, Any]:
    """prompts/ with the PROMPTS rows of each part, in Ray Data tasks."""
    stage, folder = ctx.name, str(ctx.out / "prompts")

    def checked(part: Part) -> Iterator[pa.Table]:
        for rows in prompts(part):
            yield PROMPTS.from_frame(rows, stage)

    return {"rows": ray_data.write_parts(parts, checked, folder)}
