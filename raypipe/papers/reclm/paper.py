"""RecLM, as the command line and the server know it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.papers import contract
from raypipe.papers.contract import Option
from raypipe.papers.reclm.config import PRESETS, ROWS, ReclmConfig

if TYPE_CHECKING:
    from raypipe.pipeline.runner import Done
    from raypipe.pipeline.stage import Stage
    from raypipe.pipeline.store import Store


class RecLM(contract.Paper):
    """An LLM writes profiles, from which recommenders rank cold-start items."""

    name = "reclm"
    title = "RecLM: an LLM writes profiles, from which recommenders rank cold-start items"
    Config = ReclmConfig
    presets = PRESETS
    options = (
        Option("backbones", "comma-separated, e.g. light_gcn,sgl (default: the preset's)"),
        Option(
            "rows",
            f"whose profiles the backbones are given: comma-separated among {', '.join(ROWS)}",
        ),
    )
    backbone_tasks = ("direct",)
    run_prefix = "reclm-"
    example = "llm.policy.method=grpo"

    def plan(self, config: ReclmConfig) -> list[Stage]:
        """The stages of a run."""
        from raypipe.papers.reclm.stages import plan

        return plan(config)

    def check(self, config: ReclmConfig) -> None:
        """Refuse what cannot work."""
        from raypipe.papers.reclm.config_checks import check

        check(config)

    def check_resources(self, config: ReclmConfig) -> None:
        """Refuse what the cluster cannot hold."""
        from raypipe.papers.reclm.config_checks import check_resources

        check_resources(config)

    def publish(
        self, config: ReclmConfig, store: Store, record: Sequence[Done], began: float
    ) -> str:
        """Write report and bundle."""
        from raypipe.papers.reclm.report.publish import publish

        return publish(config, store, record, began)

    def recommender(self, bundle: Path) -> contract.Recommender:
        """The recommender of a bundle."""
        from raypipe.papers.reclm.recommender import Recommender

        return Recommender(bundle)


PAPER = RecLM()
