"""Backbones are found by listing the folders direct/, sequential/ and rating/."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from raypipe import plugins
from raypipe.backbones import contract, direct, rating, sequential
from raypipe.config import validate
from raypipe.errors import ConfigError

FOLDERS = {"direct": direct, "sequential": sequential, "rating": rating}


def names(task: str) -> list[str]:
    """The backbones of a task."""
    return plugins.names(FOLDERS[task])


def find(task: str, name: str) -> ModuleType:
    """The backbone's module; ConfigError lists what there is."""
    return plugins.find(FOLDERS[task], name, f"{task} backbone")


def title(name: str) -> str:
    """The published name of a backbone: its docstring up to the colon; else the file's name."""
    head, colon, _ = (find(task_of(name), name).__doc__ or "").partition(":")
    return head if colon and "\n" not in head else name


def task_of(name: str) -> str:
    """The task whose folder holds the backbone."""
    for task in FOLDERS:
        if name in names(task):
            return task
    known = "; ".join(f"{task}: {', '.join(names(task))}" for task in FOLDERS)
    guess = plugins.nearest(name, [known_name for task in FOLDERS for known_name in names(task)])
    question = f"did you mean {guess}? " if guess else ""
    raise ConfigError(
        f"there is no backbone {name!r}", "--backbones", f"{question}choose among {known}"
    )


def options(task: str, name: str, overrides: dict[str, Any]) -> contract.Options:
    """The checked hyper-parameters of a backbone."""
    return validate(find(task, name).Options, overrides, f"backbone_options.{name}")
