"""The bundle: all that serving needs, in one folder that can be copied anywhere.

bundle.json        paper, format, configuration, backbone, row, seed
dataset/           as the stage `data` wrote it; snapshots/ likewise
vectors/           of the items' texts, and of the profiles of users and items, with the profiles themselves
model/             weights of the backbone, of the row `augment` where there is one, that was the best on validation
llm/users, llm/items   the LLMs that write profiles of users and of items; only with the row `augment`
neighbours/        the similar users that the prompts of the training part show; likewise
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from raypipe import __version__
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import model_of

FORMAT = 2


def bundle(ctx: Context, config: ReclmConfig, row: str) -> dict[str, Any]:
    """Write the bundle of the first seed."""
    quiet = shutil.ignore_patterns("manifest.json", "missing")
    for source, target in (
        ("data", "dataset"),
        ("snapshots", "snapshots"),
        ("neighbours", "neighbours"),
    ):
        if source in ctx.inputs:
            shutil.copytree(ctx.input(source), ctx.out / target, ignore=quiet)
    for name in ("texts", "users", "items"):
        if name in ctx.inputs:
            shutil.copytree(ctx.input(name), ctx.out / "vectors" / name, ignore=quiet)
    fits = [name.partition("/")[2] for name in ctx.inputs if name.startswith("chosen/")]
    values = {
        name: json.loads((ctx.input(f"chosen/{name}") / "facts.json").read_text())["validation"]
        for name in fits
    }
    best = max(values, key=lambda name: values[name])
    (ctx.out / "model").mkdir()
    shutil.copy2(
        ctx.input(f"fit/{best}") / "model.safetensors", ctx.out / "model" / "model.safetensors"
    )
    for side in ("users", "items"):
        if f"llm/{side}" in ctx.inputs:
            shutil.copytree(model_of(ctx.input(f"llm/{side}")), ctx.out / "llm" / side)
    facts = {
        "paper": "reclm",
        "format": FORMAT,
        "raypipe": __version__,
        "seed": config.seed,
        "backbone": best,
        "row": row,
        "validation": values[best],
        "config": config.model_dump(mode="json", exclude=FOLDERS),
    }
    (ctx.out / "bundle.json").write_text(json.dumps(facts, indent=1))
    return {"rows": 0, "backbone": best, "validation": values}
