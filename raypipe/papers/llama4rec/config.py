"""The configuration of a Llama4Rec run. Unknown keys are refused; presets are the YAML files in
presets/.

Backbone and dataset options are checked against the class that stands in the backbone's or
dataset's own file, when a run is planned and before anything heavy starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from raypipe import config
from raypipe.config import Config
from raypipe.data.config import DataConfig
from raypipe.llm.config import EndpointConfig
from raypipe.papers.llama4rec.config_sections import (
    AggregationConfig,
    AugmentConfig,
    LLMConfig,
    PromptConfig,
    RerankConfig,
)
from raypipe.schema import MOST_OPTIONS, Task

PRESETS = Path(__file__).parent / "presets"

#: settings that name places of this machine, which neither report nor bundle tells
FOLDERS: Any = {
    "data": {"dir"},
    "llm": {"tune": {"sources": {"__all__": {"data": {"dir"}}}}},
}
VARIANTS = ("base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec")
Variant = Literal["base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec"]


class Llama4RecConfig(Config):
    """Everything that decides the numbers of a run."""

    renamed_keys: ClassVar[dict[str, str]] = {
        "rival": "external_llm",
        "rival_tasks": "external_llm_prompts",
        "rival_k": "external_llm_candidates",
    }
    data: DataConfig = DataConfig()
    tasks: tuple[Task, ...] = Field(
        ("direct", "sequential", "rating"), description="tasks of the run, each once"
    )
    backbones: dict[Task, tuple[str, ...]] = Field(
        default={"direct": ("light_gcn",), "sequential": ("sasrec",), "rating": ("deepfm",)},
        description="backbones of each task",
    )
    backbone_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="hyper-parameters of backbones that differ from defaults"
    )
    backbone_workers: int = Field(
        1, ge=1, description="Ray Train workers per backbone; more than one pays for large logs"
    )
    prompts: PromptConfig = PromptConfig()
    llm: LLMConfig = LLMConfig()
    augment: AugmentConfig = AugmentConfig()
    rerank: RerankConfig = RerankConfig()
    aggregation: AggregationConfig = AggregationConfig()
    checkpoint_seconds: float = Field(
        15.0, ge=0, description="least time between two checkpoints of a training"
    )
    variants: tuple[Variant, ...] = Field(
        ("base", "ift", "llama4rec"),
        description="what is compared; base and llama4rec always are (L38, L44)",
    )
    external_llm: EndpointConfig | None = Field(
        None, description="another LLM that ranks the same lists, for comparison (Figure 7)"
    )
    external_llm_prompts: int = Field(
        100, ge=1, description="test prompts of each top-k backbone that the external LLM answers"
    )
    external_llm_candidates: int = Field(
        20, ge=2, le=26, description="candidates of such a prompt, each named by a letter"
    )
    judge: EndpointConfig | None = Field(
        None, description="an LLM that judges generated attributes (Figure 8)"
    )
    judged_items: int = Field(50, ge=1, description="values of each attribute that are judged")
    seed: int = Field(0, ge=0, description="the first seed")
    seeds: int = Field(
        1,
        ge=1,
        description="repetitions, with seeds seed, seed + 1, ...; the first tunes the LLM for all",
    )

    @field_validator("tasks")
    @classmethod
    def _some_task(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if not tasks or len(set(tasks)) != len(tasks):
            raise ValueError("name at least one task, each once")
        return tasks

    @field_validator("variants")
    @classmethod
    def _in_order(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v for v in VARIANTS if v in {*variants, "base", "llama4rec"})

    @property
    def hint_backbones(self) -> dict[Task, tuple[str, ...]]:
        """Tasks that the LLM is tuned for, and the backbones whose hints it learns from."""
        if self.llm.tune.backbones:
            return self.llm.tune.backbones
        return {task: self.backbones[task] for task in self.tasks}

    @property
    def style(self) -> Literal["title", "listed", "label"]:
        """How answers are written: by default as titles where the tokenizer gives titles a token,
        else as labels.
        """
        if self.prompts.answers == "auto":
            return "title" if self.llm.source == "embedded" else "label"
        return self.prompts.answers

    @property
    def rating_history_length(self) -> int:
        """Items of the history in prompts about a rating (LO13)."""
        usual = 50 if self.llm.source == "embedded" else self.prompts.history
        return self.prompts.rating_history_length or usual

    @property
    def k_prime(self) -> int:
        """k', the length of the re-ranked list (L24)."""
        return self.rerank.k_prime or (50 if self.style == "title" else 20)

    @property
    def listwise_template(self) -> Literal["listwise_logprobs", "listwise_constrained"]:
        """The template that asks for an order of candidates."""
        return "listwise_constrained" if self.rerank.generate_ranking else "listwise_logprobs"

    @property
    def utilities_are_positions(self) -> bool:
        """Whether utilities of lists are positions (L23): by choice, or because a
        generated ranking gives nothing else.
        """
        return self.aggregation.utility == "position" or self.rerank.generate_ranking

    @property
    def candidates_per_prompt(self) -> int:
        """Candidates of a listwise prompt."""
        return min(self.rerank.chunk or self.k_prime, self.k_prime, MOST_OPTIONS)

    @property
    def pointwise_candidates(self) -> int:
        """Candidates of a list that pointwise ranking rates."""
        return min(self.k_prime, self.rerank.pointwise_k)

    @property
    def sources(self) -> list[tuple[str, Llama4RecConfig]]:
        """What the LLM learns from: a prefix for names of stages, and the configuration of a run on
        that dataset.
        """
        own = [
            (
                f"{s.data.name}/",
                self.model_copy(update={"data": s.data, "backbone_options": s.backbone_options}),
            )
            for s in self.llm.tune.sources
        ]
        return own or [("", self)]

    @property
    def repetitions(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.seeds)


def load(preset: str | None = "toy", overrides: dict[str, Any] | None = None) -> Llama4RecConfig:
    """Read a preset of Llama4Rec and apply dotted overrides, see `raypipe.config.load`."""
    return config.load(Llama4RecConfig, PRESETS, preset, overrides)
