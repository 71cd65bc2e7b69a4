"""Stages that make prompts: Ray Data tasks that make asks of a part and put them into words.

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

from raypipe.backbones.interaction_matrices import InteractionMatrices, RankedLists
from raypipe.cluster import ray_data
from raypipe.papers.llama4rec import attributes, prompt_requests, rendering
from raypipe.papers.llama4rec.config import AugmentConfig, Llama4RecConfig
from raypipe.papers.llama4rec.variants import WAVES
from raypipe.pipeline.stage import Context
from raypipe.schema import PROMPTS, USER
from raypipe.seeding import derive, generator

#: rows that are put into words at once
PIECE = 4096


class Part(NamedTuple):
    """A backbone of a seed; `backbone` is "all" where a prompt is for all of a task."""

    seed: int
    task: str
    backbone: str

    @property
    def prefix(self) -> str:
        """What the ids of its prompts begin with."""
        return f"{self.seed}/{self.backbone}/"


def of_backbones(config: Llama4RecConfig) -> list[Part]:
    """A part for each backbone of each seed."""
    both = itertools.product(config.repetitions, config.tasks)
    return [Part(seed, task, name) for seed, task in both for name in config.backbones[task]]


def tables(ctx: Context, number: str = "") -> InteractionMatrices:
    """The arrays' source, from the inputs `data` and `split`; a stage that reads several datasets numbers them."""
    return InteractionMatrices.load(ctx.input(f"data{number}"), ctx.input(f"split{number}"))


@functools.lru_cache(maxsize=1)
def _past(data: Path, split: Path) -> tuple[InteractionMatrices, prompt_requests.Histories]:
    source = InteractionMatrices.load(data, split)
    return source, prompt_requests.Histories(source)


def past(ctx: Context) -> tuple[InteractionMatrices, prompt_requests.Histories]:
    """The inputs `data` and `split`, read once per process."""
    return _past(ctx.input("data"), ctx.input("split"))


def similar_of(folder: Path) -> dict[str, str]:
    """user -> most similar user, as a backbone stage wrote it."""
    frame = pd.read_parquet(folder / "similar.parquet")
    return dict(zip(frame[USER].tolist(), frame["similar"].tolist(), strict=True))


