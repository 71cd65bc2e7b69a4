"""Llama4Rec as a list of stages, in the order of the paper: base models, prompts, tuning, augmentation, aggregation, test."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from raypipe.backbones import registry
from raypipe.llm.config import EndpointConfig
from raypipe.papers.llama4rec.attribute_accuracy import judge_prompts, judged
from raypipe.papers.llama4rec.augmentation import augmentation
from raypipe.papers.llama4rec.backbones import DEEP, fit_backbone
from raypipe.papers.llama4rec.bundle import bundle
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.config_checks import check
from raypipe.papers.llama4rec.evaluation import evaluate
from raypipe.papers.llama4rec.external_llm import against_rival, rival_prompts
from raypipe.papers.llama4rec.instructions import instructions
from raypipe.papers.llama4rec.llm import build_base, tune_llm
from raypipe.papers.llama4rec.model_selection import choose, pointwise_test_prompts
from raypipe.papers.llama4rec.prompts import guided_prompts, prompts
from raypipe.papers.llama4rec.splits import both, data_stages
from raypipe.papers.llama4rec.variants import waves
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions, endpoint_completions

#: the settings of tuning that decide what is learnt, and not how
OF_INSTRUCTIONS = {"instructions", "backbones", "newest", "sources"}


def plan(config: Llama4RecConfig) -> list[Stage]:
    """All stages of a run: one LLM for all repetitions, and one start of the engine for all prompts that are ready."""
    check(config)
    return [
        *data_stages(config),
        *_tuning(config),
        *_augmentation(config),
        *_answers(config),
        *_outcome(config),
    ]


BOTH = both()


def _backbones(config: Llama4RecConfig) -> list[tuple[str, str]]:
    return [(task, name) for task in config.tasks for name in config.backbones[task]]


def _learnt(config: Llama4RecConfig) -> list[tuple[str, str]]:
    return [(task, name) for task, names in config.learnt.items() for name in names]


def _wording(
    config: Llama4RecConfig, seeds: Sequence[int], names: list[tuple[str, str]]
) -> list[Any]:
    """The settings that decide what prompts say."""
    return [config.prompts.model_dump(), config.style, config.rated, names, list(seeds)]


def _ranking(config: Llama4RecConfig) -> list[Any]:
    """The settings that decide what is asked to re-rank and to rate; the LLM is not tuned anew where they alone change."""
    return [
        *_wording(config, config.repetitions, _backbones(config)),
        config.k_prime,
        config.rerank.model_dump(),
    ]


def _asked(config: Llama4RecConfig) -> dict[str, Any]:
    """The settings that decide what the LLM is asked to add."""
    return config.augment.model_dump(exclude={"warm_start", "rounds"})


def _fits(
    config: Llama4RecConfig,
    at: str,
    seed: int,
    inputs: dict[str, str],
    hint: bool = False,
    start: str | None = None,
) -> list[Stage]:
    """One stage for each backbone, called AT/NAME; it begins with the weights of START/NAME."""
    stages = []
    for task, name in _learnt(config) if hint else _backbones(config):
        options = config.backbone_options.get(name, {})
        k = max(DEEP, config.k_prime) if hint else config.k_prime
        body = partial(
            fit_backbone,
            config=config,
            task=task,
            name=name,
            options=options,
            hint=hint,
            k=k,
            seed=seed,
        )
        settings = [
            registry.options(task, name, options).model_dump(),
            config.backbone_workers,
            k,
            seed,
        ]
        crew = f"Ray Train: {config.backbone_workers} worker(s)"
        place: Literal["driver", "trainer"] = (
            "trainer" if config.backbone_workers == 1 else "driver"
        )
        read = inputs | ({"start": f"{start}/{name}"} if start else {})
        stages.append(Stage(f"{at}/{name}", body, read, settings, place, crew))
    return stages


def _tuning(config: Llama4RecConfig) -> list[Stage]:
    """The hint models, the untuned LLM, and an LLM tuned on each kind of prompts: once, with the first seed."""
    seed, tune = config.seed, config.llm.tune
    embedded = config.llm.source == "embedded"
    base_config: list[Any] = [config.llm.source, seed]
    if embedded:
        own = tune.model_dump(exclude={"epochs", "learning_rate", *OF_INSTRUCTIONS})
        lengths = config.prompts.history, config.rated if "rating" in config.learnt else 0
        base_config += [config.llm.embedded.model_dump(), own, lengths]
    crew = "Ray Train: DeepSpeed"
    stages = []
    for at, source in config.sources:
        stages += data_stages(source, at) if at else []
        stages += _fits(source, f"{at}hint", seed, both(at), hint=True)
    read = {
        f"{part}{n}": name
        for n, (at, _) in enumerate(config.sources)
        for part, name in both(at).items()
    }
    stages.append(
        Stage(
            "llm/base",
            partial(build_base, config=config, seed=seed),
            read,
            base_config,
            "driver",
            crew,
        )
    )
    for kind in sorted({wave.llm for wave in waves(config.variants).values()}):
        inputs = {"base": "llm/base"}
        for n, (at, source) in enumerate(config.sources):
            body = partial(instructions, config=source, with_hints=kind == "augmented", seed=seed)
            settings = [
                _wording(config, [seed], _learnt(config)),
                config.at_once,
                tune.instructions,
                tune.newest,
                _asked(config),
            ]
            made_of = both(at) | {f"hint/{name}": f"{at}hint/{name}" for _, name in _learnt(config)}
            stages.append(
                Stage(f"{at}instructions/{kind}", body, made_of, settings, "driver", "Ray Data")
            )
            inputs[f"instructions{n}"] = f"{at}instructions/{kind}"
        settings = [tune.model_dump(exclude=OF_INSTRUCTIONS), seed]
        stages.append(
            Stage(
                f"llm/{kind}",
                partial(tune_llm, config=config, seed=seed),
                inputs,
                settings,
                "driver",
                crew,
            )
        )
    return stages


def _augmentation(config: Llama4RecConfig) -> list[Stage]:
    """The LLM's additions to the data, and the models fitted with and without them, for each seed."""
    seeds = config.repetitions
    settings = [_wording(config, seeds, []), _asked(config), list(config.tasks)]
    stages = [
        Stage(
            "prompts/augment",
            partial(prompts, config=config, kind="augment"),
            BOTH,
            settings,
            "driver",
            "Ray Data",
        )
    ]
    for seed in seeds:
        stages += _fits(config, f"seed{seed}/base", seed, BOTH)
    augmenting = [wave for wave in waves(config.variants).values() if wave.models != "base"]
    guides = [name for task, name in _backbones(config) if task != "rating"]
    for number in range(1, config.augment.rounds + 1):
        last = f"@{number - 1}"
        at = "" if number == config.augment.rounds else f"@{number}"
        for wave in augmenting:
            asked = "augment" if number == 1 else f"augment{wave.suffix}@{number}"
            if number > 1:
                read = {
                    f"model/{seed}/{n}": f"seed{seed}/{wave.models}{last}/{n}"
                    for seed in seeds
                    for n in guides
                }
                body = partial(guided_prompts, config=config, number=number, with_hints=wave.hints)
                own = [*settings, guides, number]
                stages.append(
                    Stage(f"prompts/{asked}", body, BOTH | read, own, "driver", "Ray Data")
                )
            answered = asked if number > 1 else asked + wave.suffix
            stages.append(completions(answered, asked, f"llm/{wave.llm}", config.llm.engine))
            for seed in seeds:
                name = f"seed{seed}/augmentation{wave.suffix}"
                inputs = {"prompts": f"prompts/{asked}", "completions": f"completions/{answered}"}
                inputs |= {"before": name + last} if number > 1 else {}
                stages.append(Stage(name + at, partial(augmentation, seed=seed), inputs, seed))
        for wave, seed in itertools.product(augmenting, seeds):
            made = {**BOTH, "augmentation": f"seed{seed}/augmentation{wave.suffix}{at}"}
            start = f"seed{seed}/base" if config.augment.warm_start else None
            stages += _fits(config, f"seed{seed}/{wave.models}{at}", seed, made, start=start)
    return stages


