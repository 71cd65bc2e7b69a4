"""The base of all configuration, and how it is read: defaults, preset file, command line, and
nothing else.

Each setting comes from the last of these layers that gives it. Unknown keys are refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from raypipe import __version__, plugins
from raypipe.errors import ConfigError
from raypipe.settings import explain, section_of, source_of
from raypipe.trees import holds, leaves, over, put


class Config(BaseModel):
    """Base of all configuration: frozen, unknown keys refused.

    A section that is given in part keeps the rest of the default that stands in the class above it:
        `dialogue: {dialogues: 9}`
    leaves the max_length of `dialogue: DialogueConfig = DialogueConfig(max_length=768)` as it is.

    Attributes:
        renamed_keys: old name of a setting -> its new name, which may be dotted
            (`subsection.name`). The old name works for one release; a line on stderr names the new
            one.
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

#: the first line of the file of an effective configuration, with the version that wrote it
HEADER = "# raypipe {}: effective configuration"


def with_new_names(
    section: type[Config],
    tree: dict[str, Any],
    path: str = "",
    announce: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The settings of a section under their present names; each old name costs one line on stderr.

    Args:
        path: where the section stands in the whole configuration, ends with a dot; "" at the top.
        announce: receives the line of each old name instead of stderr.

    Raises:
        ValueError: the old and the new name of one setting are both given.
    """
    announce = announce or warn_once
    renamed: dict[str, Any] = {}
    for key, value in tree.items():
        name = section.renamed_keys.get(key, key)
        if name != key:
            if holds(tree, name):
                raise ValueError(_both_names(path + key, path + name))
            announce(f"{path}{key} is now {path}{name}; the old name works for one release")
        inner = _section_at(section, name)
        if inner and issubclass(inner, Config) and isinstance(value, dict):
            value = with_new_names(inner, value, f"{path}{name}.", announce)
        if name != key:
            put(renamed, name, value)
        elif isinstance(value, dict) and isinstance(renamed.get(key), dict):
            renamed[key] = over(renamed[key], value)
        else:
            renamed[key] = value
    return renamed


def _both_names(old_name: str, new_name: str) -> str:
    return f"{old_name} is now {new_name}; give the new name only"


def _section_at(section: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section class at a dotted key below a section; None where a value stands there."""
    found: type[BaseModel] | None = section
    for name in key.split("."):
        field = found.model_fields.get(name) if found else None
        found = section_of(field.annotation) if field else None
    return found


@cache
def warn_once(line: str) -> None:
    """Print a line on stderr, once in this process."""
    print(line, file=sys.stderr, flush=True)


def presets(folder: Path) -> list[str]:
    """Names of the presets shipped in a folder."""
    return sorted(p.stem for p in folder.glob("*.yaml"))


class Layer(NamedTuple):
    """Settings of one source.

    Attributes:
        source: "preset NAME", "command line", ...
        settings: dotted key -> value; a value may be a section, and replaces what lower layers gave
            it.
        version: the version of raypipe that wrote it, of the file of an effective configuration.
    """

    source: str
    settings: dict[str, Any]
    version: str = ""


class Loaded(NamedTuple, Generic[C]):
    """A configuration, and where its settings come from.

    Attributes:
        sources: dotted key -> source, of each value that a layer gave.
    """

    config: C
    sources: dict[str, str]


def load(
    cls: type[C], folder: Path, preset: str | None, overrides: dict[str, Any] | None = None
) -> C:
    """Read a preset and apply dotted overrides.

    Args:
        cls: what is configured.
        folder: where its presets lie.
        preset: a name from `presets(folder)`, or a YAML file of the same form; None: the defaults
            alone.
        overrides: dotted key -> value, e.g. {"llm.tune.epochs": 3}.

    Raises:
        ConfigError: unknown preset, unknown key or impossible value.
    """
    return load_layers(
        cls, [*read_preset(folder, preset), Layer("command line", overrides or {})]
    ).config


def read_preset(folder: Path, preset: str | None) -> list[Layer]:
    """The layer of a preset; no layer where there is no preset.

    Raises:
        ConfigError: there is no such preset, or it does not hold sections of settings.
    """
    if not preset:
        return []
    is_file = preset.endswith((".yaml", ".yml"))
    file = Path(preset).expanduser() if is_file else folder / f"{preset}.yaml"
    if not file.is_file():
        todo = f"{plugins.choose(preset, presets(folder))}, or give a YAML file"
        raise ConfigError(f"there is no preset {preset!r}", "--preset", todo)
    text = file.read_text()
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"the preset is not YAML: {reason}", str(file)) from error
    if not isinstance(tree, dict):
        raise ConfigError(
            "a preset holds sections of settings", str(file), "see `raypipe config show`"
        )
    written = re.match(HEADER.format(r"(\S+)"), text)
    settings = {str(key): value for key, value in tree.items()}
    return [Layer(f"preset {preset}", settings, written.group(1) if written else "")]


