"""The bundle: all that serving needs, in one folder that can be copied anywhere.

bundle.json        paper, format, configuration, variant, seed, and what validation chose for each
task dataset/ split/    as the stages `data` and `split` wrote them augmentation/      the LLM's
additions, where the variant's backbones were fitted with them models/NAME/       weights and
similar users of the backbone of each task llm/               the tuned LLM in the Hugging Face
format; none for the variant `base`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raypipe import __version__
from raypipe.papers.llama4rec.config import FOLDERS, Llama4RecConfig
from raypipe.papers.llama4rec.mixing import Choice
from raypipe.papers.llama4rec.variants import WAVES, models_of, source
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import llm_path

FORMAT = 5

#: name of a stage -> the folder of its output
Artifacts = Callable[[str], Path]


def bundle(ctx: Context, config: Llama4RecConfig) -> dict[str, Any]:
    """Write the bundle of Llama4Rec and the first seed. Inputs: the stages of `bundle_stages`, by
    their names.
    """
    write_bundle(ctx.out, config, "llama4rec", ctx.input)
    return {"rows": 0}


def best_by_validation(chosen: Sequence[Choice]) -> list[Choice]:
    """The choice with the best validation value of each task, the first among equals."""
    best: dict[str, Choice] = {}
    for choice in chosen:
        task = choice["task"]
        if task not in best or choice["validation"] > best[task]["validation"]:
            best[task] = choice
    return list(best.values())


def bundle_stages(config: Llama4RecConfig, variant: str) -> list[str]:
    """The stages whose outputs `write_bundle` reads for a variant."""
    first = f"seed{config.seed}"
    models = f"{first}/{models_of(variant)}"
    stages = ["data", "split", f"chosen/{_chosen_by(variant)}"]
    if augmentation := _augmentation(config, variant):
        stages.append(augmentation)
    for task in config.tasks:
        stages += [f"{models}/{name}" for name in config.backbones[task]]
    if variant != "base":
        stages.append(f"llm/{WAVES[source(variant)].llm}")
    return stages


def _chosen_by(variant: str) -> str:
    """The wave whose choice of backbones a variant serves by."""
    return "llama4rec" if variant == "base" else source(variant)


def _augmentation(config: Llama4RecConfig, variant: str) -> str | None:
    """The stage of the additions that a variant's backbones were fitted with, if any."""
    if models_of(variant) == "base":
        return None
    return f"seed{config.seed}/augmentation{WAVES[source(variant)].suffix}"


def write_bundle(folder: Path, config: Llama4RecConfig, variant: str, artifacts: Artifacts) -> None:
    """Write the bundle of a variant and the first seed to a folder that exists.

    Where a task has several backbones, the one with the best validation value is served.
    """
    without_manifest = shutil.ignore_patterns("manifest.json")
    stages = {"dataset": "data", "split": "split"}
    if augmentation := _augmentation(config, variant):
        stages["augmentation"] = augmentation
    for target, stage in stages.items():
        shutil.copytree(artifacts(stage), folder / target, ignore=without_manifest)
    chosen_file = artifacts(f"chosen/{_chosen_by(variant)}") / "chosen.json"
    chosen = best_by_validation(json.loads(chosen_file.read_text()))
    for choice in chosen:
        name = choice["backbone"]
        model = artifacts(f"seed{config.seed}/{models_of(variant)}/{name}")
        (folder / "models" / name).mkdir(parents=True)
        for file in ("model.safetensors", "similar.parquet"):
            shutil.copy2(model / file, folder / "models" / name / file)
    if variant != "base":
        llm = artifacts(f"llm/{WAVES[source(variant)].llm}")
        shutil.copytree(llm_path(llm), folder / "llm")
    kept = []
    for choice in chosen:  # without the grid and what else only the report shows
        kept.append({key: value for key, value in choice.items() if key in Choice.__annotations__})
    facts = {
        "paper": "llama4rec",
        "format": FORMAT,
        "raypipe": __version__,
        "variant": variant,
        "seed": config.seed,
        "config": config.model_dump(mode="json", exclude=FOLDERS),
        "chosen": kept,
    }
    (folder / "bundle.json").write_text(json.dumps(facts, indent=1))
