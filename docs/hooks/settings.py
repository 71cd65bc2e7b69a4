"""Fill the marker `<!-- settings: NAME -->` of a page with tables made from the config classes.

Names: llama4rec and reclm (the sections of a paper's configuration), backbones and datasets (the
options of each plug-in file).
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from raypipe import plugins
from raypipe.backbones import registry
from raypipe.config import Config
from raypipe.data import sources
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.reclm.config import ReclmConfig

MARKER = re.compile(r"<!-- settings: (\w+) -->")
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", type(None): "none"}


class Setting(NamedTuple):
    """One line of the reference: dotted name, type in words, default, description."""

    name: str
    kind: str
    default: str
    description: str


class Section(NamedTuple):
    """A config class with the dotted name of its place ("" for the top) and its own settings."""

    name: str
    config: type[Config]
    settings: list[Setting]


def kind_of(annotation: Any) -> str:
    """A type in words, e.g. "one of `a`, `b`", or "list of integer"."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(part) for part in inner)
    if origin is tuple:
        item = kind_of(inner[0])
        return f"list of {item}s" if item.isalpha() and item != "text" else f"list of {item}"
    if origin is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return "section"
    return PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def limits_of(field: FieldInfo) -> str:
    """The bounds of a field, e.g. ", at least 1"."""
    words = ""
    for bound in field.metadata:
        for name, word in LIMITS.items():
            if hasattr(bound, name):
                words += f", {word} {getattr(bound, name)}"
    return words


def shown(value: Any) -> str:
    """A default as it would be typed."""
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ({}, ()):
        return "none" if value is None else "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(part)}" for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(shown(part) for part in value)
    return f"`{value}`"


def section_of(annotation: Any) -> type[Config] | None:
    """The config class of a field that is a section, or a section or none."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Config):
            return part if get_origin(annotation) is not tuple else None
    return None


def sections(config: type[Config], defaults: Config | None, name: str = "") -> Iterator[Section]:
    """A config class and all sections in it, depth first.

    Args:
        defaults: an instance whose values are the defaults; none: those of the class.
        name: the dotted name of the class's place.
    """
    settings, inner = [], []
    for key, field in config.model_fields.items():
        dotted = f"{name}.{key}" if name else key
        default = getattr(defaults, key) if defaults else field.get_default()
        below = section_of(field.annotation)
        if below:
            inner.append((below, default if isinstance(default, Config) else None, dotted))
        if not isinstance(default, Config):
            kind = kind_of(field.annotation) + limits_of(field)
            settings.append(Setting(dotted, kind, shown(default), field.description or ""))
    yield Section(name, config, settings)
    for below, default, dotted in inner:
        yield from sections(below, default, dotted)


def table(settings: list[Setting]) -> str:
    """Settings as a Markdown table."""
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for setting in settings:
        cells = (f"`{setting.name}`", setting.kind, setting.default, setting.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((text or "").split("\n\n")[0].split())


def reference(config: type[Config]) -> str:
    """All settings of a configuration, one heading and table a section."""
    parts = []
    for section in sections(config, config()):
        if not section.settings:
            continue
        heading = f"## `{section.name}`" if section.name else "## Top level"
        parts.append(
            f"{heading}\n\n{first_paragraph(section.config.__doc__)}\n\n{table(section.settings)}"
        )
    return "\n\n".join(parts)


def backbones() -> str:
    """The options of every backbone, by task."""
    parts = []
    for task in registry.FOLDERS:
        parts.append(f"## Task {task}")
        for name in registry.names(task):
            options = registry.find(task, name).Options
            own = next(sections(options, None, f"backbone_options.{name}")).settings
            parts.append(f"### `{name}`\n\n{first_paragraph(options.__doc__)}\n\n{table(own)}")
    return "\n\n".join(parts)


def datasets() -> str:
    """The options of every dataset."""
    parts = []
    for name in plugins.names(sources):
        options = plugins.find(sources, name, "dataset").Options
        own = next(sections(options, None)).settings
        lines = table(own) if own else "This dataset has no options."
        parts.append(f"## `{name}`\n\n{first_paragraph(options.__doc__)}\n\n{lines}")
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "llama4rec": lambda: reference(Llama4RecConfig),
    "reclm": lambda: reference(ReclmConfig),
    "backbones": backbones,
    "datasets": datasets,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return MARKER.sub(lambda found: PAGES[found[1]](), markdown)
