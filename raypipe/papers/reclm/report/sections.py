"""Sections of the report beyond the result tables: costs, tuning, and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.report.labels import WAVES
from raypipe.pipeline.runner import Done

#: prefix of the stages in which an LLM answers prompts
COMPLETIONS = "completions/"

#: stages of tuning -> facts that the report shows
TUNING_FACTS = {
    "llm/policy": ("score first", "score last", "kl last"),
    "smoothing": ("before", "after", "rows"),
}

Artifact = Callable[[str], Path]


def epochs(
    done: Mapping[str, Done], config: ReclmConfig, titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Seconds per epoch with validation, of Base and Augment on the training part (Table 3)."""
    lines = []
    for name in config.backbones:
        base = _epoch_seconds(done.get(f"seed{config.seed}/base/{name}@train"))
        augment = _epoch_seconds(done.get(f"seed{config.seed}/augment/{name}@train"))
        overhead = augment / base - 1 if base and augment else None
        lines.append(
            {
                "backbone": titles.get(name, name),
                "base": base,
                "augment": augment,
                "overhead": overhead,
            }
        )
    return lines


def _epoch_seconds(fit: Done | None) -> float | None:
    return fit.facts["seconds_per_epoch"] if fit else None


def llm_costs(record: Sequence[Done]) -> dict[str, Any]:
    """`llm` of report.json: the waves of answers, and the seconds of each tuning stage."""
    waves, tuning = [], {}
    for done in record:
        if done.name.startswith(COMPLETIONS):
            waves.append(_wave(done))
        elif done.name.startswith("llm/") or done.name == "reward":
            tuning[done.name] = done.seconds
    return {"waves": waves, "tuning": tuning}


def _wave(done: Done) -> dict[str, Any]:
    facts = done.facts
    busy = facts["generation_seconds"]
    after_start = done.seconds - facts["engine_start_seconds"]
    return {
        "name": done.name.removeprefix(COMPLETIONS),
        "rows": facts["rows"],
        "known": facts["reused"],
        "tokens_in": facts["tokens_in"],
        "tokens_out": facts["tokens_out"],
        "seconds": done.seconds,
        "per_second": facts["generated"] / busy if busy else None,
        "tokens_per_second": facts["generated_tokens"] / busy if busy else None,
        "busy": busy / after_start if facts["generated"] and after_start > 0 else None,
        "dollars": facts.get("dollars"),
    }


def education(done: Mapping[str, Done]) -> dict[str, Any]:
    """How tuning went: accuracy of the reward model, rewards and divergence, over-smoothing."""
    lines: dict[str, Any] = {}
    if "reward-accuracy" in done:
        lines["reward-accuracy"] = done["reward-accuracy"].facts["lines"]
    for stage, names in TUNING_FACTS.items():
        if stage in done:
            facts = done[stage].facts
            lines[stage] = {name: facts[name] for name in names if name in facts}
    return lines


def samples(artifact: Artifact, done: Mapping[str, Done], each: int = 3) -> list[dict[str, Any]]:
    """The first prompts of each wave with their answers."""
    shown = []
    for name, stage in done.items():
        if not name.startswith(COMPLETIONS):
            continue
        prompts = _prompts(artifact, stage.facts["prompts"], each)
        answers = _answers(artifact, name)
        wave = name.removeprefix(COMPLETIONS)
        for row in prompts.itertuples():
            shown.append(
                {
                    "id": f"{WAVES.get(wave, wave)}: {row.prompt_id}",
                    "prompt": row.prompt,
                    "answer": answers.loc[row.prompt_id],
                }
            )
    return shown


def _prompts(artifact: Artifact, stage: str, most: int | None = None) -> pd.DataFrame:
    """The prompts of a stage, or at most so many of its first file."""
    files = sorted((artifact(stage) / "prompts").glob("*.parquet"))
    if not files:
        return pd.DataFrame(columns=["prompt_id", "prompt"])
    if most is not None:
        return pd.read_parquet(files[0]).head(most)
    return pd.concat([pd.read_parquet(file) for file in files])


def _answers(artifact: Artifact, stage: str) -> pd.Series:
    """The answers of a wave by prompt_id."""
    frame = pd.read_parquet(artifact(stage) / "completions.parquet")
    return frame.set_index("prompt_id")["answer"]


def case_study(
    artifact: Artifact, done: Mapping[str, Done], config: ReclmConfig
) -> dict[str, str] | None:
    """Figure 4: a user's prompt, and the profile before and after reinforcement learning."""
    if config.case is None or "completions/sample" not in done:
        return None
    prompts = _prompts(artifact, "prompts/sample")
    of_user = prompts[(prompts["user_id"] == config.case) & (prompts["as_of"] == "train")]
    if of_user.empty:
        return None
    prompt_id = of_user["prompt_id"].iloc[0]
    before = _answers(artifact, "completions/sample").loc[prompt_id]
    after = _answers(artifact, "completions/users").loc[prompt_id]
    return {
        "user": config.case,
        "prompt": str(of_user["prompt"].iloc[0]),
        "before": str(before).strip(),
        "after": str(after).strip(),
    }
