"""The configuration of a run. Unknown keys are refused; presets are YAML files in presets/.

Backbone and dataset options are checked against the class that stands in the backbone's or dataset's own file,
when a run is planned and before anything heavy starts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator

from raypipe.errors import ConfigError
from raypipe.schema import MOST_OPTIONS
from raypipe.sections import (
    TASKS,
    AggregationConfig,
    AugmentConfig,
    Config,
    DataConfig,
    EndpointConfig,
    LLMConfig,
    PromptConfig,
    RerankConfig,
    Task,
)

PRESETS = Path(__file__).parent / "presets"
VARIANTS = ("base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec")
Variant = Literal["base", "ift", "wo_da", "wo_pa", "wo_aa", "llama4rec"]
C = TypeVar("C", bound="Config")


class RunConfig(Config):
    """Everything that decides the numbers of a run."""

    data: DataConfig = DataConfig()
    tasks: tuple[Task, ...] = TASKS  # type: ignore[assignment]
    backbones: dict[Task, tuple[str, ...]] = Field(
        default={"direct": ("light_gcn",), "sequential": ("sasrec",), "rating": ("deepfm",)}
    )
    backbone_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    backbone_workers: int = Field(1, ge=1, description="Ray Train workers of each backbone; more pay for large logs only")
    prompts: PromptConfig = PromptConfig()
    llm: LLMConfig = LLMConfig()
    augment: AugmentConfig = AugmentConfig()
    rerank: RerankConfig = RerankConfig()
    aggregation: AggregationConfig = AggregationConfig()
    checkpoint_seconds: float = Field(15.0, ge=0, description="least time between two checkpoints of a training")
    variants: tuple[Variant, ...] = Field(
        ("base", "ift", "llama4rec"), description="what is compared; base and llama4rec always are (L38, L44)"
    )
    rival: EndpointConfig | None = Field(None, description="an LLM that is put the same listwise tasks (Figure 7)")
    rival_tasks: int = Field(100, ge=1, description="tasks of each top-k backbone that the rival is put")
    rival_k: int = Field(20, ge=2, le=26, description="candidates of such a task, the first of the list, each named by a letter")
    judge: EndpointConfig | None = Field(None, description="an LLM that judges generated attributes (Figure 8)")
    judged_items: int = Field(50, ge=1, description="values of each attribute that are judged")
    seed: int = Field(0, ge=0)
    seeds: int = Field(1, ge=1, description="repetitions with seeds seed, seed + 1, ...; the LLM is tuned once, with the first")

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
    def sources(self) -> list[tuple[str, RunConfig]]:
        """What the LLM learns from: a prefix for names of stages, and the configuration of a run on that dataset."""
        own = [
            (f"{s.data.name}/", self.model_copy(update={"data": s.data, "backbone_options": s.backbone_options}))
            for s in self.llm.tune.sources
        ]
        return own or [("", self)]

    @property
    def repetitions(self) -> range:
        """The seeds of the run."""
        return range(self.seed, self.seed + self.seeds)


def presets(folder: Path = PRESETS) -> list[str]:
    """Names of the presets shipped in a folder."""
    return sorted(p.stem for p in folder.glob("*.yaml"))


def explain(error: ValidationError) -> str:
    """A pydantic error as short lines `key: message`."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())


def load(preset: str | None = "toy", overrides: dict[str, Any] | None = None) -> RunConfig:
    """Read a preset of Llama4Rec, see `load_as`."""
    return load_as(RunConfig, PRESETS, preset, overrides)


def load_as(cls: type[C], folder: Path, preset: str | None, overrides: dict[str, Any] | None = None) -> C:
    """Read a preset and apply dotted overrides.

    Args:
        cls: what is configured.
        folder: where its presets lie.
        preset: a name from `presets(folder)`, or a YAML file of the same form; None: the defaults alone.
        overrides: dotted key -> value, e.g. {"llm.tune.epochs": 3}.

    Raises:
        ConfigError: unknown preset, unknown key or impossible value.
    """
    name = preset or "defaults"
    file = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if preset and not file.is_file():
        raise ConfigError(
            f"there is no preset {preset!r}", "--preset", f"choose one of {', '.join(presets(folder))}, or give a YAML file"
        )
    tree = (yaml.safe_load(file.read_text()) or {}) if preset else {}
    if not isinstance(tree, dict):
        raise ConfigError("a preset holds sections of settings", str(file), "see the presets in raypipe/presets")
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{parent} in {key} is not a section", f"--set {key}")
        node[last] = value
    return validate(cls, tree, f"preset {name} and the options of this run")


def validate(cls: type[C], tree: dict[str, Any], where: str) -> C:
    """Build a configuration of class `cls`, or raise ConfigError that names each bad key and the known ones."""
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            f"the configuration is not valid: {explain(error)}", where, f"known keys: {', '.join(cls.model_fields)}"
        ) from error


def parse_set(assignment: str) -> tuple[str, Any]:
    """Split one `--set key=value`; the value is read as JSON where it is JSON, else as text."""
    key, sign, value = assignment.partition("=")
    if not sign or not key:
        raise ConfigError(f"{assignment!r} is not key=value", "--set", "for example --set llm.tune.epochs=3")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
