"""How long a run will still take, from how long the like of it took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from raypipe.pipeline.stage import Stage


def kinds(stage: Stage) -> tuple[str, ...]:
    """What its duration is guessed from, the closest first: the same stage of another seed, the same on other data (NAME@DATA), the
    same under another path, and all with its body.
    """
    seed, _, rest = stage.name.partition("/")
    same = rest if seed.startswith("seed") and rest else stage.name
    run = getattr(stage.run, "func", stage.run)
    body = getattr(run, "__name__", type(run).__name__)
    called = same.partition("@")[0]
    return same, f"{body} of {called}", f"{body} of {called.rpartition('/')[2]}", body


def guesses(missing: Iterable[Stage], done: Iterable[tuple[Stage, float]]) -> list[float | None]:
    """Seconds of each missing stage, None where nothing like it was done; `done`: finished stages with their seconds."""
    known: dict[str, list[float]] = {}
    for stage, seconds in done:
        for kind in kinds(stage):
            known.setdefault(kind, []).append(seconds)
    return [
        next((fmean(known[kind]) for kind in kinds(stage) if kind in known), None)
        for stage in missing
    ]


def longest_first(stages: Sequence[Stage], done: Iterable[tuple[Stage, float]]) -> list[Stage]:
    """The order in which stages that run side by side end soonest; first those of which nothing is known, as they are."""
    seconds = [math.inf if g is None else g for g in guesses(stages, done)]
    return [
        stage for _, stage in sorted(zip(seconds, stages, strict=True), key=lambda pair: -pair[0])
    ]


def remaining(
    missing: Sequence[Stage], done: Iterable[tuple[Stage, float]], overlap: float = 1.0
) -> tuple[float, bool]:
    """Seconds that the missing stages will take, and whether that counts all of them.

    Args:
        done: finished stages with their seconds.
        overlap: seconds that pass for each second of a trainer, which run side by side; all else runs alone.
    """
    guessed = guesses(missing, done)
    known = [
        g * (overlap if s.place == "trainer" else 1)
        for s, g in zip(missing, guessed, strict=True)
        if g is not None
    ]
    return sum(known), None not in guessed


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
