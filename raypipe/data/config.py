"""Settings of a dataset: where it comes from, how it is cleaned, and how it is split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from raypipe.config import Config


class SourceConfig(Config):
    """Where data comes from, and how it is cleaned."""

    name: str = "toy"
    dir: str | None = None
    options: dict[str, Any] = Field(
        default_factory=dict, description="options of the dataset's own file"
    )
    min_interactions: int = Field(1, ge=1, description="users with fewer are left out")
    repeated: Literal["first", "last"] = Field(
        "last", description="which row of a repeated pair of user and item stays"
    )

    @field_validator("dir")
    @classmethod
    def _whole(cls, dir: str | None) -> str | None:
        return None if dir is None else str(Path(dir).expanduser().resolve())


class DataConfig(SourceConfig):
    """Which data, and what counts as a positive."""

    protocol: Literal["all", "liked"] = Field(
        "all", description="liked: only ratings >= liked_from are positives (LO1)"
    )
    liked_from: float = 4.0
    split: Literal["leave_one_out", "temporal"] = "leave_one_out"
    temporal_cuts: tuple[float, float] = Field(
        (0.8, 0.9), description="quantiles of time: training ends, validation ends"
    )
    mask_history: bool = Field(
        True, description="false: sequential models may recommend the history again (LO2)"
    )
    min_interactions: int = Field(
        3, ge=3, description="users with fewer are left out: leave-one-out needs three"
    )

    @field_validator("temporal_cuts")
    @classmethod
    def _rising(cls, cuts: tuple[float, float]) -> tuple[float, float]:
        if not 0 < cuts[0] < cuts[1] < 1:
            raise ValueError("two rising numbers between 0 and 1")
        return cuts

    @property
    def label(self) -> str:
        """How reports name the protocol, e.g. "liked, temporal, history unmasked"."""
        parts = [
            self.protocol,
            "temporal" if self.split == "temporal" else "",
            "" if self.mask_history else "history unmasked",
        ]
        return ", ".join(p for p in parts if p)


class SnapshotConfig(SourceConfig):
    """Two snapshots of a log (RecLM R24 to R27)."""

    repeated: Literal["first", "last"] = Field(
        "first", description="a pair in both snapshots is one of the first (RO3)"
    )
    cut: float | None = Field(
        None,
        description="timestamp at which the second snapshot begins; none: after 80 % of the rows",
    )
    validation_items: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the first snapshot's items that are held out completely",
    )
    validation_users: float = Field(
        0.5, gt=0, le=1, description="share of users with several rows who have one held out"
    )
