"""What a run's LLM cost, from the record of its stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.pipeline.runner import Done

#: stages whose rejected answers are another LLM's
OTHER_LLMS = ("external_llm", "attribute_accuracy")


def llm_costs(config: Llama4RecConfig, record: Sequence[Done]) -> dict[str, Any]:
    """`llm` of report.json: tuning, prompts, tokens, and where the time of the LLM stages went."""
    waves = _waves(record)
    start = _total(waves, "engine_start_seconds")
    generating = _total(waves, "generation_seconds")
    wave_seconds = sum(wave.seconds for wave in waves)
    parts = {
        "building prompts": _seconds(record, "prompts/"),
        "starting engines": start,
        "generating": generating,
        "stopping engines, merging": max(0.0, wave_seconds - start - generating),
    }
    tuned = next(done for done in record if done.name == "llm/augmented")
    generated = _total(waves, "generated")
    return {
        "model": config.llm.source,
        "parameters": tuned.facts.get("parameters"),
        "instructions": tuned.facts["rows"],
        "steps": tuned.facts["steps"],
        "workers": tuned.facts["workers"],
        "refit_seconds": _seconds(record, f"seed{config.seed}/augmented/"),
        "engine": config.llm.engine.name,
        "prompts": _total(waves, "rows"),
        "known": _total(waves, "reused"),
        "rejected": _rejected(record),
        "tokens_in": _total(waves, "tokens_in"),
        "tokens_out": _total(waves, "tokens_out"),
        "seconds": wave_seconds,
        "prompts_per_second": generated / generating if generating else None,
        "engine_starts": sum(wave.facts["rows"] > wave.facts["reused"] for wave in waves),
        "tuning_seconds": _seconds(record, "llm/"),
        "shares": _shares(parts),
    }


def _waves(record: Sequence[Done]) -> list[Done]:
    """The stages in which the run's own LLM answers prompts; endpoints are reported apart."""
    waves = []
    for done in record:
        if done.name.startswith("completions/") and "dollars" not in done.facts:
            waves.append(done)
    return waves


def _total(waves: Sequence[Done], fact: str) -> Any:
    return sum(wave.facts[fact] for wave in waves)


def _seconds(record: Sequence[Done], prefix: str) -> float:
    return sum(done.seconds for done in record if done.name.startswith(prefix))


def _rejected(record: Sequence[Done]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for done in record:
        if done.name not in OTHER_LLMS:
            counts.update(done.facts.get("rejected", {}))
    return dict(counts)


def _shares(parts: dict[str, float]) -> list[dict[str, Any]]:
    total = sum(parts.values()) or 1.0
    shares = []
    for name, seconds in parts.items():
        shares.append({"name": name, "seconds": seconds, "share": seconds / total})
    return shares
