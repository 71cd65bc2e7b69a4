"""The stage that makes what LLMs are tuned on: held rows of all tasks as instructions (L28), beside the newest histories."""

from __future__ import annotations

from typing import Any

import pandas as pd

from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.cluster import ray_data, session
from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec import attributes, prompt_requests, rendering
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.prompts import similar_of, tables
from raypipe.pipeline.stage import Context
from raypipe.schema import USER
from raypipe.seeding import generator


def instruction_asks(ctx: Context, config: Llama4RecConfig, with_hints: bool, seed: int) -> None:
    """Write the tuning asks of every task (L28): held rows, with hints of models that did not see them (LO12)."""
    source = tables(ctx)
    past = prompt_requests.Histories(source)
    parts = []
    limit = config.llm.tune.instructions
    for task, names in config.learnt.items():
        for name in names:
            folder = ctx.input(f"hint/{name}")
            similar = similar_of(folder) if with_hints else None
            count = max(1, limit // len(names))
            if task == "rating":
                predictions = (
                    pd.read_parquet(folder / "predictions.parquet") if with_hints else None
                )
                made = prompt_requests.rating(
                    source,
                    past,
                    "held",
                    predictions,
                    similar,
                    config.prompts,
                    config.rated,
                    seed,
                    count,
                )
            else:
                ranked = source.read_lists(folder / "lists.parquet")
                made = prompt_requests.listwise(
                    source,
                    past,
                    task,
                    "held",
                    ranked,
                    similar,
                    config.prompts,
                    config.at_once,
                    seed,
                    count,
                )
            parts.append(made.assign(ask_id=f"{name}/" + made["ask_id"]))
    if config.augment.pairs_per_user and "direct" in config.learnt:
        parts.append(
            prompt_requests.augmentation_instructions(
                parts[0], len(source.items), 2, "pair", limit // 2, seed
            )
        )
    if config.augment.insertions_per_user and "sequential" in config.learnt:
        rows = next(p for p in parts if (p["task"] == "sequential").all())
        parts.append(
            prompt_requests.augmentation_instructions(
                rows, len(source.items), config.augment.pick_from, "pick", limit // 2, seed
            )
        )
    pd.concat(parts, ignore_index=True).to_parquet(ctx.out / "asks.parquet", index=False)


def instructions(
    ctx: Context, config: Llama4RecConfig, with_hints: bool, seed: int
) -> dict[str, Any]:
    """instructions.parquet: prompt and answer; repeated ones are dropped (L29). Newest histories have no prompt."""
    session.in_worker(instruction_asks, ctx, config, with_hints, seed)
    data, style = ctx.input("data"), config.style

    def word(batch: pd.DataFrame) -> pd.DataFrame:
        book = rendering.catalogue(data)
        made = [(ask, rendering.render(ask, book, style)) for ask in batch.itertuples()]
        return pd.DataFrame(
            {
                "ask_id": [a.ask_id for a, _ in made],
                "template": [a.template for a, _ in made],
                "prompt": [r.text for _, r in made],
                "answer": [rendering.answer(a, r, book) for a, r in made],
            }
        )

    ray_data.read(ctx.out / "asks.parquet").repartition(4).map_batches(
        word, batch_format="pandas"
    ).write_parquet(str(ctx.out / "parts"))
    return session.in_worker(_merge_instructions, ctx, config, seed)


def newest_histories(source: InteractionMatrices, config: Llama4RecConfig) -> pd.DataFrame:
    """Each user's newest training items as a text without a prompt, held rows included.

    The language-modelling before knows no held row, because a held row must be new to the LLM that learns to weigh a hint about it.
    Left at that, the LLM would know of each user's last and most telling items by single instructions only.
    """
    rows = source.rows("direct")
    book = rendering.Catalogue.of(source.dataset)
    users = [
        (user, own["i"].to_numpy())
        for user, own in rows[rows["part"] == "train"].groupby(USER)
        if len(own) > 1
    ]
    texts = [rendering.window(book, items, config.prompts, config.style) for _, items in users]
    return pd.DataFrame(
        {
            "ask_id": [f"newest/{u}" for u, _ in users],
            "template": "newest",
            "prompt": "",
            "answer": texts,
        }
    )


def attribute_instructions(dataset: Dataset, config: Llama4RecConfig, seed: int) -> pd.DataFrame:
    """Questions about known attribute values with their answers, in the form in which missing ones are asked for (LO16).

    Each is there once with the true values and once with exchanged ones: an LLM that knows its items by heart copies nothing.
    """
    asked = [
        (f"attribute/{q.name}/{q.item_id}/{exchanged}", "attribute", q.rendered.text, f" {q.value}")
        for exchanged in (False, True)
        for q in attributes.questions(dataset, config.augment, True, seed, exchanged)
    ]
    kept = generator(seed, "instructions", "attribute").permutation(len(asked))[
        : config.llm.tune.instructions // 2
    ]
    return pd.DataFrame(
        [asked[i] for i in kept], columns=["ask_id", "template", "prompt", "answer"]
    )


def _merge_instructions(ctx: Context, config: Llama4RecConfig, seed: int) -> dict[str, Any]:
    source, rows = (
        tables(ctx),
        ray_data.read_finished(str(ctx.out / "parts")).sort_values("ask_id", kind="stable"),
    )
    if config.llm.tune.newest and {"direct", "sequential"} & {*config.learnt}:
        rows = pd.concat([rows, newest_histories(source, config)], ignore_index=True)
    if config.augment.attributes and "rating" in config.learnt:
        rows = pd.concat(
            [rows, attribute_instructions(source.dataset, config, seed)], ignore_index=True
        )
    distinct = rows.drop_duplicates(["prompt", "answer"])
    distinct.to_parquet(ctx.out / "instructions.parquet", index=False)
    return {
        "rows": len(distinct),
        "repeated": len(rows) - len(distinct),
        "by template": distinct["template"].value_counts().to_dict(),
    }
