"""The bundle: all that serving needs, in one folder that can be copied anywhere.

bundle.json        format, configuration, chosen weights, seed
dataset/ split/    as the stages `data` and `split` wrote them; augmentation/ likewise
models/NAME/       weights and similar users of each augmented backbone
llm/               the tuned LLM in the Hugging Face format
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from raypipe import __version__
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import llm_path

FORMAT = 4


def bundle(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """Write the bundle of the first seed."""
    for source, target in (
        ("data", "dataset"),
        ("split", "split"),
        ("augmentation", "augmentation"),
    ):
        shutil.copytree(
            ctx.input(source), ctx.out / target, ignore=shutil.ignore_patterns("manifest.json")
        )
    for task in config.tasks:
        for name in config.backbones[task]:
            (ctx.out / "models" / name).mkdir(parents=True)
            for file in ("model.safetensors", "similar.parquet"):
                shutil.copy2(
                    ctx.input(f"augmented/{name}") / file, ctx.out / "models" / name / file
                )
    shutil.copytree(llm_path(ctx.input("llm")), ctx.out / "llm")
    facts = {
        "format": FORMAT,
        "raypipe": __version__,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "chosen": [
            {k: c[k] for k in ("task", "backbone", "ranking", "alpha_1", "alpha_2", "learned")}
            for c in json.loads((ctx.input("chosen") / "chosen.json").read_text())
        ],
    }
    (ctx.out / "bundle.json").write_text(json.dumps(facts, indent=1))
    return {"rows": 0}