def rerank_asks(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """The asks of validation and test: listwise for all users; pointwise for some of the first seed."""
    source, known = past(ctx)
    seed, task, name = part
    folder = ctx.input(f"model/{seed}/{name}")
    similar = similar_of(folder) if with_hints else None
    if task == "rating":
        predictions = pd.read_parquet(folder / "predictions.parquet") if with_hints else None
        for split in ("validation", "test"):
            yield prompt_requests.rating(
                source, known, split, predictions, similar, config.prompts, config.rated, seed
            )
        return
    ranked = source.read_lists(folder / "lists.parquet")
    for split in ("validation", "test"):
        made = prompt_requests.listwise(
            source, known, task, split, ranked, similar, config.prompts, config.k_prime, seed
        )
        yield prompt_requests.in_chunks(made, config.at_once).assign(template=config.lists)
        if config.rerank.pointwise and split == "validation" and seed == config.seed:
            rng = generator(seed, "pointwise users", task)
            some = np.sort(rng.permutation(len(made))[: config.rerank.pointwise_users])
            yield _pointwise(
                source,
                known,
                task,
                split,
                ranked,
                similar,
                config,
                seed,
                set(made[USER].iloc[some]),
            )


def pointwise_asks(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """Asks that rate the first candidates of a backbone's test lists, one by one."""
    source, known = past(ctx)
    seed, task, name = part
    folder = ctx.input(f"model/{seed}/{name}")
    ranked = source.read_lists(folder / "lists.parquet")
    yield _pointwise(
        source,
        known,
        task,
        "test",
        ranked,
        similar_of(folder) if with_hints else None,
        config,
        seed,
    )


def _pointwise(
    source: InteractionMatrices,
    known: prompt_requests.Histories,
    task: str,
    split: str,
    ranked: RankedLists,
    similar: dict[str, str] | None,
    config: Llama4RecConfig,
    seed: int,
    users: set[str] | None = None,
) -> pd.DataFrame:
    """Asks that rate the first `pointwise_k` candidates of a split, of some users or all."""
    first = min(config.k_prime, config.rerank.pointwise_k)
    made = prompt_requests.listwise(
        source, known, task, split, ranked, similar, config.prompts, first, seed
    )
    if users is not None:
        made = made[made[USER].isin(users)]
    return prompt_requests.pointwise_candidates(made, known, similar, config.prompts, config.rated)


def augment_asks(ctx: Context, config: Llama4RecConfig, part: Part) -> Iterator[pd.DataFrame]:
    """The asks of data augmentation, pairs or picks, for all backbones of a task at once."""
    source, known = past(ctx)
    if asked := _drawn(part.task, config.augment):
        yield prompt_requests.augmentation(source, known, config.prompts, *asked, part.seed)


def _drawn(task: str, wanted: AugmentConfig) -> tuple[int, int, str] | None:
    """How many asks a user, of how many items each, and the template; None where nothing is asked for the task."""
    if task == "direct" and wanted.pairs_per_user:
        return wanted.pairs_per_user, 2, "pair"
    if task == "sequential" and wanted.insertions_per_user:
        return wanted.insertions_per_user, wanted.pick_from, "pick"
    return None


def guided_asks(
    ctx: Context, config: Llama4RecConfig, number: int, with_hints: bool, part: Part
) -> Iterator[pd.DataFrame]:
    """The asks of a later round of data augmentation (L55), each backbone's own: items come from the top of its list, whose order
    the answers can change, and the similar user is the one that it finds.
    """
    asked = _drawn(part.task, config.augment)
    if asked is None:
        return
    source, known = past(ctx)
    folder = ctx.input(f"model/{part.seed}/{part.backbone}")
    every = source.read_lists(folder / "lists.parquet")
    ranked = {
        user: items for (user, split), items in every.items() if split == "validation"
    }  # its history is training alone
    own = derive(part.seed, "round", number)
    yield prompt_requests.augmentation(
        source,
        known,
        config.prompts,
        *asked,
        own,
        ranked,
        similar_of(folder) if with_hints else None,
    )


def guided_prompts(
    ctx: Context, config: Llama4RecConfig, number: int, with_hints: bool
) -> dict[str, Any]:
    """prompts/: PROMPTS rows of a later round of data augmentation."""
    return prompts_of(
        ctx,
        config,
        of_backbones(config),
        functools.partial(guided_asks, ctx, config, number, with_hints),
    )


def prompts(ctx: Context, config: Llama4RecConfig, kind: str) -> dict[str, Any]:
    """prompts/: PROMPTS rows of data augmentation (kind "augment") or of a wave, of all seeds; ids begin with the seed."""
    if kind != "augment":
        return prompts_of(
            ctx,
            config,
            of_backbones(config),
            functools.partial(rerank_asks, ctx, config, WAVES[kind].hints),
        )
    parts = [
        Part(seed, task, "all")
        for seed, task in itertools.product(config.repetitions, config.tasks)
    ]
    return write_prompts(ctx, parts, functools.partial(_augment, ctx, config))


def _augment(ctx: Context, config: Llama4RecConfig, part: Part) -> Iterator[pd.DataFrame]:
    yield from in_words(ctx, config, part, augment_asks(ctx, config, part))
    if part.task == "rating" and config.augment.attributes:
        made = attributes.prompts(past(ctx)[0].dataset, config.augment, part.seed)
        yield made.assign(prompt_id=part.prefix + made["prompt_id"])


def prompts_of(
    ctx: Context,
    config: Llama4RecConfig,
    parts: Sequence[Part],
    asked: Callable[[Part], Iterator[pd.DataFrame]],
) -> dict[str, Any]:
    """prompts/ of the asks that `asked` makes of each part."""
    return write_prompts(ctx, parts, lambda part: in_words(ctx, config, part, asked(part)))


def in_words(
    ctx: Context, config: Llama4RecConfig, part: Part, asked: Iterator[pd.DataFrame]
) -> Iterator[pd.DataFrame]:
    """PROMPTS rows of a part's asks, which are kept in asks/; their ids get the part's prefix."""
    for number, frame in enumerate(asked):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        ray_data.write(table, _asks(ctx.out, part), str(number))
        for start in range(0, len(frame), PIECE):
            rows = rendering.render_batch(
                frame.iloc[start : start + PIECE], ctx.input("data"), config.style
            )
            yield rows.assign(prompt_id=part.prefix + rows["prompt_id"])


def read_asks(folder: Path, part: Part) -> pd.DataFrame:
    """The asks of a part that a stage kept."""
    return ray_data.read_finished(_asks(folder, part))


def _asks(folder: Path, part: Part) -> str:
    return str(folder / "asks" / f"{part.seed}-{part.task}-{part.backbone}")


def write_prompts(
    ctx: Context, parts: Sequence[Part], made: Callable[[Part], Iterator[pd.DataFrame]]
) -> dict[str, Any]:
    """prompts/ with the PROMPTS rows that `made` gives for each part, in Ray Data tasks."""
    where, folder = ctx.name, str(ctx.out / "prompts")
    return {
        "rows": ray_data.write_parts(
            parts, lambda part: (PROMPTS.from_frame(rows, where) for rows in made(part)), folder
        )
    }
