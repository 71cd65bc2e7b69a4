"""What is refused before anything starts, and before the first stage."""

from __future__ import annotations

from raypipe import extras
from raypipe.backbones import registry
from raypipe.cluster import train
from raypipe.data.dataset import source_options
from raypipe.errors import ConfigError
from raypipe.llm.engine import check_installed
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.prompts.contract import LABELS
from raypipe.schema import MOST_OPTIONS
from raypipe.steps.completions import check_capacity
from raypipe.tuning.checkpoint import check_source


def check(config: Llama4RecConfig) -> None:
    """Refuse what cannot work, before anything starts.

    Raises:
        ConfigError: unknown backbone or dataset or option, an LLM folder that is not one, too many
            labels.
    """
    source_options(config.data)
    learnt = [source.data for source in config.llm.tune.sources]
    if len({data.name for data in learnt}) < len(learnt):
        raise ConfigError("a dataset is named twice", "llm.tune.sources", "name each once")
    for data in learnt:
        source_options(data)
    for task in config.tasks:
        if not config.backbones.get(task):
            raise ConfigError(
                f"the task {task} has no backbone",
                "backbones",
                f"choose among {', '.join(registry.names(task))}",
            )
        for name in config.backbones[task]:
            registry.options(task, name, config.backbone_options.get(name, {}))
    for name in config.backbone_options:
        registry.task_of(name)
    for task, names in config.llm.tune.backbones.items():
        for name in names:
            registry.options(task, name, config.backbone_options.get(name, {}))
    if strange := set(config.tasks) - {
        task for task, names in config.hint_backbones.items() if names
    }:
        raise ConfigError(
            f"the LLM is not tuned for {', '.join(sorted(strange))}",
            "llm.tune.backbones",
            "name backbones for it",
        )
    check_source(config.llm.source)
    check_installed(config.llm.engine)
    if config.judge or config.external_llm:
        extras.need("endpoint", "judge, external_llm")
    if config.judge and not ("rating" in config.tasks and config.augment.attributes):
        raise ConfigError(
            "the judge checks generated attributes, and the run generates none",
            "judge",
            "add the task rating",
        )
    if config.external_llm and not {"direct", "sequential"} & set(config.tasks):
        raise ConfigError(
            "the external LLM ranks lists, and the run has none",
            "external_llm",
            "add the task direct or sequential",
        )
    if config.external_llm and config.candidates_per_prompt < config.k_prime:
        raise ConfigError(
            "the external LLM ranks whole lists",
            "rerank.chunk, rerank.k_prime",
            f"leave the first at 0 and the second at {MOST_OPTIONS} at most, "
            "or leave external_llm out",
        )
    if config.rerank.generate_ranking and config.candidates_per_prompt < config.k_prime:
        raise ConfigError(
            "one answer holds the generated ranking of a whole list",
            "rerank.generate_ranking, rerank.chunk, rerank.k_prime",
            f"leave the second at 0 and the third at {MOST_OPTIONS} at most, "
            "or set rerank.generate_ranking=false",
        )
    most = max(config.candidates_per_prompt, config.augment.pick_from)
    if config.style == "label" and most > len(LABELS):
        raise ConfigError(
            f"{most} candidates cannot be labelled by {len(LABELS)} letters",
            "rerank.k_prime, augment.pick_from",
            "lower them, or let rerank.chunk split the candidates",
        )


def check_resources(config: Llama4RecConfig) -> None:
    """Refuse what the connected cluster cannot hold; called before the first stage.

    Raises:
        ConfigError: more workers or engine replicas than CPUs or GPUs.
    """
    train.workers(config.llm.tune.workers, 1)
    train.workers(config.backbone_workers, 1, "backbone_workers")
    check_capacity(config.llm.engine)