def _answers(config: Llama4RecConfig) -> list[Stage]:
    """Each wave: prompts, completions and choice, then the test prompts of those whose chosen ranking is pointwise."""
    stages = []
    wording = _ranking(config)
    for kind, wave in waves(config.variants).items():
        of_models = {
            f"model/{seed}/{n}": f"seed{seed}/{wave.models}/{n}"
            for seed in config.repetitions
            for _, n in _backbones(config)
        }
        body = partial(prompts, config=config, kind=kind)
        stages.append(
            Stage(f"prompts/{kind}", body, {**BOTH, **of_models}, wording, "driver", "Ray Data")
        )
        stages.append(completions(kind, kind, f"llm/{wave.llm}", config.llm.engine))
        inputs = {
            **BOTH,
            **of_models,
            "prompts": f"prompts/{kind}",
            "completions": f"completions/{kind}",
        }
        settings = [wording, config.aggregation.model_dump() if wave.mixed else None]
        body = partial(choose, config=config, variant=kind)
        stages.append(Stage(f"chosen/{kind}", body, inputs, settings, "driver", "Ray Tune"))
        inputs = {**BOTH, **of_models, "chosen": f"chosen/{kind}"}
        body = partial(pointwise_test_prompts, config=config, with_hints=wave.hints)
        stages.append(
            Stage(f"prompts/{kind}-pointwise", body, inputs, wording, "driver", "Ray Data")
        )
        pointwise = f"{kind}-pointwise"
        stages.append(completions(pointwise, pointwise, f"llm/{wave.llm}", config.llm.engine))
    return stages


