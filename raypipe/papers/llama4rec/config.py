"""The configuration of a Llama4Rec run. Unknown keys are refused; presets are the YAML files in presets/.

Backbone and dataset options are checked against the class that stands in the backbone's or dataset's own file,
when a run is planned and before anything heavy starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from raypipe import config
from raypipe.config import Config
from raypipe.data.config import DataConfig
from raypipe.llm.config import EmbeddedConfig, EndpointConfig, EngineConfig
from raypipe.schema import MOST_OPTIONS, TASKS, Task
from raypipe.tuning.config import TrainingConfig

PRESETS = Path(__file__).parent / "presets"
VARIANTS = ("base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec")
Variant = Literal["base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec"]


class PromptConfig(Config):
    """Lengths of the lists in a prompt (LO13) and its style."""

    history: int = Field(20, ge=1, description="most recent items of the user")
    rated: int | None = Field(
        None,
        ge=1,
        description="most recent rated items of the user, in prompts about a rating; none: 50 for the embedded LLM, whose titles "
        "are a token each, else as `history`",
    )
    similar: int = Field(5, ge=0, description="most recent items of the similar user")
    hint: int = Field(3, ge=1, description="top items of the conventional ranking that are quoted")
    answers: Literal["auto", "title", "listed", "label"] = Field(
        "auto",
        description="title: the answer is one of the candidates' titles, which the prompt does not name; listed: it does; "
        "label: a letter per candidate. auto: title for the embedded LLM, else label",
    )
    direct_history: Literal["time", "shuffled"] = Field(
        "time", description="order of the history in direct prompts (L18)"
    )


class SourceConfig(Config):
    """A dataset that the LLM learns from."""

    data: DataConfig
    backbone_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="those of the backbones that give hints on this dataset"
    )


class TuneConfig(TrainingConfig):
    """Instruction tuning (L28, L29)."""

    instructions: int = Field(1500, ge=1, description="instructions per task and dataset")
    sources: tuple[SourceConfig, ...] = Field(
        (), description="datasets that the LLM learns from (L29); empty: that of the run"
    )
    backbones: dict[Task, tuple[str, ...]] = Field(
        default_factory=dict,
        description="tasks, and the backbones whose hints are learnt from; empty: those of the run",
    )
    newest: bool = Field(
        True, description="each user's newest training items are learnt as running text, too"
    )
    holdout: int = Field(
        3, ge=1, description="training rows per user held out of the hint models as targets (LO12)"
    )


class LLMConfig(Config):
    """Which LLM, how it is tuned and served."""

    source: str = Field("embedded", description="embedded, a local LLaMA-type folder, or a hub id")
    embedded: EmbeddedConfig = EmbeddedConfig()
    tune: TuneConfig = TuneConfig()
    engine: EngineConfig = EngineConfig()


class AugmentConfig(Config):
    """Data augmentation by the LLM (L6 to L12, LO17)."""

    pairs_per_user: int = Field(1, ge=0)
    insertions_per_user: int = Field(1, ge=0)
    pick_from: int = Field(
        10, ge=2, le=MOST_OPTIONS, description="t, the length of the list to pick from"
    )
    attributes: bool = True
    examples: int = Field(4, ge=1, description="worked examples in an attribute prompt")
    rounds: int = Field(
        1,
        ge=1,
        description="after the first, the augmented models guide the LLM: it picks from their lists (L55)",
    )
    warm_start: bool = Field(
        False,
        description="augmented models go on from the base model's weights (L50), not from new ones",
    )
    retrieval: bool = Field(
        True, description="they are the known items most alike (L54); false: drawn at random"
    )


class RerankConfig(Config):
    """Re-ranking of the conventional model's output."""

    k_prime: int | None = Field(
        None,
        ge=5,
        description="k', the length of the re-ranked list; the paper's is 10 (L24). none: 50 where answers are titles that no "
        "prompt names, so that any number takes one prompt, else 20",
    )
    chunk: int = Field(
        0,
        ge=0,
        description="most candidates of a prompt: longer lists are asked in chunks (L51); 0: up to 128",
    )
    written: bool = Field(
        False,
        description="the LLM writes the order of the best ten, as in the paper; false: its log-probabilities of all candidates "
        "are read, and utilities may be scores",
    )
    pointwise: bool = Field(
        True, description="also rate candidates, and choose the better way on validation"
    )
    pointwise_k: int = Field(
        20,
        ge=5,
        description="candidates that are rated, each by a prompt; the others stay behind them",
    )
    pointwise_users: int = Field(
        100,
        ge=20,
        description="validation users of the first seed on which pointwise and listwise are compared",
    )

    @field_validator("chunk")
    @classmethod
    def _some(cls, size: int) -> int:
        if size == 1:
            raise ValueError("a chunk holds two candidates or more; 0 asks about all at once")
        return size


