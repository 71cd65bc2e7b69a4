"""Plug-ins are files: a folder's public modules are its backbones, datasets or prompt templates."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from raypipe.errors import ConfigError


def names(package: ModuleType) -> list[str]:
    """Public module names of a package, sorted; nothing is imported."""
    return sorted(
        m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")
    )


def find(package: ModuleType, name: str, kind: str) -> ModuleType:
    """Import the plug-in `name`, or raise ConfigError that lists what there is."""
    if name not in names(package):
        raise ConfigError(
            f"there is no {kind} {name!r}", kind, f"choose one of {', '.join(names(package))}"
        )
    return importlib.import_module(f"{package.__name__}.{name}")
