"""The stage that writes what LLMs are tuned on: held rows of all tasks as instructions (L28),
beside the newest histories.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cluster import ray_data, session
from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec import attributes, rendering
from raypipe.papers.llama4rec.augmentation_requests import Draw
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.histories import Histories
from raypipe.papers.llama4rec.prompt_requests import RequestBuilder, request_id
from raypipe.papers.llama4rec.prompts import similar_users, tables
from raypipe.papers.llama4rec.tuning_requests import (
    augmentation_tuning_requests,
    rating_tuning_requests,
    rerank_tuning_requests,
)
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import generator

COLUMNS = ["request_id", "template", "prompt", "answer"]


def tuning_requests(ctx: Context, config: Llama4RecConfig, with_hints: bool, seed: int) -> None:
    """Write the tuning requests of every task (L28): held rows, with hints of models that did not
    see them (LO12).
    """
    source = tables(ctx)
    histories = Histories(source)
    tune, augment = config.llm.tune, config.augment
    by_task: dict[str, list[pd.DataFrame]] = {}
    for task, names in config.hint_backbones.items():
        limit = max(1, tune.instructions // len(names))
        for name in names:
            folder = ctx.input(f"hint/{name}")
            similar = similar_users(folder) if with_hints else None
            builder = RequestBuilder(
                source, histories, config.prompts, config.rating_history_length, seed, name, similar
            )
            if task == "rating":
                predictions = None
                if with_hints:
                    predictions = pd.read_parquet(folder / "predictions.parquet")
                requests = rating_tuning_requests(builder, predictions, limit)
            else:
                ranked = source.read_lists(folder / "lists.parquet")
                most = config.candidates_per_prompt
                requests = rerank_tuning_requests(builder, task, ranked, most, limit)
            by_task.setdefault(task, []).append(requests)
    parts = [requests for of_task in by_task.values() for requests in of_task]
    half, n_items = tune.instructions // 2, len(source.items)
    if augment.pairs_per_user and "direct" in by_task:
        draw = Draw("pair", augment.pairs_per_user, 2)
        parts.append(augmentation_tuning_requests(parts[0], n_items, draw, half, seed))
    if augment.insertions_per_user and "sequential" in by_task:
        draw = Draw("pick", augment.insertions_per_user, augment.pick_from)
        held = by_task["sequential"][0]
        parts.append(augmentation_tuning_requests(held, n_items, draw, half, seed))
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "requests.parquet", index=False)


def instructions(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, seed: int
) -> dict[str, Any]:
    """instructions.parquet: prompt and answer; repeated ones are dropped (L29). Newest histories
    have no prompt.
    """
    session.in_worker(tuning_requests, ctx, config, with_hints, seed)
    data, style = ctx.input("data"), config.style

    def render(batch: pd.DataFrame) -> pd.DataFrame:
        catalogue = rendering.catalogue(data)
        rows = []
        for request in batch.itertuples(index=False):
            prompt = rendering.render(request, catalogue, style)
            answer = rendering.answer(request, prompt, catalogue)
            rows.append((request_id(request), request.template, prompt.text, answer))
        return pd.DataFrame(rows, columns=COLUMNS)

    requests = ray_data.read(ctx.out / "requests.parquet").repartition(4)
    requests.map_batches(render, batch_format="pandas").write_parquet(str(ctx.out / "parts"))
    return session.in_worker(_merge_instructions, ctx, config, seed)


def newest_histories(source: InteractionMatrices, config: Llama4RecConfig) -> pd.DataFrame:
    """Each user's newest training items as a text without a prompt, held rows included.

    The language-modelling before knows no held row, because a held row must be new to the LLM that
    learns to weigh a hint about it. Left at that, the LLM would know of each user's last and most
    telling items by single instructions only.
    """
    rows = source.rows("direct")
    catalogue = rendering.Catalogue.of(source.dataset)
    texts = []
    for user, own in rows[rows["part"] == "train"].groupby(USER):
        if len(own) > 1:
            items = own["i"].to_numpy()
            text = rendering.window(catalogue, items, config.prompts, config.style)
            texts.append((f"newest/{user}", "newest", "", text))
    return pd.DataFrame(texts, columns=COLUMNS)


def attribute_instructions(dataset: Dataset, config: Llama4RecConfig, seed: int) -> pd.DataFrame:
    """Questions about known attribute values with their answers, in the form in which missing ones
    are asked for (LO16).

    Each is there once with the true values and once with exchanged ones: an LLM that knows its
        items by heart copies nothing.
    """
    rows = []
    for exchanged in (False, True):
        for question in attributes.questions(dataset, config.augment, True, seed, exchanged):
            name = f"attribute/{question.attribute}/{question.item_id}/{exchanged}"
            rows.append((name, "attribute", question.prompt.text, f" {question.value}"))
    order = generator(seed, "instructions", "attribute").permutation(len(rows))
    kept = order[: config.llm.tune.instructions // 2]
    return pd.DataFrame([rows[n] for n in kept], columns=COLUMNS)


def _merge_instructions(ctx: Context, config: Llama4RecConfig, seed: int) -> dict[str, Any]:
    source = tables(ctx)
    rows = ray_data.read_finished(str(ctx.out / "parts"))
    rows = rows.sort_values("request_id", kind="stable")
    tasks = set(config.hint_backbones)
    if config.llm.tune.newest and {"direct", "sequential"} & tasks:
        rows = pd.concat([rows, newest_histories(source, config)], ignore_index=True)
    if config.augment.attributes and "rating" in tasks:
        known = attribute_instructions(source.dataset, config, seed)
        rows = pd.concat([rows, known], ignore_index=True)
    distinct = rows.drop_duplicates(["prompt", "answer"])
    distinct.to_parquet(ctx.out / "instructions.parquet", index=False)
    return {
        "rows": len(distinct),
        "repeated": len(rows) - len(distinct),
        "by template": distinct["template"].value_counts().to_dict(),
    }
