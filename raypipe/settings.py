"""The settings of a configuration class: their keys, types and descriptions; what a wrong one may
mean; and as YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from raypipe import plugins


def explain(error: ValidationError, cls: type[BaseModel]) -> str:
    """A pydantic error as short parts `key: message`; an unknown key with the nearest known one."""
    parts = []
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"])) or "value"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            guess = nearest_key(key, cls)
            message = "unknown setting" + (f", did you mean {guess}?" if guess else "")
        parts.append(f"{key}: {message}")
    return "; ".join(parts)


def nearest_key(key: str, cls: type[BaseModel]) -> str | None:
    """The setting that an unknown dotted key most likely means."""
    keys = list(setting_keys(cls))
    keys += {k.rpartition(".")[0] for k in keys if k.count(".") > 1}
    last = key.rpartition(".")[2]
    same_name = [k for k in keys if k.rpartition(".")[2] == last]
    return plugins.nearest(key, keys) if not same_name else min(same_name, key=len)


def setting_keys(cls: type[BaseModel], path: str = "") -> Iterator[str]:
    """The dotted keys of all settings of a class, section by section."""
    for name, field in cls.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield path + name
        else:
            yield from setting_keys(section, f"{path}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class that a field holds, alone or as an option (`EndpointConfig | None`); None
    for a value.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        for choice in get_args(annotation):
            if section := section_of(choice):
                return section
    return None


def source_of(sources: Mapping[str, str], key: str) -> str:
    """Where a value comes from: its own entry, that of the section above it, or "default"."""
    while key and key not in sources:
        key = key.rpartition(".")[0]
    return sources.get(key, "default")


class Setting(NamedTuple):
    """One setting: its dotted key, its type and default in words, and what it means."""

    key: str
    type: str
    default: str
    description: str


def describe(cls: type[BaseModel], path: str = "") -> Iterator[Setting]:
    """All settings of a class, section by section."""
    usual = cls.model_construct() if not path else None
    yield from _describe(cls, usual, path)


def _describe(cls: type[BaseModel], usual: BaseModel | None, path: str) -> Iterator[Setting]:
    for name, field in cls.model_fields.items():
        value = getattr(usual, name, PydanticUndefined)
        if value is PydanticUndefined:
            value = field.get_default(call_default_factory=True)
        section = section_of(field.annotation)
        if section is None:
            yield Setting(
                path + name, type_text(field), _value_text(value), description_of(cls, name)
            )
        else:
            inner = value if isinstance(value, BaseModel) else None
            yield from _describe(section, inner, f"{path}{name}.")


def description_of(cls: type[BaseModel], name: str) -> str:
    """What a setting means: its own description, else that of the same setting in a base class."""
    for base in cls.__mro__:
        field = base.model_fields.get(name) if issubclass(base, BaseModel) else None
        if field and field.description:
            return field.description
    return ""


def type_text(field: FieldInfo) -> str:
    """The type of a setting with its limits: "int >= 1", "all | liked", "list of float"."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    name = _type_name(field.annotation)
    optional = ", or none" if limits and name.endswith(" | none") else ""
    if optional:
        name = name.removesuffix(" | none")
    return " ".join([name, ", ".join(limits)]).strip() + optional


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (None, NoneType):
        return "none"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " | ".join(map(_type_name, arguments))
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"{_type_name(arguments[0])} -> {_type_name(arguments[1])}"
    if annotation is Any:
        return "any"
    names = {"str": "text", "bool": "true | false"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _value_text(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        value = {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
    return in_line(value)


def in_line(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip()


def as_yaml(tree: Mapping[str, Any], sources: Mapping[str, str], path: str = "") -> str:
    """A configuration as YAML, with the source of each value as a comment.

    Args:
        tree: the configuration as plain values, as of `model_dump(mode="json")`.
        sources: dotted key -> source, of each value that is not a default.
    """
    lines = []
    indent = "  " * path.count(".")
    for name, value in tree.items():
        key = path + str(name)
        start = f"{indent}{in_line({name: None}).strip('{}').removesuffix(' null')}"
        if isinstance(value, dict) and value:
            lines.append(f"{start}\n{as_yaml(value, sources, key + '.')}".rstrip("\n"))
        else:
            lines.append(f"{start} {in_line(value)}  # {source_of(sources, key)}")
    return "\n".join(lines) + "\n"
