"""The configuration of a RecLM run. Unknown keys are refused; presets are the YAML files in presets/reclm/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raypipe import config
from raypipe.config import Config
from raypipe.data.config import SnapshotConfig
from raypipe.llm.config import EmbeddedConfig, EndpointConfig, EngineConfig
from raypipe.tuning.config import TrainingConfig

PRESETS = Path(__file__).parent / "presets"

#: settings that name places of this machine, which neither report nor bundle tells
FOLDERS: Any = {"data": {"dir"}, "llm": {"keep"}}

#: rows of Tables 1 and 2 and of Figures 2 and 3: whose profiles the backbones are given. untuned: an LLM that was not tuned
#: (LLMRec's way); gpt_kd: the distilled one; naive_*: two turns with another loss (RO14); mask: the tuned one, without
#: reinforcement learning
ROWS = (
    "base",
    "wo_user",
    "wo_item",
    "teacher",
    "untuned",
    "gpt_kd",
    "naive_first_turn",
    "naive_all_tokens",
    "naive_last_turn",
    "mask",
    "augment",
)
Row = Literal[
    "base",
    "wo_user",
    "wo_item",
    "teacher",
    "untuned",
    "gpt_kd",
    "naive_first_turn",
    "naive_all_tokens",
    "naive_last_turn",
    "mask",
    "augment",
]


class EncoderConfig(Config):
    """The text encoder (RO9)."""

    source: str = Field(
        "embedded",
        description="embedded (all-MiniLM-L6-v2), a sentence-transformers folder, or a hub id",
    )
    batch_size: int = Field(64, ge=1)
    max_tokens: int = Field(128, ge=8, description="longer texts are cut")


class ProfileConfig(Config):
    """What prompts about profiles show, and how long a profile is (RO17, RO18)."""

    history: int = Field(5, ge=1, description="most recent items of a user that a prompt shows")
    text: int = Field(
        0, ge=0, description="characters of an item's text, beside its title and features"
    )
    neighbours: int = Field(3, ge=1, description="similar users or items of a prompt")
    user_phrases: int = Field(3, ge=1, description="identities, and as many interests, of a user")
    item_phrases: int = Field(
        5, ge=1, description="identities, and as many interests, of the users that an item is for"
    )
    phrase: int = Field(32, ge=4, description="characters of a phrase at most")


class TeacherConfig(Config):
    """Who writes the profiles that the LLM learns from (R10)."""

    source: Literal["rule", "stored", "endpoint"] = Field(
        "rule",
        description="rule: features and frequent words of the items, without an LLM; stored: user_profiles*.parquet and "
        "item_profiles*.parquet of the data's folder; endpoint: an LLM elsewhere",
    )
    endpoint: EndpointConfig | None = None
    users: int = Field(1500, ge=10, description="users whose profiles are asked for")
    items: int = Field(800, ge=10, description="items, each one of the training part")

    @model_validator(mode="after")
    def _named(self) -> TeacherConfig:
        if (self.source == "endpoint") != (self.endpoint is not None):
            raise ValueError(
                "teacher.endpoint names the endpoint of the source endpoint, and of no other"
            )
        return self


class AdapterConfig(Config):
    """LoRA (R3, RO15); rank 0 tunes all parameters."""

    rank: int = Field(0, ge=0)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class DialogueConfig(TrainingConfig):
    """Two-turn collaborative instruction tuning (R11 to R16)."""

    dialogues: int = Field(3000, ge=10, description="dialogues, each about another user")
    loss: Literal["responses", "first_turn", "all_tokens", "last_turn"] = Field(
        "responses",
        description="responses: both answers, queries masked (Mask). The readings of Naive (RO14): first_turn alone, all_tokens, "
        "or last_turn, the Yes or No",
    )


class RewardConfig(TrainingConfig):
    """The reward model (R19, R20, RO21)."""

    pairs: int = Field(2000, ge=20, description="pairs of a good and a bad answer")


class PolicyConfig(Config):
    """Reinforcement learning (R21)."""

    method: Literal["ppo", "grpo", "none"] = "ppo"
    episodes: int = Field(512, ge=8, description="profiles written and judged")
    rounds: int = Field(
        4, ge=1, description="parts of the episodes; work that is cut off goes on with the next"
    )
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(3e-5, gt=0)
    beta: float = Field(0.05, ge=0, description="weight of the KL divergence from the tuned LLM")
    temperature: float = Field(0.9, gt=0)
    group: int = Field(4, ge=2, description="answers a prompt that GRPO compares")
    zero_stage: Literal[0, 1, 2] = Field(
        2, description="of DeepSpeed; the policy itself stays whole, as it writes between its steps"
    )


class ReclmLLMConfig(Config):
    """Which LLM, how it is trained in each step, and the engine."""

    source: str = Field("embedded", description="embedded, a local LLaMA-type folder, or a hub id")
    keep: str | None = Field(
        None, description="a bundle whose LLMs write the profiles, and learn nothing new (R4)"
    )
    embedded: EmbeddedConfig = EmbeddedConfig()
    adapter: AdapterConfig = AdapterConfig()
    distil: TrainingConfig = TrainingConfig(epochs=3)
    dialogue: DialogueConfig = DialogueConfig(max_length=768)
    items: TrainingConfig = TrainingConfig(epochs=5, max_length=768)
    reward: RewardConfig = RewardConfig(epochs=2, max_length=512)
    policy: PolicyConfig = PolicyConfig()
    engine: EngineConfig = EngineConfig()


class ReclmConfig(Config):
    """Everything that decides the numbers of a run."""

    data: SnapshotConfig = SnapshotConfig()
    backbones: tuple[str, ...] = ("bias_mf", "ncf", "light_gcn", "sgl", "sim_gcl")
    backbone_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rows: tuple[Row, ...] = Field(
        ("base", "augment"),
        description="whose profiles the backbones are given; base always is shown",
    )
    encoder: EncoderConfig = EncoderConfig()
    profiles: ProfileConfig = ProfileConfig()
    teacher: TeacherConfig = TeacherConfig()
    llm: ReclmLLMConfig = ReclmLLMConfig()
    case: str | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="a user whose profile the report shows before and after RL (Figure 4)",
    )
    checkpoint_seconds: float = Field(
        15.0, ge=0, description="least time between two checkpoints of a training"
    )
    seed: int = Field(0, ge=0)
    seeds: int = Field(
        1,
        ge=1,
        description="repetitions with seeds seed, seed + 1, ...; the LLM is tuned once, with the first",
    )

    @field_validator("rows")
    @classmethod
    def _in_order(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(r for r in ROWS if r in {*rows, "base"})

    @property
    def repetitions(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.seeds)


def load(
    preset: str | None = "toy", overrides: dict[str, Any] | None = None, folder: Path = PRESETS
) -> ReclmConfig:
    """Read a preset of RecLM and apply dotted overrides, see `raypipe.config.load`."""
    return config.load(ReclmConfig, folder, preset, overrides)
