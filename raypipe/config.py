"""The base of all configuration, and how it is read: defaults, then a preset, then the settings of the command.

Unknown keys are refused.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from raypipe.errors import ConfigError


class Config(BaseModel):
    """Base of all configuration: frozen, unknown keys refused.

    A section that is given in part keeps the rest of the default that stands in the class above it: `dialogue: {dialogues: 9}`
    leaves the max_length of `dialogue: DialogueConfig = DialogueConfig(max_length=768)` as it is.

    Attributes:
        renamed_keys: old name of a setting -> its new name, which may be dotted (`subsection.name`).
            The old name works for one release; a line on stderr names the new one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    renamed_keys: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        given = with_new_names(cls, given)
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


def with_new_names(section: type[Config], tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The settings of a section under their present names; each old name costs one line on stderr.

    Args:
        path: where the section stands in the whole configuration, ends with a dot; "" at the top.

    Raises:
        ValueError: the old and the new name of one setting are both given.
    """
    renamed: dict[str, Any] = {}
    for key, value in tree.items():
        if key in section.renamed_keys:
            new_name = section.renamed_keys[key]
            if holds(tree, new_name):
                raise ValueError(f"{path}{key} is now {path}{new_name}; give the new name only")
            warn_once(f"{path}{key} is now {path}{new_name}; the old name works for one release")
            put(renamed, new_name, value)
            continue
        field = section.model_fields.get(key)
        if field and isinstance(field.default, Config) and isinstance(value, dict):
            value = with_new_names(type(field.default), value, f"{path}{key}.")
        if isinstance(value, dict) and isinstance(renamed.get(key), dict):
            value = over(renamed[key], value)
        renamed[key] = value
    return renamed


@cache
def warn_once(line: str) -> None:
    """Print a line on stderr, once in this process."""
    print(line, file=sys.stderr, flush=True)


def holds(tree: dict[str, Any], key: str) -> bool:
    """Whether a tree of settings has a value for a dotted key."""
    node: Any = tree
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in a tree of settings.

    Raises:
        ConfigError: a part of the key holds a value, and no settings.
    """
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{parent} in {key} is not a section", f"--set {key}")
    node[last] = value


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
        put(tree, key, value)
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
