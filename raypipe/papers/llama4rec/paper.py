"""Llama4Rec, as the command line and the server know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.papers import contract
from raypipe.papers.contract import Option, split_names
from raypipe.papers.llama4rec.config import PRESETS, VARIANTS, Llama4RecConfig
from raypipe.schema import TASKS

if TYPE_CHECKING:
    from raypipe.pipeline.runner import Done
    from raypipe.pipeline.stage import Stage
    from raypipe.pipeline.store import Store


class Llama4Rec(contract.Paper):
    """An LLM augments the data of conventional recommenders and re-ranks their output."""

    name = "llama4rec"
    title = "Llama4Rec: an LLM augments the data of recommenders and re-ranks their lists"
    Config = Llama4RecConfig
    presets = PRESETS
    options = (
        Option("backbones", "comma-separated, e.g. light_gcn,sgl (default: the preset's)"),
        Option("tasks", f"comma-separated among {', '.join(TASKS)}"),
        Option(
            "variants",
            f"comma-separated among {', '.join(VARIANTS)} (default: base,ift,llama4rec)",
        ),
    )
    example = "llm.tune.epochs=3"

    def settings(self, options: Mapping[str, str]) -> dict[str, Any]:
        """As in the contract; backbones are sorted by task, and name the tasks where no task is
        named.
        """
        from raypipe.backbones import registry

        settings: dict[str, Any] = super().settings(options)
        if "backbones" in settings:
            by_task: dict[str, list[str]] = {}
            for name in split_names(options["backbones"]):
                by_task.setdefault(registry.task_of(name), []).append(name)
            settings["backbones"] = by_task
            settings.setdefault("tasks", [task for task in TASKS if task in by_task])
        return settings

    def plan(self, config: Llama4RecConfig) -> list[Stage]:
        """The stages of a run."""
        from raypipe.papers.llama4rec.stages import plan

        return plan(config)

    def check(self, config: Llama4RecConfig) -> None:
        """Refuse what cannot work."""
        from raypipe.papers.llama4rec.config_checks import check

        check(config)

    def check_resources(self, config: Llama4RecConfig) -> None:
        """Refuse what the cluster cannot hold."""
        from raypipe.papers.llama4rec.config_checks import check_resources

        check_resources(config)

    def publish(
        self, config: Llama4RecConfig, store: Store, record: Sequence[Done], began: float
    ) -> str:
        """Write report and bundle."""
        from raypipe.papers.llama4rec.report.publish import publish

        return publish(config, store, record, began)

    def recommender(self, bundle: Path) -> contract.Recommender:
        """The recommender of a bundle."""
        from raypipe.papers.llama4rec.recommender import Recommender

        return Recommender(bundle)


PAPER = Llama4Rec()
