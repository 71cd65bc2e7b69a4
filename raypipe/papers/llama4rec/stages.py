"""Llama4Rec as a list of stages, in the order of the paper: base models, prompts, tuning,
augmentation, aggregation, test.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from raypipe.backbones import registry
from raypipe.papers.llama4rec.augmentation import augmentation
from raypipe.papers.llama4rec.backbones import DEEP, BackboneFit, fit_backbone
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.config_checks import check
from raypipe.papers.llama4rec.instructions import instructions
from raypipe.papers.llama4rec.llm import build_base, tune_llm
from raypipe.papers.llama4rec.prompts import augmentation_prompts, guided_prompts
from raypipe.papers.llama4rec.rerank_stages import outcome_stages, rerank_stages
from raypipe.papers.llama4rec.splits import both, data_stages
from raypipe.papers.llama4rec.stage_settings import (
    augmentation_settings,
    hint_pairs,
    prompt_settings,
    run_pairs,
)
from raypipe.papers.llama4rec.variants import Wave, waves
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions

#: the settings of tuning that decide what is learned, and not how
OF_INSTRUCTIONS = {"instructions", "backbones", "newest", "sources"}
DATA = both()


def plan(config: Llama4RecConfig) -> list[Stage]:
    """All stages of a run: one LLM for all repetitions, and one start of the engine for all prompts
    that are ready.
    """
    check(config)
    return [
        *data_stages(config),
        *_tuning(config),
        *_augmentation(config),
        *rerank_stages(config),
        *outcome_stages(config),
    ]


def _fits(
    config: Llama4RecConfig,
    prefix: str,
    seed: int,
    inputs: Mapping[str, str],
    start: str | None = None,
) -> list[Stage]:
    """One stage for each backbone, called PREFIX/NAME; it begins with the weights of START/NAME."""
    stages = []
    for task, name in run_pairs(config):
        job = BackboneFit(
            task, name, config.k_prime, seed, options=config.backbone_options.get(name, {})
        )
        read = dict(inputs) | ({"start": f"{start}/{name}"} if start else {})
        stages.append(_fit(config, f"{prefix}/{name}", job, read))
    return stages


def _hint_fits(config: Llama4RecConfig, prefix: str, inputs: Mapping[str, str]) -> list[Stage]:
    """The backbones that give hints for tuning: fitted without the held rows, with deep lists
    (LO12).
    """
    stages = []
    for task, name in hint_pairs(config):
        options, k = config.backbone_options.get(name, {}), max(DEEP, config.k_prime)
        job = BackboneFit(task, name, k, config.seed, hint=True, options=options)
        stages.append(_fit(config, f"{prefix}hint/{name}", job, dict(inputs)))
    return stages


def _fit(config: Llama4RecConfig, name: str, job: BackboneFit, inputs: dict[str, str]) -> Stage:
    options = registry.options(job.task, job.name, job.options).model_dump()
    settings = [options, config.backbone_workers, job.k, job.seed]
    alone = config.backbone_workers == 1
    place: Literal["driver", "trainer"] = "trainer" if alone else "driver"
    body = partial(fit_backbone, config=config, job=job)
    return Stage(
        name, body, inputs, settings, place, f"Ray Train: {config.backbone_workers} worker(s)"
    )


def _tuning(config: Llama4RecConfig) -> list[Stage]:
    """The hint models, the untuned LLM, and an LLM tuned on each kind of prompts: once, with the
    first seed.
    """
    stages: list[Stage] = []
    for prefix, dataset in config.sources:
        if prefix:
            stages += data_stages(dataset, prefix)
        stages += _hint_fits(dataset, prefix, both(prefix))
    stages.append(_base_llm(config))
    for kind in sorted({wave.llm for wave in waves(config.variants).values()}):
        inputs = {"base": "llm/base"}
        for number, (prefix, dataset) in enumerate(config.sources):
            stages.append(_instructions(dataset, prefix, kind))
            inputs[f"instructions{number}"] = stages[-1].name
        settings = [config.llm.tune.model_dump(exclude=OF_INSTRUCTIONS), config.seed]
        body = partial(tune_llm, config=config, seed=config.seed)
        stages.append(
            Stage(f"llm/{kind}", body, inputs, settings, "driver", "Ray Train: DeepSpeed")
        )
    return stages


def _base_llm(config: Llama4RecConfig) -> Stage:
    """The untuned LLM, from all datasets that it learns from."""
    settings: list[Any] = [config.llm.source, config.seed]
    if config.llm.source == "embedded":
        training = config.llm.tune.model_dump(exclude={"epochs", "learning_rate", *OF_INSTRUCTIONS})
        rated = config.rating_history_length if "rating" in config.hint_backbones else 0
        lengths = config.prompts.history, rated
        settings += [config.llm.embedded.model_dump(), training, lengths]
    inputs = {}
    for number, (prefix, _) in enumerate(config.sources):
        for name, stage in both(prefix).items():
            inputs[f"{name}{number}"] = stage
    body = partial(build_base, config=config, seed=config.seed)
    return Stage("llm/base", body, inputs, settings, "driver", "Ray Train: DeepSpeed")


def _instructions(dataset: Llama4RecConfig, prefix: str, kind: str) -> Stage:
    """The instructions of a dataset, with hints for the augmented kind."""
    tune = dataset.llm.tune
    settings = [
        prompt_settings(dataset, [dataset.seed], hint_pairs(dataset)),
        dataset.candidates_per_prompt,
        tune.instructions,
        tune.newest,
        augmentation_settings(dataset),
    ]
    inputs = both(prefix)
    for _, name in hint_pairs(dataset):
        inputs[f"hint/{name}"] = f"{prefix}hint/{name}"
    with_hints = kind == "augmented"
    body = partial(instructions, config=dataset, with_hints=with_hints, seed=dataset.seed)
    return Stage(f"{prefix}instructions/{kind}", body, inputs, settings, "driver", "Ray Data")


def _augmentation(config: Llama4RecConfig) -> list[Stage]:
    """The LLM's additions to the data, and the backbones with and without them, for each seed."""
    body = partial(augmentation_prompts, config=config)
    stages = [Stage("prompts/augment", body, DATA, _round_settings(config), "driver", "Ray Data")]
    for seed in config.repetitions:
        stages += _fits(config, f"seed{seed}/base", seed, DATA)
    augmenting = [wave for wave in waves(config.variants).values() if wave.models != "base"]
    for number in range(1, config.augment.rounds + 1):
        for wave in augmenting:
            stages += _round(config, wave, number)
        for wave, seed in itertools.product(augmenting, config.repetitions):
            suffix = _round_suffix(config, number)
            inputs = {**DATA, "augmentation": f"seed{seed}/augmentation{wave.suffix}{suffix}"}
            start = f"seed{seed}/base" if config.augment.warm_start else None
            stages += _fits(config, f"seed{seed}/{wave.models}{suffix}", seed, inputs, start)
    return stages


