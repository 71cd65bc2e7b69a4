"""Fill the marker `<!-- settings: NAME -->` of a page with tables made from the config classes.

Names: llama4rec and reclm (the sections of a paper's configuration), backbones and datasets (the
options of each plug-in file). `raypipe config list` prints the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from raypipe import plugins
from raypipe.backbones import registry
from raypipe.config import Config
from raypipe.data import sources
from raypipe.papers import contract
from raypipe.settings import Setting, describe, section_of

MARKER = re.compile(r"<!-- settings: (\w+) -->")


def table(settings: Sequence[Setting]) -> str:
    """Settings as a Markdown table."""
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for setting in settings:
        kind = re.sub(r" \| ", " or ", setting.type)
        cells = (f"`{setting.key}`", kind, f"`{setting.default}`", setting.description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def summary(config: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((config.__doc__ or "").split("\n\n")[0].split())


def class_of(config: type[Config], section: str) -> type:
    """The class of a section, given by its dotted name; "" is the configuration itself."""
    found: type = config
    for name in filter(None, section.split(".")):
        below = section_of(found.model_fields[name].annotation)  # type: ignore[attr-defined]
        assert below is not None, section
        found = below
    return found


def reference(config: type[Config]) -> str:
    """All settings of a configuration, one heading and table a section."""
    by_section: dict[str, list[Setting]] = {"": []}
    for setting in describe(config):
        by_section.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    parts = []
    for section, settings in by_section.items():
        heading = f"## `{section}`" if section else "## Top level"
        parts.append(f"{heading}\n\n{summary(class_of(config, section))}\n\n{table(settings)}")
    return "\n\n".join([*parts, *renamed(config, list(by_section))])


def renamed(config: type[Config], sections: Sequence[str]) -> list[str]:
    """A heading and a table of the old names that still work; nothing where there are none."""
    lines = []
    for section in sections:
        prefix = f"{section}." if section else ""
        for old_name, new_name in getattr(class_of(config, section), "renamed_keys", {}).items():
            lines.append(f"| `{prefix}{old_name}` | `{prefix}{new_name}` |")
    if not lines:
        return []
    heading = "## Renamed settings\n\nThe old names work for one release."
    return [heading, "\n".join(["| old name | new name |", "|---|---|", *lines])]


def backbones() -> str:
    """The options of every backbone, by task."""
    parts = []
    for task in registry.FOLDERS:
        parts.append(f"## Task {task}")
        for name in registry.names(task):
            options = registry.find(task, name).Options
            settings = list(describe(options, f"backbone_options.{name}."))
            parts.append(f"### `{name}`\n\n{summary(options)}\n\n{table(settings)}")
    return "\n\n".join(parts)


def datasets() -> str:
    """The options of every dataset."""
    parts = []
    for name in plugins.names(sources):
        options = plugins.find(sources, name, "dataset").Options
        settings = list(describe(options))
        lines = table(settings) if settings else "This dataset has no options."
        parts.append(f"## `{name}`\n\n{summary(options)}\n\n{lines}")
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {"backbones": backbones, "datasets": datasets}


def content(name: str) -> str:
    """The tables of a marker: options of plug-ins, or the settings of a paper."""
    return PAGES[name]() if name in PAGES else reference(contract.find(name).Config)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return MARKER.sub(lambda found: content(found[1]), markdown)
