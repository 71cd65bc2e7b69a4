"""The bundle: everything that serving needs, in one folder that can be copied anywhere.

bundle.json            paper, format, configuration, backbone, row, seed
dataset/, snapshots/   as the stages `data` and `snapshots` wrote them
vectors/               of the items' texts and of the profiles, with the profiles themselves
model/                 weights of the backbone that was the best on validation; of the row `augment`
                       if there is one
llm/users, llm/items   the LLMs that write profiles; only with the row `augment`
neighbours/            the similar users that prompts of the training part show; likewise
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from raypipe import __version__
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import llm_path

FORMAT = 2
#: input -> folder of the bundle
COPIES = {
    "data": "dataset",
    "snapshots": "snapshots",
    "neighbours": "neighbours",
    "texts": "vectors/texts",
    "users": "vectors/users",
    "items": "vectors/items",
}


def bundle(ctx: Context, config: ReclmConfig, row: str) -> dict[str, Any]:
    """Write the bundle of the first seed.

    Args:
        row: the row of the tables whose profiles and backbones it holds.
    """
    ignore = shutil.ignore_patterns("manifest.json", "missing")
    for name, folder in COPIES.items():
        if name in ctx.inputs:
            shutil.copytree(ctx.input(name), ctx.out / folder, ignore=ignore)
    validation = {}
    for backbone in config.backbones:
        if f"chosen/{backbone}" in ctx.inputs:
            facts = json.loads((ctx.input(f"chosen/{backbone}") / "facts.json").read_text())
            validation[backbone] = facts["validation"]
    best = max(validation, key=validation.__getitem__)
    (ctx.out / "model").mkdir()
    weights = ctx.input(f"fit/{best}") / "model.safetensors"
    shutil.copy2(weights, ctx.out / "model" / "model.safetensors")
    for side in ("users", "items"):
        if f"llm/{side}" in ctx.inputs:
            shutil.copytree(llm_path(ctx.input(f"llm/{side}")), ctx.out / "llm" / side)
    head = {
        "paper": "reclm",
        "format": FORMAT,
        "raypipe": __version__,
        "seed": config.seed,
        "backbone": best,
        "row": row,
        "validation": validation[best],
        "config": config.model_dump(mode="json", exclude=FOLDERS),
    }
    (ctx.out / "bundle.json").write_text(json.dumps(head, indent=1))
    return {"rows": 0, "backbone": best, "validation": validation}
