"""Data augmentation from the LLM's answers (L6 to L12): pairs, inserted items, attributes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import attribute, pair, pick
from raypipe.schema import ITEM, USER
from raypipe.seeding import generator
from raypipe.steps.completions import answers

PARSERS: dict[str, Any] = {"pair": pair, "pick": pick, "attribute": attribute}


def augmentation(ctx: Context, seed: int) -> dict[str, Any]:
    """pairs.parquet, insertions.parquet and attributes.parquet from the seed's completions of data augmentation.

    Of a later round: after what the input `before` holds. Column `backbone`: who learns from the row, "all" or a name.
    """
    rejected: Counter[str] = Counter()
    pairs, insertions = [], []
    attributes: dict[str, dict[str, str]] = {}
    every = answers(ctx, "prompts", "completions")
    own = every[every["prompt_id"].str.startswith(f"{seed}/")]
    for row in own.sort_values("prompt_id").itertuples():
        got = PARSERS[row.template].parse(
            Completion(row.answer, list(row.logprobs)), list(row.options), list(row.payload)
        )
        if isinstance(got, Rejected):
            rejected[got.kind] += 1
            continue
        _, backbone, _, rest = row.prompt_id.split("/", 3)
        if row.template == "attribute":
            name, _, item = rest.partition("/")
            attributes.setdefault(item, {})[name] = got
            continue
        user = rest.rpartition("/")[0]
        if row.template == "pair":
            pairs.append((user, *got, backbone))
        else:
            insertions.append(
                (user, got, generator(seed, "insert", row.prompt_id).random(), backbone)
            )
    frame = pd.DataFrame([{ITEM: item, **values} for item, values in attributes.items()])
    made = {
        "pairs": pd.DataFrame(pairs, columns=[USER, "preferred", "other", "backbone"]),
        "insertions": pd.DataFrame(insertions, columns=[USER, ITEM, "place", "backbone"]),
        "attributes": frame if len(frame) else pd.DataFrame({ITEM: pd.Series(dtype=str)}),
    }
    for name, rows in made.items():
        earlier = (
            [pd.read_parquet(ctx.input("before") / f"{name}.parquet")]
            if "before" in ctx.inputs
            else []
        )
        pd.concat([*earlier, rows], ignore_index=True).to_parquet(
            ctx.out / f"{name}.parquet", index=False
        )
    unknown = sum(v == attribute.UNKNOWN for values in attributes.values() for v in values.values())
    return {
        "rows": len(pairs) + len(insertions) + sum(map(len, attributes.values())),
        "pairs": len(pairs),
        "insertions": len(insertions),
        "attributes": sum(map(len, attributes.values())),
        "attributes answered unknown": unknown,
        "rejected": dict(rejected),
    }
