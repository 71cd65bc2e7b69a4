"""Are the LLM's attributes right (Figure 8, L49)? Told by the truth where the dataset has it, and by another LLM where one is set.

Drawn are values of the first seed. The model that says that it does not know is counted apart from the model that invents.
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


def _drawn(ctx: Context, config: Llama4RecConfig) -> pd.DataFrame:
    """COLUMNS of `judged_items` items of each attribute; truth is None where it is not known."""
    made = pd.read_parquet(ctx.input("augmentation") / "attributes.parquet")
    truth = true_attributes(config.data)
    rows: list[tuple[Any, ...]] = []
    for name in made.columns.drop(ITEM):
        own = made[made[name].notna()]
        order = generator(config.seed, "judged", name).permutation(len(own))[: config.judged_items]
        known = truth.get(name, {})
        rows += [
            (name, item, value, known.get(item))
            for item, value in own[[ITEM, name]].iloc[np.sort(order)].itertuples(index=False)
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def judge_prompts(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """prompts/: one question a drawn value; values that the model did not know are not asked about."""
    dataset = Dataset.load(ctx.input("data"))
    items = dataset.items.set_index(ITEM)
    rows = []
    for one in _drawn(ctx, config).itertuples():
        if one.value == UNKNOWN:
            continue
        about = items.loc[one.item_id]
        asked = judge.render(
            dataset.noun, about[TITLE], about[TEXT], one.attribute, one.value, one.truth
        )
        rows.append(
            (
                f"judge/{one.attribute}/{one.item_id}",
                "judge",
                asked.text,
                asked.mode,
                asked.pattern,
                asked.options,
                asked.payload,
            )
        )
    if rows:
        (ctx.out / "prompts").mkdir()
        pq.write_table(
            PROMPTS.from_frame(pd.DataFrame(rows, columns=list(PROMPTS.columns)), ctx.name),
            ctx.out / "prompts" / "part.parquet",
        )
    return {"rows": len(rows)}


def judged(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """judged.json: for each attribute how many values are right by the truth, and by the judge."""
    frame = _drawn(ctx, config)
    verdict: dict[str, str | Rejected] = {}
    if config.judge:
        for row in answers(ctx, "prompts", "completions").itertuples():
            verdict[row.prompt_id] = judge.parse(Completion(row.answer, ()))
    lines = []
    for name, own in frame.groupby("attribute", sort=False):
        line: dict[str, Any] = {
            "attribute": name,
            "drawn": len(own),
            "not known": int((own["value"] == UNKNOWN).sum()),
        }
        said = own[own["value"] != UNKNOWN]
        known = said[said["truth"].notna()]
        if len(known):
            line |= {
                "truth known": len(known),
                "right": int((known["value"] == known["truth"]).sum()),
            }
        if config.judge:
            of = [verdict[f"judge/{name}/{item}"] for item in said[ITEM]]
            counts = Counter(v if isinstance(v, str) else "rejected" for v in of)
            line |= {
                "judged correct": counts["correct"],
                "judged not correct": counts["not correct"],
                "rejected": counts["rejected"],
            }
            agree = [
                v == judge.VERDICTS[value != truth]
                for v, value, truth in zip(of, said["value"], said["truth"], strict=True)
                if truth is not None and isinstance(v, str)
            ]
            line |= {"judge agrees with the truth": int(sum(agree))} if agree else {}
        lines.append(line)
    rejected = Counter(v.kind for v in verdict.values() if isinstance(v, Rejected))
    (ctx.out / "judged.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(frame), "lines": lines, "rejected": dict(rejected)}
