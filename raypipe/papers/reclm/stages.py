"""RecLM as a list of stages, in the order of the paper: snapshots, base models, teacher, tuning in two turns, reinforcement
learning, profiles of users and then of items, augmented models, test.
"""

from __future__ import annotations

from functools import partial

from raypipe.backbones import registry
from raypipe.papers.reclm.backbones import fit_backbone
from raypipe.papers.reclm.bundle import bundle
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.papers.reclm.config_checks import check
from raypipe.papers.reclm.evaluation import evaluate, text_signal
from raypipe.papers.reclm.histories import Known
from raypipe.papers.reclm.llm_stages import (
    GRAPH,
    TABLES,
    llm_stages,
    needs_llm,
    profile_stages,
    writer,
)
from raypipe.papers.reclm.splits import split_snapshots
from raypipe.papers.reclm.vectors import item_vectors
from raypipe.pipeline.stage import Stage
from raypipe.steps.dataset import read_stage


def plan(config: ReclmConfig) -> list[Stage]:
    """All stages of a run: one LLM for all repetitions."""
    check(config)
    return [
        *_data(config),
        *_base(config),
        *llm_stages(config),
        *profile_stages(config),
        *_augmented(config),
        *_outcome(config),
    ]


def _data(config: ReclmConfig) -> list[Stage]:
    cut = config.data.model_dump(include={"cut", "validation_items", "validation_users"})
    encoder = config.encoder.model_dump(exclude={"batch_size"})
    return [
        read_stage(config.data, "data"),
        Stage(
            "snapshots",
            partial(split_snapshots, config=config),
            {"data": "data"},
            [cut, config.seed],
        ),
        Stage(
            "vectors/texts",
            partial(item_vectors, config=config.encoder),
            {"data": "data"},
            encoder,
            "driver",
            "Ray Data: sentence-transformers",
        ),
    ]


def _fit(
    config: ReclmConfig, name: str, row: str, known: Known, seed: int, inputs: dict[str, str]
) -> Stage:
    options = registry.options("direct", name, config.backbone_options.get(name, {})).model_dump()
    body = partial(fit_backbone, config=config, name=name, known=known, seed=seed)
    at = f"seed{seed}/{row}/{name}"
    read = {**TABLES, "texts": "vectors/texts", **inputs}
    if known == "first":
        read["chosen"] = f"seed{config.seed}/{row}/{name}@train"
    label = at if known == "first" else f"{at}@train"
    return Stage(label, body, read, [options, seed], "trainer", "Ray Train: 1 worker")


def fits(
    config: ReclmConfig, row: str, inputs: dict[Known, dict[str, str]], only: tuple[str, ...] = ()
) -> list[Stage]:
    """Both fits of every backbone: on the training part with the first seed, and, for the epochs that were best there, on the
    snapshot with every seed.
    """
    names = only or config.backbones
    made = []
    for known in inputs:
        for seed in config.repetitions if known == "first" else (config.seed,):
            made += [_fit(config, name, row, known, seed, inputs[known]) for name in names]
    return made


def _base(config: ReclmConfig) -> list[Stage]:
    names = ("popularity", *(n for n in config.backbones if n != "popularity"))
    made = fits(config, "base", {"train": {}, "first": {}}, names)
    if GRAPH not in names and needs_llm(config):
        made.append(_fit(config, GRAPH, "base", "train", config.seed, {}))
    made.append(
        Stage(
            "text-signal",
            partial(text_signal, config=config),
            {**TABLES, "texts": "vectors/texts"},
            config.seed,
        )
    )
    return made


def _augmented(config: ReclmConfig) -> list[Stage]:
    """The backbones with profiles, one row of the tables after the other."""
    stages: list[Stage] = []
    for row in config.rows:
        if row == "base":
            continue
        own = writer(config, row)
        sides = {"wo_user": ("items",), "wo_item": ("users",)}.get(row, ("users", "items"))
        both: tuple[Known, ...] = ("train", "first")
        inputs: dict[Known, dict[str, str]] = {
            known: {
                side: f"vectors/{side}{own.suffix}@{known}"
                if own
                else f"vectors/teacher-{side}@train"
                for side in sides
            }
            for known in both
        }
        names = tuple(n for n in config.backbones if registry.find("direct", n).Model.takes_texts)
        stages += fits(config, row, inputs, names)
    return stages


def _outcome(config: ReclmConfig) -> list[Stage]:
    inputs = dict(TABLES)
    for row in config.rows:
        names = ("popularity", *config.backbones) if row == "base" else config.backbones
        for name in dict.fromkeys(names):
            if row != "base" and not registry.find("direct", name).Model.takes_texts:
                continue
            inputs |= {
                f"fit/{name}/{row}/{seed}": f"seed{seed}/{row}/{name}"
                for seed in config.repetitions
            }
    settings = [list(config.rows), list(config.repetitions)]
    return [Stage("evaluate", partial(evaluate, config=config), inputs, settings), _bundle(config)]


def _bundle(config: ReclmConfig) -> Stage:
    row = "augment" if "augment" in config.rows else "base"
    own = writer(config, row)
    first = f"seed{config.seed}/{row}"
    able = [n for n in config.backbones if registry.find("direct", n).Model.takes_texts]
    read = {**TABLES, "texts": "vectors/texts"}
    read |= {f"fit/{n}": f"{first}/{n}" for n in able} | {
        f"chosen/{n}": f"{first}/{n}@train" for n in able
    }
    if own is not None:
        read |= {
            "users": "vectors/users@first",
            "items": "vectors/items@first",
            "neighbours": "neighbours",
            "llm/users": own.users,
            "llm/items": own.items,
        }
    about = config.model_dump(mode="json", exclude=FOLDERS)
    return Stage("bundle", partial(bundle, config=config, row=row), read, about)
