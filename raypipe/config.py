"""The base of all configuration, and how it is read: defaults, then a preset, then the settings of the command.

Unknown keys are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from raypipe.errors import ConfigError


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
        usual = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Config)
        }
        return {
            k: over(usual[k], v) if k in usual and isinstance(v, dict) else v
            for k, v in given.items()
        }


C = TypeVar("C", bound=Config)


def over(usual: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given`, and what it does not say as in `usual`, section by section."""
    inner = {
        k: over(usual[k], v)
        for k, v in given.items()
        if isinstance(v, dict) and isinstance(usual.get(k), dict)
    }
    return {**usual, **given, **inner}


def presets(folder: Path) -> list[str]:
    """Names of the presets shipped in a folder."""
    return sorted(p.stem for p in folder.glob("*.yaml"))


def explain(error: ValidationError) -> str:
    """A pydantic error as short lines `key: message`."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors()
    )


def load(
    cls: type[C], folder: Path, preset: str | None, overrides: dict[str, Any] | None = None
) -> C:
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
            f"there is no preset {preset!r}",
            "--preset",
            f"choose one of {', '.join(presets(folder))}, or give a YAML file",
        )
    tree = (yaml.safe_load(file.read_text()) or {}) if preset else {}
    if not isinstance(tree, dict):
        raise ConfigError(
            "a preset holds sections of settings", str(file), "see the presets in raypipe/presets"
        )
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
            f"the configuration is not valid: {explain(error)}",
            where,
            f"known keys: {', '.join(cls.model_fields)}",
        ) from error


def parse_set(assignment: str) -> tuple[str, Any]:
    """Split one `--set key=value`; the value is read as JSON where it is JSON, else as text."""
    key, sign, value = assignment.partition("=")
    if not sign or not key:
        raise ConfigError(
            f"{assignment!r} is not key=value", "--set", "for example --set llm.tune.epochs=3"
        )
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
