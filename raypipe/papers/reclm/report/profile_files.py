"""profiles/WAVE.parquet: the profiles of a run, each with its origin (R4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from raypipe.pipeline.runner import Done
from raypipe.steps.answer_cache import REUSED, prompt_hashes

WAVES = ("users", "items-warm", "items-cold")
COLUMNS = ["id", "as_of", "profile", "prompt_hash", "model", "recalled"]


def write(artifact: Callable[[str], Path], done: Mapping[str, Done], folder: Path) -> None:
    """One file for each wave, with the columns in COLUMNS.

    Args:
        artifact: name of a stage -> its output.
        done: the stages of the run by name.
    """
    for wave in WAVES:
        if f"completions/{wave}" in done:
            folder.mkdir(exist_ok=True)
            frame = _profiles(artifact, wave)
            frame["model"] = done[f"completions/{wave}"].facts["llm"]
            frame[COLUMNS].to_parquet(folder / f"{wave}.parquet", index=False)


def _profiles(artifact: Callable[[str], Path], wave: str) -> pd.DataFrame:
    columns = ["prompt_id", "mode", "prompt", "pattern", "options"]
    parts = []
    for file in sorted((artifact(f"prompts/{wave}") / "prompts").glob("*.parquet")):
        parts.append(pd.read_parquet(file, columns=columns))
    prompts = pd.concat(parts)
    answers = pd.read_parquet(artifact(f"completions/{wave}") / "completions.parquet")
    hashes = prompts[["prompt_id"]].assign(prompt_hash=prompt_hashes(prompts))
    profiles = hashes.merge(answers, on="prompt_id")
    as_of, _, ids = profiles["prompt_id"].str.partition("/").to_numpy().T
    return profiles.assign(
        as_of=as_of,
        id=ids,
        profile=profiles["answer"].str.strip(),
        recalled=profiles["finished_at"] == REUSED,
    )
