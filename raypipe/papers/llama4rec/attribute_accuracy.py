"""Are the LLM's attributes right (Figure 8, L49)? By the truth where the dataset has it, and by
another LLM where one is set.

Values of the first seed are drawn. A model that answers that it does not know is counted apart from
one that invents.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from raypipe.data.dataset import Dataset, true_attributes
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import judge
from raypipe.prompts.templates.attribute import UNKNOWN
from raypipe.schema import ITEM, PROMPTS, TEXT, TITLE
from raypipe.seeding import generator
from raypipe.steps.completions import answers

COLUMNS = ["attribute", ITEM, "value", "truth"]


def _drawn_values(ctx: Context, config: Llama4RecConfig) -> pd.DataFrame:
    """COLUMNS of `judged_items` items of each attribute; truth is None where it is not known."""
    values = pd.read_parquet(ctx.input("augmentation") / "attributes.parquet")
    truth = true_attributes(config.data)
    rows: list[tuple[str, str, str, str | None]] = []
    for name in values.columns.drop(ITEM):
        answered = values[values[name].notna()]
        # the stream has the stage's first name, so that the same values are drawn as before
        order = generator(config.seed, "judged", name).permutation(len(answered))
        drawn = answered.iloc[np.sort(order[: config.judged_items])]
        known = truth.get(name, {})
        for item, value in zip(drawn[ITEM], drawn[name], strict=True):
            rows.append((name, item, value, known.get(item)))
    return pd.DataFrame(rows, columns=COLUMNS)


def judge_prompts(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """prompts/: one question for each drawn value that the model claimed to know."""
    dataset = Dataset.load(ctx.input("data"))
    items = dataset.items.set_index(ITEM)
    rows = []
    for drawn in _drawn_values(ctx, config).itertuples():
        if drawn.value == UNKNOWN:
            continue
        item = items.loc[drawn.item_id]
        claim = judge.Claim(drawn.attribute, drawn.value, drawn.truth)
        prompt = judge.render(dataset.noun, item[TITLE], item[TEXT], claim)
        name = f"judge/{drawn.attribute}/{drawn.item_id}"
        rows.append((name, "judge", drawn.attribute, drawn.item_id, *prompt))
    if rows:
        columns = ["prompt_id", "template", "attribute", ITEM, "prompt"]
        frame = pd.DataFrame(rows, columns=[*columns, "options", "payload", "mode", "pattern"])
        (ctx.out / "prompts").mkdir()
        prompts = PROMPTS.from_frame(frame, ctx.name)
        pq.write_table(prompts, ctx.out / "prompts" / "part.parquet")
    return {"rows": len(rows)}


def attribute_accuracy(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """attribute_accuracy.json: for each attribute how many values are right, by the truth and by
    the judge.
    """
    drawn = _drawn_values(ctx, config)
    verdicts: dict[tuple[str, str], str | Rejected] | None = None
    rejected: Counter[str] = Counter()
    if config.judge:
        verdicts = {}
        for row in answers(ctx, "prompts", "completions").itertuples():
            verdict = judge.parse(Completion(row.answer, ()))
            verdicts[row.attribute, row.item_id] = verdict
            if isinstance(verdict, Rejected):
                rejected[verdict.kind] += 1
    lines = []
    for name, values in drawn.groupby("attribute", sort=False):
        answered = values[values["value"] != UNKNOWN]
        unknown = len(values) - len(answered)
        line: dict[str, Any] = {"attribute": name, "drawn": len(values), "not known": unknown}
        line |= _by_truth(answered)
        if verdicts is not None:
            line |= _by_judge(answered, verdicts)
        lines.append(line)
    (ctx.out / "attribute_accuracy.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(drawn), "lines": lines, "rejected": dict(rejected)}


def _by_truth(answered: pd.DataFrame) -> dict[str, int]:
    """How many values are right, where the truth is known."""
    known = answered[answered["truth"].notna()]
    if not len(known):
        return {}
    return {"truth known": len(known), "right": int((known["value"] == known["truth"]).sum())}


def _by_judge(
    answered: pd.DataFrame, verdicts: dict[tuple[str, str], str | Rejected]
) -> dict[str, int]:
    """The judge's verdicts, and how often they agree with the truth."""
    counts: Counter[str] = Counter()
    agreements: list[bool] = []
    for row in answered.itertuples():
        verdict = verdicts[row.attribute, row.item_id]
        if isinstance(verdict, Rejected):
            counts["rejected"] += 1
            continue
        counts[verdict] += 1
        if row.truth is not None:
            agreements.append(verdict == judge.VERDICTS[row.value != row.truth])
    line = {
        "judged correct": counts["correct"],
        "judged not correct": counts["not correct"],
        "rejected": counts["rejected"],
    }
    return line | ({"judge agrees with the truth": sum(agreements)} if agreements else {})
