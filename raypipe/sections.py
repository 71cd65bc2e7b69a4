"""The sections of a run's configuration, each a class whose fields say what they mean; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from raypipe.schema import MOST_OPTIONS

TASKS = ("direct", "sequential", "rating")
Task = Literal["direct", "sequential", "rating"]


class Config(BaseModel):
    """Base of all configuration: frozen, unknown keys refused.

    A section that is given in part keeps the rest of the default that stands in the class above it: `dialogue: {dialogues: 9}`
    leaves the max_length of `dialogue: DialogueConfig = DialogueConfig(max_length=768)` as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        usual = {name: field.default.model_dump(exclude_unset=True) for name, field in cls.model_fields.items()
                 if isinstance(field.default, Config)}  # fmt: skip
        return {k: over(usual[k], v) if k in usual and isinstance(v, dict) else v for k, v in given.items()}


def over(usual: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given`, and what it does not say as in `usual`, section by section."""
    inner = {k: over(usual[k], v) for k, v in given.items() if isinstance(v, dict) and isinstance(usual.get(k), dict)}
    return {**usual, **given, **inner}


class OriginConfig(Config):
    """Where data comes from, and how it is cleaned."""

    name: str = "toy"
    dir: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="options of the dataset's own file")
    min_interactions: int = Field(1, ge=1, description="users with fewer are left out")
    repeated: Literal["first", "last"] = Field("last", description="which row of a repeated pair of user and item stays")

    @field_validator("dir")
    @classmethod
    def _whole(cls, dir: str | None) -> str | None:
        return None if dir is None else str(Path(dir).expanduser().resolve())


class DataConfig(OriginConfig):
    """Which data, and what counts as a positive."""

    protocol: Literal["all", "liked"] = Field("all", description="liked: only ratings >= liked_from are positives (LO1)")
    liked_from: float = 4.0
    split: Literal["leave_one_out", "temporal"] = "leave_one_out"
    temporal_cuts: tuple[float, float] = Field((0.8, 0.9), description="quantiles of time: training ends, validation ends")
    mask_history: bool = Field(True, description="false: sequential models may recommend the history again (LO2)")
    min_interactions: int = Field(3, ge=3, description="users with fewer are left out: leave-one-out needs three")

    @field_validator("temporal_cuts")
    @classmethod
    def _rising(cls, cuts: tuple[float, float]) -> tuple[float, float]:
        if not 0 < cuts[0] < cuts[1] < 1:
            raise ValueError("two rising numbers between 0 and 1")
        return cuts

    @property
    def label(self) -> str:
        """How reports name the protocol, e.g. "liked, temporal, history unmasked"."""
        parts = [self.protocol, "temporal" if self.split == "temporal" else "", "" if self.mask_history else "history unmasked"]
        return ", ".join(p for p in parts if p)


class SnapshotConfig(OriginConfig):
    """Two snapshots of a log (RecLM R24 to R27)."""

    repeated: Literal["first", "last"] = Field("first", description="a pair in both snapshots is one of the first (RO3)")
    cut: float | None = Field(None, description="timestamp at which the second snapshot begins; none: after 80 % of the rows")
    validation_items: float = Field(0.1, gt=0, lt=1, description="share of the first snapshot's items that are held out completely")
    validation_users: float = Field(0.5, gt=0, le=1, description="share of users with several rows who have one held out")


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
    direct_history: Literal["time", "shuffled"] = Field("time", description="order of the history in direct prompts (L18)")


class EmbeddedConfig(Config):
    """The small LLaMA built from the run's own corpus."""

    hidden_size: int = Field(128, ge=8)
    intermediate_size: int = Field(384, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    pieces: int = Field(2048, ge=300, description="vocabulary of word pieces")
    titles: int = Field(20000, ge=0, description="most popular titles that get a token of their own")
    epochs: int = Field(6, ge=1, description="epochs of language-modelling before instruction tuning")
    batch_size: int = Field(32, ge=1, description="documents a step")
    learning_rate: float = Field(3e-3, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _head_size(self) -> EmbeddedConfig:
        if self.hidden_size % self.heads or self.hidden_size // self.heads % 32:
            raise ValueError(
                f"hidden_size / heads must be a multiple of 32 for vLLM's kernels, not {self.hidden_size / self.heads:g}"
            )
        return self


class SourceConfig(Config):
    """A dataset that the LLM learns from."""

    data: DataConfig
    backbone_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="those of the backbones that give hints on this dataset"
    )


class TrainingConfig(Config):
    """How an LLM is trained (L30, L31)."""

    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    warmup_steps: int = Field(50, ge=0)
    max_length: int = Field(384, ge=32, description="context in tokens; longer prompts are refused, not cut")
    zero_stage: Literal[0, 1, 2, 3] | None = Field(
        None,
        description="of DeepSpeed; none: 3 (L31), or 0 for an LLM of less than 100 M parameters, which sharding only slows down",
    )
    workers: int | None = Field(
        None, ge=1, description="Ray Train workers; none: one per GPU, or on CPUs two for a small LLM and one for others"
    )


class TuneConfig(TrainingConfig):
    """Instruction tuning (L28, L29)."""

    instructions: int = Field(1500, ge=1, description="instructions per task and dataset")
    sources: tuple[SourceConfig, ...] = Field((), description="datasets that the LLM learns from (L29); empty: that of the run")
    backbones: dict[Task, tuple[str, ...]] = Field(
        default_factory=dict, description="tasks, and the backbones whose hints are learnt from; empty: those of the run"
    )
    newest: bool = Field(True, description="each user's newest training items are learnt as running text, too")
    holdout: int = Field(3, ge=1, description="training rows per user held out of the hint models as targets (LO12)")


class EngineConfig(Config):
    """The engine that generates."""

    name: Literal["vllm", "transformers", "scripted"] = "vllm"
    concurrency: int = Field(1, ge=1, description="engine replicas")
    tensor_parallel: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1, description="prompts that `transformers` reads at once")
    max_num_seqs: int = Field(128, ge=1)
    max_batched_tokens: int = Field(8192, ge=64)
    kv_cache_gib: int = Field(1, ge=1, description="CPU only")
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    patience_seconds: float = Field(
        900, gt=0, description="without any answer for so long, its start included, an engine has failed"
    )


class EndpointConfig(Config):
    """An OpenAI-compatible endpoint."""

    url: str = Field(description="base address, e.g. https://api.openai.com/v1")
    model: str
    key_variable: str = Field("OPENAI_API_KEY", description="environment variable with the key, which itself is never set here")
    requests_per_minute: float = Field(60, gt=0)
    at_once: int = Field(8, ge=1, description="requests under way at a time")
    retries: int = Field(5, ge=0, description="repetitions of a request that failed for a reason that passes")
    timeout_seconds: float = Field(60, gt=0)
    max_tokens: int = Field(64, ge=1, description="length of an answer")
    dollars_in: float = Field(0.0, ge=0, description="price of a million prompt tokens")
    dollars_out: float = Field(0.0, ge=0, description="price of a million written tokens")
    dry_run: bool = Field(False, description="ask nothing: tell what the requests would cost, and stop there")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError("an address that begins with http:// or https://, without a password in it")
        return url


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
    pick_from: int = Field(10, ge=2, le=MOST_OPTIONS, description="t, the length of the list to pick from")
    attributes: bool = True
    examples: int = Field(4, ge=1, description="worked examples in an attribute prompt")
    rounds: int = Field(
        1,
        ge=1,
        description="after the first, the augmented models guide the LLM: it picks from their lists (L55)",
    )
    warm_start: bool = Field(False, description="augmented models go on from the base model's weights (L50), not from new ones")
    retrieval: bool = Field(True, description="they are the known items most alike (L54); false: drawn at random")


class RerankConfig(Config):
    """Re-ranking of the conventional model's output."""

    k_prime: int | None = Field(
        None,
        ge=5,
        description="k', the length of the re-ranked list; the paper's is 10 (L24). none: 50 where answers are titles that no "
        "prompt names, so that any number takes one prompt, else 20",
    )
    chunk: int = Field(0, ge=0, description="most candidates of a prompt: longer lists are asked in chunks (L51); 0: up to 128")
    written: bool = Field(
        False,
        description="the LLM writes the order of the best ten, as in the paper; false: its log-probabilities of all candidates "
        "are read, and utilities may be scores",
    )
    pointwise: bool = Field(True, description="also rate candidates, and choose the better way on validation")
    pointwise_k: int = Field(20, ge=5, description="candidates that are rated, each by a prompt; the others stay behind them")
    pointwise_users: int = Field(
        100, ge=20, description="validation users of the first seed on which pointwise and listwise are compared"
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
        "tail", description="tail: eq. 5; learned: a logistic function of the history's length, fitted on validation (L53)"
    )
    utility: Literal["score", "position"] = Field(
        "score", description="score: log-probabilities with the conventional model's scores; position: -1, -2, ... as in L23"
    )
    alpha_1: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    alpha_2: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    @field_validator("alpha_1", "alpha_2")
    @classmethod
    def _within(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or any(not 0 <= a <= 1 for a in grid):
            raise ValueError("each value must lie between 0 and 1")
        return grid
