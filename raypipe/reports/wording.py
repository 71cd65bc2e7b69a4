"""Numbers and lists as English text."""

from __future__ import annotations

from collections.abc import Sequence


def listed(parts: Sequence[str], conjunction: str = "and") -> str:
    """Join parts as English does: "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 seed", "1,200 prompts"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it: "45 seconds", "12 minutes", "2.5 hours"."""
    if seconds < 90:
        return count(round(seconds), "second")
    if seconds < 120 * 60:
        return count(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def signed_percent(share: float, decimals: int = 1) -> str:
    """A share as a signed percentage: "+3.2%". A value that rounds to zero has no sign."""
    text = f"{share:+.{decimals}%}"
    return text.lstrip("+-") if float(text.rstrip("%")) == 0 else text


def percent(share: float, decimals: int = 1) -> str:
    """The size of a share as a percentage: "3.2%"."""
    return f"{abs(share):.{decimals}%}"
