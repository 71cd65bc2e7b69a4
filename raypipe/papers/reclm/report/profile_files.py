"""profiles/WAVE.parquet: the profiles of a run, each with its origin (R4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from raypipe.cluster import ray_data
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
    prompts = ray_data.read_finished(str(artifact(f"prompts/{wave}") / "prompts"))
    answers = pd.read_parquet(artifact(f"completions/{wave}") / "completions.parquet")
    identity = pd.DataFrame(
        {
            "prompt_id": prompts["prompt_id"],
            "as_of": prompts["as_of"],
            "id": prompts["user_id" if wave == "users" else "item_id"],
            "prompt_hash": prompt_hashes(prompts),
        }
    )
    profiles = identity.merge(answers, on="prompt_id")
    return profiles.assign(
        profile=profiles["answer"].str.strip(),
        recalled=profiles["finished_at"] == REUSED,
    )
