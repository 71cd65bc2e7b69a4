"""Checks of a configuration before anything starts."""

from __future__ import annotations

from raypipe import extras
from raypipe.backbones import registry
from raypipe.cluster import train
from raypipe.data.dataset import source_options
from raypipe.errors import ConfigError
from raypipe.llm.engine import check_installed
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.refresh import check_kept
from raypipe.steps.completions import check_capacity
from raypipe.tuning.checkpoint import check_source


def takes_texts(backbone: str) -> bool:
    """Whether a backbone can use the vectors of texts and profiles."""
    return bool(registry.find("direct", backbone).Model.takes_texts)


def check(config: ReclmConfig) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: an unknown dataset, backbone or option, an LLM folder without an LLM, or no
            backbone that can use profiles.
    """
    extras.need("rl", "the paper reclm")
    check_installed(config.llm.engine)
    if config.teacher.endpoint:
        extras.need("endpoint", "teacher.endpoint")
    source_options(config.data)
    check_kept(config)
    for name in {*config.backbones, *config.backbone_options}:
        registry.options("direct", name, config.backbone_options.get(name, {}))
    if not any(map(takes_texts, config.backbones)):
        able = ", ".join(filter(takes_texts, registry.names("direct")))
        raise ConfigError(
            "none of the backbones can use texts", "backbones", f"choose among {able}"
        )
    if config.llm.engine.name != "scripted":
        check_source(config.llm.source)
    sharded = config.llm.dialogue.zero_stage in (None, 3)
    if config.llm.adapter.rank and sharded and config.llm.source == "embedded":
        raise ConfigError(
            "LoRA saves nothing on the embedded LLM, which is small",
            "llm.adapter.rank",
            "leave it at 0, or name another LLM",
        )


def check_resources(config: ReclmConfig) -> None:
    """Refuse what the connected cluster cannot hold; called before the first stage.

    Raises:
        ConfigError: more workers or engine replicas than CPUs or GPUs.
    """
    for step in ("distil", "dialogue", "items", "reward"):
        train.workers(getattr(config.llm, step).workers, 1, f"llm.{step}.workers")
    check_capacity(config.llm.engine)
