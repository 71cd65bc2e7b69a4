"""The stages of re-ranking, of the test set, and of what is measured beside it."""

from __future__ import annotations

import itertools
from functools import partial

from raypipe.llm.config import EndpointConfig
from raypipe.papers.llama4rec.attribute_accuracy import attribute_accuracy, judge_prompts
from raypipe.papers.llama4rec.bundle import bundle, bundle_stages
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.evaluation import evaluate
from raypipe.papers.llama4rec.external_llm import compare_with_external, external_prompts
from raypipe.papers.llama4rec.model_selection import choose, pointwise_test_prompts
from raypipe.papers.llama4rec.prompts import rerank_prompts
from raypipe.papers.llama4rec.splits import both
from raypipe.papers.llama4rec.stage_settings import rerank_settings, run_pairs
from raypipe.papers.llama4rec.variants import Wave, waves
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions, endpoint_completions

DATA = both()


def rerank_stages(config: Llama4RecConfig) -> list[Stage]:
    """Each wave: prompts, completions and choice, then the test prompts of those whose chosen
    ranking is pointwise.
    """
    stages = []
    for name, wave in waves(config.variants).items():
        stages += _wave(config, name, wave)
    return stages


def _wave(config: Llama4RecConfig, name: str, wave: Wave) -> list[Stage]:
    settings, llm = rerank_settings(config), f"llm/{wave.llm}"
    models = dict(DATA)
    for seed, (_, backbone) in itertools.product(config.repetitions, run_pairs(config)):
        models[f"model/{seed}/{backbone}"] = f"seed{seed}/{wave.models}/{backbone}"
    answers = {"prompts": f"prompts/{name}", "completions": f"completions/{name}"}
    weights = config.aggregation.model_dump() if wave.mixed else None
    prompts = partial(rerank_prompts, config=config, wave=name)
    selection = partial(choose, config=config, variant=name)
    chosen = {"chosen": f"chosen/{name}"}
    pointwise = partial(pointwise_test_prompts, config=config, with_hints=wave.hints)
    second = f"{name}-pointwise"
    return [
        Stage(f"prompts/{name}", prompts, models, settings, "driver", "Ray Data"),
        completions(name, name, llm, config.llm.engine),
        Stage(
            f"chosen/{name}", selection, models | answers, [settings, weights], "driver", "Ray Tune"
        ),
        Stage(f"prompts/{second}", pointwise, models | chosen, settings, "driver", "Ray Data"),
        completions(second, second, llm, config.llm.engine),
    ]


def outcome_stages(config: Llama4RecConfig) -> list[Stage]:
    """The test set, read once, the bundle of the first seed, and the comparisons beside them."""
    settings = [rerank_settings(config), config.variants]
    sources = bundle_stages(config, "llama4rec")
    stages = [
        Stage("evaluate", partial(evaluate, config=config), _test_inputs(config), settings),
        Stage(
            "bundle",
            partial(bundle, config=config),
            dict(zip(sources, sources, strict=True)),
            config.model_dump(mode="json"),
        ),
    ]
    if config.external_llm:
        stages += _external_llm(config, config.external_llm)
    if "rating" in config.tasks and config.augment.attributes:
        stages += _attribute_accuracy(config)
    return stages


def _test_inputs(config: Llama4RecConfig) -> dict[str, str]:
    """What the test set is evaluated from: the models, prompts, completions and choice of each
    wave.
    """
    inputs = dict(DATA)
    for name, wave in waves(config.variants).items():
        for stage in (f"chosen/{name}", f"prompts/{name}", f"completions/{name}"):
            inputs[stage] = stage
        for stage in (f"prompts/{name}-pointwise", f"completions/{name}-pointwise"):
            inputs[stage] = stage
        for seed, (_, backbone) in itertools.product(config.repetitions, run_pairs(config)):
            for models in ("base", wave.models):
                inputs[f"{models}/{seed}/{backbone}"] = f"seed{seed}/{models}/{backbone}"
    return inputs


def _attribute_accuracy(config: Llama4RecConfig) -> list[Stage]:
    """Whether generated attributes are right (Figure 8)."""
    inputs = {"data": "data", "augmentation": f"seed{config.seed}/augmentation"}
    settings = [config.judged_items, config.seed]
    body = partial(attribute_accuracy, config=config)
    if config.judge is None:
        return [Stage("attribute_accuracy", body, inputs, settings)]
    answers = {"prompts": "prompts/judge", "completions": "completions/judge"}
    return [
        Stage("prompts/judge", partial(judge_prompts, config=config), inputs, settings),
        endpoint_completions("judge", config.judge, config.llm.engine),
        Stage("attribute_accuracy", body, inputs | answers, settings),
    ]


def _external_llm(config: Llama4RecConfig, endpoint: EndpointConfig) -> list[Stage]:
    """The same tasks for another LLM (Figure 7)."""
    inputs = {"data": "data", "evaluate": "evaluate", "prompts": "prompts/llama4rec"}
    settings = [config.external_llm_prompts, config.external_llm_candidates]
    body = partial(external_prompts, config=config)
    answers = {
        "evaluate": "evaluate",
        "prompts": "prompts/external_llm",
        "completions": "completions/external_llm",
    }
    return [
        Stage("prompts/external_llm", body, inputs, settings, "driver", "Ray Data"),
        endpoint_completions("external_llm", endpoint, config.llm.engine),
        Stage(
            "external_llm",
            partial(compare_with_external, config=config),
            answers,
            config.external_llm_candidates,
        ),
    ]
