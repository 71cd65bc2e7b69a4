"""The errors that a user can meet. Each says what is wrong, where, and what to do."""

from __future__ import annotations


class RaypipeError(Exception):
    """Base of all errors that the user can resolve. Commands print them without a traceback.

    Args:
        what: the fault, as a sentence.
        where: file, line, column, setting or stage.
        todo: what the user can do about it.
    """

    def __init__(self, what: str, where: str = "", todo: str = "") -> None:
        self.what, self.where, self.todo = what, where, todo
        super().__init__(what, where, todo)  # all three, so that the error survives pickling

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.todo:
            parts.append(f"  to do: {self.todo}")
        return "\n".join(parts)


class DataError(RaypipeError):
    """The input data cannot be used as it is."""


class ConfigError(RaypipeError):
    """A setting is unknown, impossible, or contradicts another."""


class UnknownError(RaypipeError):
    """A request names a user, item or task that the bundle does not have."""


class DryRun(RaypipeError):
    """The run stops here, as requested, before it sends a prompt that costs money."""


class ArtifactError(RaypipeError):
    """A stage's output or a bundle is missing or damaged."""
