"""Against another LLM (Figure 7, L48): the same listwise tasks for any OpenAI-compatible endpoint.

Tasks are drawn among the test users whose first `external_llm_candidates` hold the target: on the
others nobody can win. The other LLM reads the prompt of Llama4Rec, similar user and hint included,
and ranks these candidates in writing; Llama4Rec's own order of the same candidates is its answer.
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
from raypipe.papers.llama4rec.prompts import Part, read_requests, render_requests
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import listwise_freeform
from raypipe.schema import ITEM, USER
from raypipe.seeding import generator
from raypipe.steps.completions import answers

#: rank columns of the predictions, and what they are called in the comparison
OURS = {"rank": "Llama4Rec", "rank_llm": "its LLM alone"}


def external_prompts(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """prompts/: `external_llm_prompts` test tasks of each top-k backbone, of the first seed."""
    requests = functools.partial(_drawn_requests, ctx, config)
    return render_requests(ctx, config, _parts(config), requests)


def _parts(config: Llama4RecConfig) -> list[Part]:
    """The top-k backbones of the first seed."""
    parts = []
    for task in config.tasks:
        if task != "rating":
            parts += [Part(config.seed, task, name) for name in config.backbones[task]]
    return parts


def _drawn_requests(ctx: Context, config: Llama4RecConfig, part: Part) -> Iterator[pd.DataFrame]:
    requests = read_requests(ctx.input("prompts"), part)
    listwise = requests["template"] == config.listwise_template
    requests = requests[listwise & (requests["split"] == "test")]
    catalogue = rendering.catalogue(ctx.input("data"))
    first = _first_candidates(ctx, config, part).groupby(USER)[ITEM].agg(set)
    requests = requests[requests[USER].isin(first.index)]
    kept = []
    for user, candidates in zip(requests[USER], requests["candidates"], strict=True):
        kept.append([number for number in candidates if catalogue.ids[number] in first[user]])
    requests = requests.assign(candidates=kept, template="listwise_freeform")
    # the stream has the setting's first name, so that the same tasks are drawn as before
    stream = generator(config.seed, "rival", part.task, part.backbone)
    drawn = stream.permutation(len(requests))[: config.external_llm_prompts]
    yield requests.iloc[np.sort(drawn)]


def _first_candidates(ctx: Context, config: Llama4RecConfig, part: Part) -> pd.DataFrame:
    """Test predictions of the first `external_llm_candidates`, of the users whose target is among
    them; ranks are among these.
    """
    file = f"{part.task}.{part.backbone}.llama4rec.parquet"
    frame = pd.read_parquet(ctx.input("evaluate") / f"seed{part.seed}" / file)
    frame = frame[frame["rank_rec"] <= config.external_llm_candidates]
    frame = frame[frame[USER].isin(frame.loc[frame[ITEM] == frame["target"], USER])]
    return frame.assign(**{column: frame.groupby(USER)[column].rank() for column in OURS})


def compare_with_external(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """external_llm.json: for each top-k backbone how often Llama4Rec, and its LLM alone, ranked the
    target above the other LLM.
    """
    answered = answers(ctx, "prompts", "completions")
    rejected: Counter[str] = Counter()
    lines = []
    for part in _parts(config):
        frame = _first_candidates(ctx, config, part)
        hits = frame[frame[ITEM] == frame["target"]].set_index(USER)
        counts: dict[str, Counter[str]] = {column: Counter() for column in OURS}
        own = answered["seed"].eq(part.seed) & answered["backbone"].eq(part.backbone)
        for row in answered[own].itertuples():
            completion = Completion(row.answer, ())
            order = listwise_freeform.parse(completion, list(row.options), list(row.payload))
            if isinstance(order, Rejected):
                rejected[order.kind] += 1
                for outcomes in counts.values():
                    outcomes["rejected"] += 1
                continue
            hit = hits.loc[row.user_id]
            theirs = [item for item, _ in order].index(hit["target"]) + 1
            for column, outcomes in counts.items():
                outcomes[_outcome(hit[column], theirs)] += 1
        for column, outcomes in counts.items():
            line: dict[str, str | int] = {"task": part.task, "backbone": part.backbone}
            line["ours"] = OURS[column]
            for outcome in ("wins", "ties", "losses", "rejected"):
                line[outcome] = outcomes[outcome]
            lines.append(line)
    (ctx.out / "external_llm.json").write_text(json.dumps(lines, indent=1))
    return {"rows": len(answered), "rejected": dict(rejected), "lines": lines}


def _outcome(ours: float, theirs: float) -> str:
    if ours == theirs:
        return "ties"
    return "wins" if ours < theirs else "losses"