def _outcome(config: Llama4RecConfig) -> list[Stage]:
    """The test set, read once, and the bundle of the first seed."""
    inputs = dict(BOTH)
    for kind, wave in waves(config.variants).items():
        inputs[f"chosen/{kind}"] = f"chosen/{kind}"
        for one in (kind, f"{kind}-pointwise"):
            inputs |= {
                f"prompts/{one}": f"prompts/{one}",
                f"completions/{one}": f"completions/{one}",
            }
        for seed in config.repetitions:
            for _, n in _backbones(config):
                inputs |= {f"{m}/{seed}/{n}": f"seed{seed}/{m}/{n}" for m in ("base", wave.models)}
    settings = [_ranking(config), config.variants]
    first = f"seed{config.seed}"
    parts = {
        **BOTH,
        "llm": "llm/augmented",
        "augmentation": f"{first}/augmentation",
        "chosen": "chosen/llama4rec",
        **{f"augmented/{n}": f"{first}/augmented/{n}" for _, n in _backbones(config)},
    }
    stages = [
        Stage("evaluate", partial(evaluate, config=config), inputs, settings),
        Stage("bundle", partial(bundle, config=config), parts, config.model_dump(mode="json")),
    ]
    if config.rival:
        stages += _rival(config, config.rival)
    if "rating" in config.tasks and config.augment.attributes:
        stages += _judged(config)
    return stages


def _judged(config: Llama4RecConfig) -> list[Stage]:
    """Whether generated attributes are right (Figure 8)."""
    inputs = {"data": "data", "augmentation": f"seed{config.seed}/augmentation"}
    settings = [config.judged_items, config.seed]
    if config.judge is None:
        return [Stage("judged", partial(judged, config=config), inputs, settings)]
    asked = Stage("prompts/judge", partial(judge_prompts, config=config), inputs, settings)
    inputs = {**inputs, "prompts": "prompts/judge", "completions": "completions/judge"}
    return [
        asked,
        endpoint_completions("judge", config.judge, config.llm.engine),
        Stage("judged", partial(judged, config=config), inputs, settings),
    ]


def _rival(config: Llama4RecConfig, rival: EndpointConfig) -> list[Stage]:
    """The same tasks put to another LLM (Figure 7)."""
    inputs = {"data": "data", "evaluate": "evaluate", "prompts": "prompts/llama4rec"}
    drawn = [config.rival_tasks, config.rival_k]
    asked = Stage(
        "prompts/rival", partial(rival_prompts, config=config), inputs, drawn, "driver", "Ray Data"
    )
    inputs = {
        "evaluate": "evaluate",
        "prompts": "prompts/rival",
        "completions": "completions/rival",
    }
    told = Stage("rival", partial(against_rival, config=config), inputs, config.rival_k)
    return [asked, endpoint_completions("rival", rival, config.llm.engine), told]
