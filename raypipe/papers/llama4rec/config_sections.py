"""The sections of a Llama4Rec run's configuration."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from raypipe.config import Config
from raypipe.data.config import DataConfig
from raypipe.llm.config import EmbeddedConfig, EngineConfig
from raypipe.schema import MOST_OPTIONS, Task
from raypipe.tuning.config import TrainingConfig


class PromptConfig(Config):
    """Lengths of the lists in a prompt (LO13) and its style."""

    renamed_keys: ClassVar[dict[str, str]] = {"rated": "rating_history_length"}
    history: int = Field(20, ge=1, description="most recent items of the user")
    rating_history_length: int | None = Field(
        None,
        ge=1,
        description="most recent rated items in prompts about a rating; none: 50 for the embedded "
        "LLM, whose titles are one token each, else as `history`",
    )
    similar: int = Field(5, ge=0, description="most recent items of the similar user")
    hint: int = Field(3, ge=1, description="top items of the conventional ranking that are quoted")
    answers: Literal["auto", "title", "listed", "label"] = Field(
        "auto",
        description="title: the answer is a candidate's title, and the prompt does not list the "
        "candidates; listed: it lists them; label: a letter stands for each candidate; auto: title "
        "for the embedded LLM, else label",
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
        description="backbones whose hints the LLM learns from, by task; empty: those of the run",
    )
    newest: bool = Field(
        True, description="also learn each user's newest training items as running text"
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

    pairs_per_user: int = Field(
        1, ge=0, description="preference pairs per user for direct backbones (P_1)"
    )
    insertions_per_user: int = Field(
        1, ge=0, description="items per user to insert for sequential backbones (P_2)"
    )
    pick_from: int = Field(
        10,
        ge=2,
        le=MOST_OPTIONS,
        description="t, the candidates of P_2, of which the LLM picks one",
    )
    attributes: bool = Field(
        True, description="fill missing item attributes for rating backbones (P_3)"
    )
    examples: int = Field(4, ge=1, description="worked examples in an attribute prompt")
    rounds: int = Field(
        1,
        ge=1,
        description="experimental: after the first round, the LLM picks from the lists of the "
        "augmented backbones (L55)",
    )
    warm_start: bool = Field(
        False,
        description="experimental: augmented backbones start from the base weights (L50)",
    )
    retrieval: bool = Field(
        True, description="the worked examples are the most similar items (L54); false: random ones"
    )


class RerankConfig(Config):
    """Re-ranking of the conventional model's output."""

    renamed_keys: ClassVar[dict[str, str]] = {"written": "generate_ranking"}
    k_prime: int | None = Field(
        None,
        ge=5,
        description="k', the length of the re-ranked list; the paper's is 10 (L24). none: 50 where "
        "answers are titles, as any number of candidates then takes one prompt, else 20",
    )
    chunk: int = Field(
        0,
        ge=0,
        description="experimental: most candidates of a prompt; longer lists take several prompts "
        "(L51); 0: up to 128",
    )
    generate_ranking: bool = Field(
        False,
        description="true: the LLM generates the ranking of the ten best, as in the paper; false: "
        "its log-probabilities rank all candidates",
    )
    pointwise: bool = Field(
        True, description="also rate candidates, and choose the better way on validation"
    )
    pointwise_k: int = Field(
        20,
        ge=5,
        description="candidates that pointwise ranking rates, one prompt each; others rank below",
    )
    pointwise_users: int = Field(
        100,
        ge=20,
        description="validation users of the first seed on whom pointwise and listwise compete",
    )

    @field_validator("chunk")
    @classmethod
    def _some(cls, size: int) -> int:
        if size == 1:
            raise ValueError("a chunk holds two candidates or more; 0 puts all in one prompt")
        return size


class AggregationConfig(Config):
    """Grids of eq. 5 (L39), and what eq. 6 mixes for lists."""

    weight: Literal["tail", "learned"] = Field(
        "tail",
        description="tail: eq. 5; learned: experimental, a logistic function of the history's "
        "length, fitted on validation (L53)",
    )
    utility: Literal["score", "position"] = Field(
        "score",
        description="score: mix log-probabilities with the backbone's scores; position: mix the "
        "positions -1, -2, ... as the paper does (L23)",
    )
    alpha_1: tuple[float, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9), description="grid of alpha_1, the most weight of the LLM"
    )
    alpha_2: tuple[float, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9), description="grid of alpha_2, the least share of alpha_1"
    )

    @field_validator("alpha_1", "alpha_2")
    @classmethod
    def _within(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or any(not 0 <= a <= 1 for a in grid):
            raise ValueError("each value must lie between 0 and 1")
        return grid
