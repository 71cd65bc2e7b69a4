"""Against another LLM (Figure 7, L48): the same listwise tasks, put to any OpenAI-compatible endpoint.

Tasks are drawn among the test users whose first `rival_k` candidates hold the target: on the others nobody can win. The rival
reads the prompt of Llama4Rec, similar user and hint included, and ranks these candidates in writing; Llama4Rec's own order of
the same candidates is its answer.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from raypipe.papers.llama4rec import rendering
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.prompts import Part, prompts_of, read_asks
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import listwise_freeform
from raypipe.schema import ITEM, USER
from raypipe.seeding import generator
from raypipe.steps.completions import answers


def rival_prompts(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """prompts/: `rival_tasks` test tasks of each top-k backbone, of the first seed."""
    parts = [Part(config.seed, task, backbone) for task, backbone in _ranked(config)]
    return prompts_of(ctx, config, parts, functools.partial(_drawn, ctx, config))


def _drawn(ctx: Context, config: Llama4RecConfig, part: Part) -> Iterator[pd.DataFrame]:
    asked = read_asks(ctx.input("prompts"), part)
    asked = asked[(asked["template"] == config.lists) & (asked["split"] == "test")]
    book = rendering.catalogue(ctx.input("data"))
    first = _first(ctx, config, part.task, part.backbone).groupby(USER)[ITEM].agg(set)
    own = asked[asked[USER].isin(first.index)]
    put = [
        [c for c in offered if book.ids[c] in first[user]]
        for user, offered in zip(own[USER], own["candidates"], strict=True)
    ]
    own = own.assign(candidates=put)
    rng = generator(config.seed, "rival", part.task, part.backbone)
    yield own.iloc[np.sort(rng.permutation(len(own))[: config.rival_tasks])].assign(
        template="ranking"
    )


def _ranked(config: Llama4RecConfig) -> list[tuple[str, str]]:
    """The top-k tasks and their backbones."""
    return [
        (task, name) for task in config.tasks if task != "rating" for name in config.backbones[task]
    ]


def _first(ctx: Context, config: Llama4RecConfig, task: str, backbone: str) -> pd.DataFrame:
    """Test predictions of the first `rival_k` candidates, of the users whose target is among them; ranks are among these."""
    frame = pd.read_parquet(
        ctx.input("evaluate") / f"seed{config.seed}" / f"{task}.{backbone}.llama4rec.parquet"
    )
    frame = frame[frame["rank_rec"] <= config.rival_k]
    frame = frame[frame[USER].isin(frame.loc[frame[ITEM] == frame["target"], USER])]
    return frame.assign(
        **{column: frame.groupby(USER)[column].rank() for column in ("rank", "rank_llm")}
    )


def against_rival(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """rival.json: for each top-k backbone how often Llama4Rec, and its LLM alone, put the target before where the rival did."""
    got = answers(ctx, "prompts", "completions")
    rejected: Counter[str] = Counter()
    lines = []
    for task, backbone in _ranked(config):
        frame = _first(ctx, config, task, backbone)
        hits = frame[frame[ITEM] == frame["target"]].set_index(USER)
        ours: dict[str, Counter[str]] = {"rank": Counter(), "rank_llm": Counter()}
        for row in got[got["prompt_id"].str.startswith(f"{config.seed}/{backbone}/")].itertuples():
            said = listwise_freeform.parse(
                Completion(row.answer, ()), list(row.options), list(row.payload)
            )
            if isinstance(said, Rejected):
                rejected[said.kind] += 1
                for counts in ours.values():
                    counts["rejected"] += 1
                continue
            own = hits.loc[row.prompt_id.split("/", 6)[6]]
            theirs = [item for item, _ in said].index(own["target"]) + 1
            for column, counts in ours.items():
                counts[
                    "wins"
                    if own[column] < theirs
                    else "ties"
                    if own[column] == theirs
                    else "losses"
                ] += 1
        for column, counts in ours.items():
            lines.append(
                {
                    "task": task,
                    "backbone": backbone,
                    "ours": "Llama4Rec" if column == "rank" else "its LLM alone",
                    **{k: counts[k] for k in ("wins", "ties", "losses", "rejected")},
                }
            )
    (ctx.out / "rival.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(got), "rejected": dict(rejected), "lines": lines}
