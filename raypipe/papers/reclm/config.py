"""The configuration of a RecLM run. Unknown keys are refused; presets/ holds the presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from raypipe import config
from raypipe.config import Config
from raypipe.data.config import SnapshotConfig
from raypipe.llm.config import EmbeddedConfig, EndpointConfig, EngineConfig
from raypipe.prompts.profiles import ProfileForm
from raypipe.tuning.config import TrainingConfig

PRESETS = Path(__file__).parent / "presets"

#: settings that name folders of this machine; reports and bundles leave them out
FOLDERS: Any = {"data": {"dir"}, "llm": {"keep"}}

#: The rows of Tables 1 and 2 and of Figures 2 and 3, by whose profiles the backbones get.
#: base: none. wo_user, wo_item: only those of items, or of users. teacher: the teacher's.
#: untuned: an LLM that was not tuned, as in LLMRec. gpt_kd: the distilled LLM.
#: naive_*: two-turn tuning with another loss (RO14). mask: the tuned LLM before reinforcement
#: learning. augment: the full method.
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
ROWS: tuple[Row, ...] = get_args(Row)
#: whom a profile is about
Side = Literal["user", "item"]


class EncoderConfig(Config):
    """The text encoder (RO9)."""

    source: str = Field(
        "embedded",
        description="embedded (all-MiniLM-L6-v2), a sentence-transformers folder, or a hub id",
    )
    batch_size: int = Field(64, ge=1, description="texts per batch")
    max_tokens: int = Field(128, ge=8, description="longer texts are cut to this many tokens")


class ProfileConfig(Config):
    """What the prompts for profiles show, and how long a profile may be (RO17, RO18)."""

    history: int = Field(5, ge=1, description="most recent items of a user that a prompt shows")
    text: int = Field(
        0, ge=0, description="characters of an item's text to show after its title and features"
    )
    neighbours: int = Field(3, ge=1, description="similar users or items that a prompt shows")
    user_phrases: int = Field(
        3, ge=1, description="largest number of identities, and of interests, of a user"
    )
    item_phrases: int = Field(
        5, ge=1, description="largest number of identities, and of interests, of an item's users"
    )
    phrase: int = Field(32, ge=4, description="largest number of characters of a phrase")

    def form(self, side: Side) -> ProfileForm:
        """The bounds of the profiles of users, or of items."""
        phrases = self.user_phrases if side == "user" else self.item_phrases
        return ProfileForm(phrases, self.phrase)


class TeacherConfig(Config):
    """The source of the profiles that the LLM learns from (R10)."""

    source: Literal["rule", "stored", "endpoint"] = Field(
        "rule",
        description="rule: features and frequent words of the items, without an LLM; stored: "
        "user_profiles*.parquet and item_profiles*.parquet in the data folder; "
        "endpoint: an LLM behind an API",
    )
    endpoint: EndpointConfig | None = Field(None, description="the API of the source endpoint")
    users: int = Field(1500, ge=10, description="users with a teacher profile")
    items: int = Field(
        800, ge=10, description="items with a teacher profile, all from the training part"
    )

    @model_validator(mode="after")
    def _check_endpoint(self) -> TeacherConfig:
        if (self.source == "endpoint") != (self.endpoint is not None):
            raise ValueError(
                "teacher.endpoint belongs to teacher.source=endpoint: set both or neither"
            )
        return self


class AdapterConfig(Config):
    """LoRA (R3, RO15)."""

    rank: int = Field(0, ge=0, description="rank of the adapters; 0 tunes all parameters instead")
    alpha: int = Field(16, ge=1, description="scale of the adapters")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the adapters")


class DialogueConfig(TrainingConfig):
    """Two-turn collaborative instruction tuning (R11 to R16)."""

    dialogues: int = Field(3000, ge=10, description="dialogues, each about another user")
    loss: Literal["responses", "first_turn", "all_tokens", "last_turn"] = Field(
        "responses",
        description="tokens that the loss counts. responses: both answers, with the queries masked "
        "(Mask). The readings of Naive (RO14): first_turn: the first turn alone; all_tokens: "
        "queries too; last_turn: the Yes or No alone",
    )


class RewardConfig(TrainingConfig):
    """The reward model (R19, R20, RO21)."""

    pairs: int = Field(2000, ge=20, description="pairs of a good and a bad answer")


class PolicyConfig(Config):
    """Reinforcement learning (R21)."""

    method: Literal["ppo", "grpo", "none"] = Field(
        "ppo", description="the algorithm; none skips reinforcement learning"
    )
    episodes: int = Field(512, ge=8, description="profiles that are generated and scored")
    rounds: int = Field(
        4, ge=1, description="parts of the training; an interrupted run resumes at the next part"
    )
    batch_size: int = Field(32, ge=2, description="episodes per step, over all workers")
    learning_rate: float = Field(3e-5, gt=0, description="learning rate")
    beta: float = Field(0.05, ge=0, description="weight of the KL divergence from the tuned LLM")
    temperature: float = Field(0.9, gt=0, description="sampling temperature")
    group: int = Field(4, ge=2, description="answers per prompt that GRPO compares")
    zero_stage: Literal[0, 1, 2] = Field(
        2,
        description="ZeRO stage of DeepSpeed; the policy is never sharded, "
        "because it generates between its steps",
    )


class ReclmLLMConfig(Config):
    """Which LLM, how each step tunes it, and the engine."""

    source: str = Field(
        "embedded", description="embedded, a local LLaMA-type folder, or a model id of the hub"
    )
    keep: str | None = Field(
        None, description="a bundle whose LLMs write the profiles without being tuned again (R4)"
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
    backbones: tuple[str, ...] = Field(
        ("bias_mf", "ncf", "light_gcn", "sgl", "sim_gcl"),
        description="the backbones that score items",
    )
    backbone_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="hyper-parameters by backbone"
    )
    rows: tuple[Row, ...] = Field(
        ("base", "augment"),
        description="rows of the tables: whose profiles the backbones get; base is always included",
    )
    encoder: EncoderConfig = EncoderConfig()
    profiles: ProfileConfig = ProfileConfig()
    teacher: TeacherConfig = TeacherConfig()
    llm: ReclmLLMConfig = ReclmLLMConfig()
    case: str | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="a user whose profile the report shows before and after reinforcement learning "
        "(Figure 4)",
    )
    checkpoint_seconds: float = Field(
        15.0, ge=0, description="least time between two checkpoints of a training"
    )
    seed: int = Field(0, ge=0, description="the first seed")
    seeds: int = Field(
        1,
        ge=1,
        description="repetitions, with the seeds seed, seed + 1, ...; "
        "the LLM is tuned once, with the first seed",
    )

    @field_validator("rows")
    @classmethod
    def _order_rows(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        chosen = {*rows, "base"}
        return tuple(row for row in ROWS if row in chosen)

    @property
    def repetitions(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.seeds)


def load(
    preset: str | None = "toy", overrides: dict[str, Any] | None = None, folder: Path = PRESETS
) -> ReclmConfig:
    """Read a preset of RecLM and apply dotted overrides, see `raypipe.config.load`."""
    return config.load(ReclmConfig, folder, preset, overrides)
