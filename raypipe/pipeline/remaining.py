"""How long a run will still take, from how long the like of it took."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from raypipe.pipeline.stage import Stage


def kinds(stage: Stage) -> tuple[str, str]:
    """What its duration is guessed from, the closer first: the same stage of another seed, then all with the same body."""
    seed, _, rest = stage.name.partition("/")
    same = rest if seed.startswith("seed") and rest else stage.name
    body = getattr(stage.run, "func", stage.run)
    return same, getattr(body, "__name__", type(body).__name__)


def remaining(missing: Iterable[Stage], done: Iterable[tuple[Stage, float]], overlap: float = 1.0) -> tuple[float, bool]:
    """Seconds that the missing stages will take, and whether that counts all of them.

    Args:
        done: finished stages with their seconds.
        overlap: seconds that pass for each second of a trainer, which run side by side; all else runs alone.
    """
    known: dict[str, list[float]] = {}
    for stage, seconds in done:
        for kind in kinds(stage):
            known.setdefault(kind, []).append(seconds)
    guesses = []
    for stage in missing:
        guess = next((fmean(known[kind]) for kind in kinds(stage) if kind in known), None)
        guesses.append(guess * overlap if guess is not None and stage.place == "trainer" else guess)
    return sum(g for g in guesses if g is not None), None not in guesses


def told(guess: tuple[float, bool]) -> str:
    """In words, e.g. "about 25 min left"; "" where there is nothing worth telling."""
    seconds, whole = guess
    if seconds < 60:
        return ""
    minutes = round(seconds / 60)
    length = f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{'about' if whole else 'at least'} {length} left"


def overlap(passed: float, worked: float) -> float:
    """Seconds that passed for each second that trainers worked; 1 where none was seen."""
    return min(1.0, passed / worked) if worked else 1.0
