"""Settings as nested dictionaries, and their dotted keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from raypipe.errors import ConfigError


def over(usual: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`given`, and what it does not say as in `usual`, section by section."""
    inner = {
        k: over(usual[k], v)
        for k, v in given.items()
        if isinstance(v, dict) and isinstance(usual.get(k), dict)
    }
    return {**usual, **given, **inner}


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


def leaves(value: Any, key: str) -> Iterator[str]:
    """The dotted keys of all values in a tree below `key`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}")
    else:
        yield key


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