def load_layers(cls: type[C], layers: Sequence[Layer]) -> Loaded[C]:
    """The configuration that layers give, each over those before it.

    Raises:
        ConfigError: unknown key or impossible value; the message names the layer.
    """
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in layers:
        for key, value in _present_settings(cls, layer).items():
            put(tree, key, value)
            for known in [k for k in sources if k == key or k.startswith(f"{key}.")]:
                del sources[known]
            sources |= dict.fromkeys(leaves(value, key), layer.source)
    try:
        return Loaded(cls.model_validate(tree), sources)
    except ValidationError as error:
        faulty = {source_of(sources, ".".join(map(str, e["loc"]))) for e in error.errors()}
        guilty = [layer for layer in layers if layer.source in faulty]
        others = {layer.version for layer in guilty} - {"", __version__}
        age = (
            f"written by raypipe {', '.join(sorted(others))}, this is {__version__}; "
            if others
            else ""
        )
        raise ConfigError(
            f"the configuration is not valid: {explain(error, cls)}",
            ", ".join(layer.source for layer in guilty),
            f"{age}`raypipe config list` shows all settings",
        ) from error


def _present_settings(cls: type[Config], layer: Layer) -> dict[str, Any]:
    """The settings of a layer under their present names; the same settings where none is old.

    Raises:
        ConfigError: the layer gives one setting under its old and its new name.
    """
    settings: dict[str, Any] = {}
    old_names: dict[str, str] = {}
    for key, value in layer.settings.items():
        name, value = _renamed(cls, key, value)
        if name in settings:
            raise ConfigError(_both_names(old_names.get(name, key), name), layer.source)
        settings[name] = value
        if name != key:
            old_names[name] = key
    for name, old_name in old_names.items():
        values = set(leaves(settings[name], name))
        for other in settings:
            if other != name and values & set(leaves(settings[other], other)):
                raise ConfigError(_both_names(old_name, name), layer.source)
    if not old_names:
        return settings
    # a section comes before a value below it, which it would replace
    return dict(sorted(settings.items(), key=lambda setting: setting[0].count(".")))


def _renamed(cls: type[Config], key: str, value: Any) -> tuple[str, Any]:
    """A setting of a layer under its present names."""
    tree: Any = {}
    put(tree, key, value)
    try:
        tree = with_new_names(cls, tree)
    except ValueError as error:
        raise ConfigError(str(error), key) from error
    names: list[str] = []
    section: type[Any] | None = cls
    for part in key.split("."):
        new_name = getattr(section, "renamed_keys", {}).get(part, part)
        for name in new_name.split("."):
            names.append(name)
            field = section.model_fields.get(name) if section else None
            section = section_of(field.annotation) if field else None
    for name in names:
        tree = tree[name]
    return ".".join(names), tree


def validate(cls: type[C], tree: dict[str, Any], where: str) -> C:
    """Build a configuration of class `cls`, or raise ConfigError that names each bad key and the
    known ones.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            f"the configuration is not valid: {explain(error, cls)}",
            where,
            f"known keys: {', '.join(cls.model_fields)}",
        ) from error
