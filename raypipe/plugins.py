"""Plug-ins are files: a folder's public modules are its backbones, datasets, prompt templates or
papers.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from raypipe.errors import ConfigError


def names(package: ModuleType) -> list[str]:
    """Public module names of a package, sorted; nothing is imported."""
    return sorted(
        m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")
    )


def find(package: ModuleType, name: str, kind: str) -> ModuleType:
    """Import the plug-in `name`, or raise ConfigError that lists what there is."""
    check_name(name, names(package), kind)
    return module(package, name)


def module(package: ModuleType, name: str) -> ModuleType:
    """Import a module of a package."""
    return importlib.import_module(f"{package.__name__}.{name}")


def check_name(name: str, known: Iterable[str], kind: str) -> None:
    """Refuse an unknown name.

    Raises:
        ConfigError: names the nearest known one, and lists all.
    """
    choices = list(known)
    if name not in choices:
        raise ConfigError(f"there is no {kind} {name!r}", kind, choose(name, choices))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`; None where none is like it."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def choose(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: "did you mean ...? choose one of ..."."""
    choices = list(known)
    guess = nearest(name, choices)
    question = f"did you mean {guess}? " if guess else ""
    return f"{question}choose one of {', '.join(choices)}"
