"""What is refused before anything starts."""

from __future__ import annotations

from raypipe.backbones import registry
from raypipe.cluster import train
from raypipe.data.dataset import source_options
from raypipe.errors import ConfigError
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.refresh import check_kept
from raypipe.steps.completions import check_room
from raypipe.tuning.checkpoint import check_source


def check(config: ReclmConfig) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: unknown dataset, backbone or option, an LLM folder that is not one, a row that no backbone can fill.
    """
    source_options(config.data)
    check_kept(config)
    for name in {*config.backbones, *config.backbone_options}:
        registry.options("direct", name, config.backbone_options.get(name, {}))
    if not any(registry.find("direct", name).Model.takes_texts for name in config.backbones):
        able = ", ".join(
            n for n in registry.names("direct") if registry.find("direct", n).Model.takes_texts
        )
        raise ConfigError(
            "none of the backbones can begin with texts", "backbones", f"choose among {able}"
        )
    if config.llm.engine.name != "scripted":
        check_source(config.llm.source)
    if (
        config.llm.adapter.rank
        and config.llm.dialogue.zero_stage in (None, 3)
        and config.llm.source == "embedded"
    ):
        raise ConfigError(
            "LoRA on the embedded LLM saves nothing: all of it is small",
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
    check_room(config.llm.engine)