def _round_settings(config: Llama4RecConfig) -> list[Any]:
    return [
        prompt_settings(config, config.repetitions, []),
        augmentation_settings(config),
        list(config.tasks),
    ]


def _round_suffix(config: Llama4RecConfig, number: int) -> str:
    """What the names of a round's stages end with; nothing for the last round."""
    return "" if number == config.augment.rounds else f"@{number}"


def _round(config: Llama4RecConfig, wave: Wave, number: int) -> list[Stage]:
    """A round of data augmentation by a wave's LLM (L55): after the first, the augmented models
    guide it.
    """
    stages: list[Stage] = []
    prompts, answers = "augment", f"augment{wave.suffix}"
    before = f"@{number - 1}"
    if number > 1:
        prompts = answers = f"augment{wave.suffix}@{number}"
        guides = [name for task, name in run_pairs(config) if task != "rating"]
        inputs = dict(DATA)
        for seed, name in itertools.product(config.repetitions, guides):
            inputs[f"model/{seed}/{name}"] = f"seed{seed}/{wave.models}{before}/{name}"
        body = partial(guided_prompts, config=config, number=number, with_hints=wave.hints)
        settings = [*_round_settings(config), guides, number]
        stages.append(Stage(f"prompts/{prompts}", body, inputs, settings, "driver", "Ray Data"))
    stages.append(completions(answers, prompts, f"llm/{wave.llm}", config.llm.engine))
    for seed in config.repetitions:
        name = f"seed{seed}/augmentation{wave.suffix}"
        inputs = {"prompts": f"prompts/{prompts}", "completions": f"completions/{answers}"}
        if number > 1:
            inputs["before"] = name + before
        body = partial(augmentation, seed=seed)
        stages.append(Stage(name + _round_suffix(config, number), body, inputs, seed))
    return stages
