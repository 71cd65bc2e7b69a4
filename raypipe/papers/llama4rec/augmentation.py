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


def augmentation(ctx: Context, seed: int) -> dict[str, Any]:
    """pairs.parquet, insertions.parquet and attributes.parquet from the seed's completions of data
    augmentation.

    Of a later round: after what the input `before` holds. Column `backbone`: who learns from the
        row, "all" or a name.
    """
    rejected: Counter[str] = Counter()
    pairs, insertions = [], []
    attributes: dict[str, dict[str, str]] = {}
    answered = answers(ctx, "prompts", "completions")
    for row in answered[answered["seed"] == seed].sort_values("prompt_id").itertuples():
        completion = Completion(row.answer, list(row.logprobs))
        options, payload = list(row.options), list(row.payload)
        if row.template == "pair":
            preference = pair.parse(completion, options, payload)
            if isinstance(preference, Rejected):
                rejected[preference.kind] += 1
            else:
                pairs.append((row.user_id, *preference, row.backbone))
            continue
        parse = pick.parse if row.template == "pick" else attribute.parse
        value = parse(completion, options, payload)
        if isinstance(value, Rejected):
            rejected[value.kind] += 1
        elif row.template == "pick":
            place = generator(seed, "insert", row.prompt_id).random()
            insertions.append((row.user_id, value, place, row.backbone))
        else:
            attributes.setdefault(row.item_id, {})[row.attribute] = value
    tables = {
        "pairs": pd.DataFrame(pairs, columns=[USER, "preferred", "other", "backbone"]),
        "insertions": pd.DataFrame(insertions, columns=[USER, ITEM, "place", "backbone"]),
        "attributes": _attribute_table(attributes),
    }
    for name, rows in tables.items():
        if "before" in ctx.inputs:
            earlier = pd.read_parquet(ctx.input("before") / f"{name}.parquet")
            rows = pd.concat([earlier, rows], ignore_index=True)
        rows.to_parquet(ctx.out / f"{name}.parquet", index=False)
    values = [value for of_item in attributes.values() for value in of_item.values()]
    return {
        "rows": len(pairs) + len(insertions) + len(values),
        "pairs": len(pairs),
        "insertions": len(insertions),
        "attributes": len(values),
        "attributes answered unknown": values.count(attribute.UNKNOWN),
        "rejected": dict(rejected),
    }


def _attribute_table(attributes: dict[str, dict[str, str]]) -> pd.DataFrame:
    """A row an item, a column an attribute; with the column of items alone where nothing was
    answered.
    """
    if not attributes:
        return pd.DataFrame({ITEM: pd.Series(dtype=str)})
    return pd.DataFrame([{ITEM: item, **values} for item, values in attributes.items()])