class AggregationConfig(Config):
    """Grids of eq. 5 (L39), and what eq. 6 mixes for lists."""

    weight: Literal["tail", "learned"] = Field(
        "tail",
        description="tail: eq. 5; learned: a logistic function of the history's length, fitted on validation (L53)",
    )
    utility: Literal["score", "position"] = Field(
        "score",
        description="score: log-probabilities with the conventional model's scores; position: -1, -2, ... as in L23",
    )
    alpha_1: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    alpha_2: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    @field_validator("alpha_1", "alpha_2")
    @classmethod
    def _within(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or any(not 0 <= a <= 1 for a in grid):
            raise ValueError("each value must lie between 0 and 1")
        return grid


class Llama4RecConfig(Config):
    """Everything that decides the numbers of a run."""

    data: DataConfig = DataConfig()
    tasks: tuple[Task, ...] = TASKS  # type: ignore[assignment]
    backbones: dict[Task, tuple[str, ...]] = Field(
        default={"direct": ("light_gcn",), "sequential": ("sasrec",), "rating": ("deepfm",)}
    )
    backbone_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    backbone_workers: int = Field(
        1, ge=1, description="Ray Train workers of each backbone; more pay for large logs only"
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
    rival: EndpointConfig | None = Field(
        None, description="an LLM that is put the same listwise tasks (Figure 7)"
    )
    rival_tasks: int = Field(
        100, ge=1, description="tasks of each top-k backbone that the rival is put"
    )
    rival_k: int = Field(
        20,
        ge=2,
        le=26,
        description="candidates of such a task, the first of the list, each named by a letter",
    )
    judge: EndpointConfig | None = Field(
        None, description="an LLM that judges generated attributes (Figure 8)"
    )
    judged_items: int = Field(50, ge=1, description="values of each attribute that are judged")
    seed: int = Field(0, ge=0)
    seeds: int = Field(
        1,
        ge=1,
        description="repetitions with seeds seed, seed + 1, ...; the LLM is tuned once, with the first",
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
    def learnt(self) -> dict[Task, tuple[str, ...]]:
        """Tasks that the LLM is tuned for, and the backbones whose hints it learns from."""
        return self.llm.tune.backbones or {task: self.backbones[task] for task in self.tasks}

    @property
    def style(self) -> Literal["title", "listed", "label"]:
        """How answers are written: by default as titles where the tokenizer gives titles a token, else as labels."""
        if self.prompts.answers == "auto":
            return "title" if self.llm.source == "embedded" else "label"
        return self.prompts.answers

    @property
    def rated(self) -> int:
        """Items of the history in prompts about a rating (LO13)."""
        return self.prompts.rated or (50 if self.llm.source == "embedded" else self.prompts.history)

    @property
    def k_prime(self) -> int:
        """k', the length of the re-ranked list (L24)."""
        return self.rerank.k_prime or (50 if self.style == "title" else 20)

    @property
    def lists(self) -> Literal["listwise", "written"]:
        """The template that asks for an order of candidates."""
        return "written" if self.rerank.written else "listwise"

    @property
    def by_position(self) -> bool:
        """Whether utilities of lists are positions (L23): asked for, or all that a written order tells."""
        return self.aggregation.utility == "position" or self.rerank.written

    @property
    def at_once(self) -> int:
        """Candidates of a listwise prompt."""
        return min(self.rerank.chunk or self.k_prime, self.k_prime, MOST_OPTIONS)

    @property
    def sources(self) -> list[tuple[str, Llama4RecConfig]]:
        """What the LLM learns from: a prefix for names of stages, and the configuration of a run on that dataset."""
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
