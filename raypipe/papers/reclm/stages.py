"""RecLM as a list of stages, in the order of the paper.

Snapshots, base models, teacher, tuning in two turns, reinforcement learning, profiles of users and
then of items, augmented models, test.
"""

from __future__ import annotations

from functools import partial

from raypipe.backbones import registry
from raypipe.papers.reclm.backbones import fit_backbone
from raypipe.papers.reclm.bundle import bundle
from raypipe.papers.reclm.config import FOLDERS, ReclmConfig
from raypipe.papers.reclm.config_checks import check, takes_texts
from raypipe.papers.reclm.evaluation import POPULARITY, evaluate, fit_input, text_signal
from raypipe.papers.reclm.histories import AS_OF, AsOf
from raypipe.papers.reclm.llm_stages import GRAPH, TABLES, llm_stages, needs_llm, writer
from raypipe.papers.reclm.profile_stages import profile_stages
from raypipe.papers.reclm.splits import split_snapshots
from raypipe.papers.reclm.vectors import item_vectors
from raypipe.pipeline.stage import Stage
from raypipe.steps.dataset import read_stage

#: rows without the profiles of one side -> the sides that they have
SIDES_OF_ROW = {"wo_user": ("items",), "wo_item": ("users",)}


def plan(config: ReclmConfig) -> list[Stage]:
    """All stages of a run. One LLM serves all repetitions."""
    check(config)
    return [
        *_data_stages(config),
        *_base_stages(config),
        *llm_stages(config),
        *profile_stages(config),
        *_augmented_stages(config),
        _evaluation_stage(config),
        _bundle_stage(config),
    ]


def _data_stages(config: ReclmConfig) -> list[Stage]:
    cut = config.data.model_dump(include={"cut", "validation_items", "validation_users"})
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
            config.encoder.model_dump(exclude={"batch_size"}),
            "driver",
            "Ray Data: sentence-transformers",
        ),
    ]


def fit_name(row: str, backbone: str, seed: int, as_of: AsOf) -> str:
    """The name of the stage that fits a backbone with the profiles of a row."""
    name = f"seed{seed}/{row}/{backbone}"
    return name if as_of == "first" else f"{name}@train"


def _fit_stage(
    config: ReclmConfig, backbone: str, row: str, as_of: AsOf, seed: int, profiles: dict[str, str]
) -> Stage:
    """A fit; the fit of the whole first snapshot takes its number of epochs from validation."""
    options = registry.options("direct", backbone, config.backbone_options.get(backbone, {}))
    body = partial(fit_backbone, config=config, name=backbone, as_of=as_of, seed=seed)
    inputs = {**TABLES, "texts": "vectors/texts", **profiles}
    if as_of == "first":
        inputs["chosen"] = fit_name(row, backbone, config.seed, "train")
    name = fit_name(row, backbone, seed, as_of)
    settings = [options.model_dump(), seed]
    return Stage(name, body, inputs, settings, "trainer", "Ray Train: 1 worker")


def _row_stages(
    config: ReclmConfig, row: str, backbones: tuple[str, ...], profiles: dict[AsOf, dict[str, str]]
) -> list[Stage]:
    """Both fits of every backbone: on the training part with the first seed, then, for the best
    number of epochs, on the whole first snapshot with every seed.

    Args:
        profiles: the vectors that each kind of fit gets: input name -> stage.
    """
    stages = []
    for as_of in AS_OF:
        seeds = config.repetitions if as_of == "first" else (config.seed,)
        for seed in seeds:
            for backbone in backbones:
                stages.append(_fit_stage(config, backbone, row, as_of, seed, profiles[as_of]))
    return stages


def _base_stages(config: ReclmConfig) -> list[Stage]:
    backbones = _base_backbones(config)
    stages = _row_stages(config, "base", backbones, {"train": {}, "first": {}})
    if GRAPH not in backbones and needs_llm(config):
        stages.append(_fit_stage(config, GRAPH, "base", "train", config.seed, {}))
    signal = partial(text_signal, config=config)
    inputs = {**TABLES, "texts": "vectors/texts"}
    stages.append(Stage("text-signal", signal, inputs, config.seed))
    return stages


def _base_backbones(config: ReclmConfig) -> tuple[str, ...]:
    """The configured backbones; popularity comes first in any case."""
    return tuple(dict.fromkeys((POPULARITY, *config.backbones)))


def _text_backbones(config: ReclmConfig) -> tuple[str, ...]:
    """The configured backbones that can use profiles."""
    return tuple(filter(takes_texts, config.backbones))


def _augmented_stages(config: ReclmConfig) -> list[Stage]:
    """The backbones with profiles, one row of the tables after the other."""
    stages: list[Stage] = []
    for row in config.rows:
        if row != "base":
            profiles = {as_of: _profile_inputs(config, row, as_of) for as_of in AS_OF}
            stages += _row_stages(config, row, _text_backbones(config), profiles)
    return stages


def _profile_inputs(config: ReclmConfig, row: str, as_of: AsOf) -> dict[str, str]:
    """The vectors of a row's profiles: input name -> stage."""
    row_writer = writer(config, row)
    inputs = {}
    for side in SIDES_OF_ROW.get(row, ("users", "items")):
        if row_writer is None:
            inputs[side] = f"vectors/teacher-{side}@train"
        else:
            inputs[side] = f"vectors/{side}{row_writer.suffix}@{as_of}"
    return inputs


def _evaluation_stage(config: ReclmConfig) -> Stage:
    inputs = dict(TABLES)
    for row in config.rows:
        backbones = _base_backbones(config) if row == "base" else _text_backbones(config)
        for backbone in backbones:
            for seed in config.repetitions:
                stage = fit_name(row, backbone, seed, "first")
                inputs[fit_input(row, backbone, seed)] = stage
    settings = [list(config.rows), list(config.repetitions)]
    return Stage("evaluate", partial(evaluate, config=config), inputs, settings)


def _bundle_stage(config: ReclmConfig) -> Stage:
    row = "augment" if "augment" in config.rows else "base"
    row_writer = writer(config, row)
    inputs = {**TABLES, "texts": "vectors/texts"}
    for backbone in _text_backbones(config):
        inputs[f"fit/{backbone}"] = fit_name(row, backbone, config.seed, "first")
        inputs[f"chosen/{backbone}"] = fit_name(row, backbone, config.seed, "train")
    if row_writer is not None:
        inputs |= {
            "users": "vectors/users@first",
            "items": "vectors/items@first",
            "neighbours": "neighbours",
            "llm/users": row_writer.users,
            "llm/items": row_writer.items,
        }
    settings = config.model_dump(mode="json", exclude=FOLDERS)
    return Stage("bundle", partial(bundle, config=config, row=row), inputs, settings)
