"""Submitting a run: find or start a Ray head, hand it the run, and print the run's log until it
ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

import raypipe
from raypipe.cli.exit_codes import DONE, FAILED, INTERRUPTED, REFUSED, RESUME
from raypipe.cluster.session import KEEP_IDLE_WORKERS, listens
from raypipe.errors import ConfigError

LOCAL = "http://127.0.0.1:8265"
#: seconds in which a head of this machine must take a job
PATIENCE = 60.0
#: the folder that holds the package: a checkout, or site-packages
ROOT = Path(raypipe.__file__).resolve().parents[1]
EXCLUDED = [".venv", "runs", "site", ".git", "**/__pycache__"]


def head_answers() -> bool:
    """Whether a Ray head's job server answers on this machine."""
    try:
        urllib.request.urlopen(f"{LOCAL}/api/version", timeout=3)
        return True
    except urllib.error.HTTPError:
        return True  # it asks for a token, so it is there
    except OSError:
        return False


def _ray(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of Ray, whose output is kept from the screen."""
    ray = Path(sys.executable).with_name("ray")
    env = {**KEEP_IDLE_WORKERS, **os.environ}
    return subprocess.run([str(ray), *arguments], capture_output=True, text=True, env=env)


def make_token() -> None:
    """Give this user a token for Ray's heads, where there is none: `ray start`, unlike `ray.init`,
    makes none itself.
    """
    if os.environ.get("RAY_AUTH_MODE") == "token":
        result = _ray("get-auth-token", "--generate")
        if result.returncode:
            raise ConfigError(
                f"no token for a Ray head could be made: {result.stderr.strip().splitlines()[-1]}",
                "ray get-auth-token --generate",
                "make ~/.ray writable, or set RAY_AUTH_TOKEN",
            )


def start_head() -> None:
    """Start a Ray head on this machine, reachable from this machine only."""
    print("starting a Ray head on this machine (stop it with `make stop`)", flush=True)
    make_token()
    # a free port for the agent that takes jobs: the usual one may be that of another Ray session on
    # this machine
    agent = "--dashboard-agent-listen-port=0"
    result = _ray("start", "--head", "--dashboard-host=127.0.0.1", agent, "--disable-usage-stats")
    if result.returncode:
        message = (result.stderr or result.stdout).strip().splitlines()[-1]
        raise ConfigError(
            f"no Ray head could be started: {message}",
            "ray start --head",
            "stop what is left of an old one with `make stop`, then try again",
        )


def submit(
    address: str, entrypoint: str, runtime_env: dict[str, Any], patience: float
) -> tuple[Any, str]:
    """A client of the head at `address`, and the job that it took.

    A head that has just started answers some seconds before it takes jobs, on a busy machine many:
        it has `patience` seconds.
    """
    from ray.job_submission import JobSubmissionClient

    until = time.monotonic() + patience
    while True:
        try:
            client = JobSubmissionClient(address)
            return client, client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
        except (ConnectionError, OSError, RuntimeError, ValueError):
            if time.monotonic() >= until:
                raise
            time.sleep(2)


def end_leftover() -> None:
    """End a job server whose head was killed: it answers, and does nothing. All other Ray sessions
    are left alone.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            head = next(
                (c.partition("=")[2] for c in command if c.startswith("--gcs-address=")), ""
            )
            if (
                not any(c.endswith("dashboard.py") for c in command)
                or f"--port={LOCAL.rpartition(':')[2]}" not in command
            ):
                continue
            if not head or "--disable-frontend" in command or listens(head):
                continue
            for member in [*process.children(recursive=True), process]:
                member.kill()
            process.wait(10)


async def follow(client: object, job: str) -> None:
    """Print the job's log until it ends, less what Ray says of its own set-up."""
    async for text in client.tail_job_logs(job):  # type: ignore[attr-defined]
        for line in text.splitlines(keepends=True):
            if not any(
                part in line
                for part in ("job_manager.py", "logging.cc", "Running entrypoint", "(raylet)")
            ):
                print(line, end="", flush=True)


def environment(remote: bool) -> dict[str, Any]:
    """How a job finds the package: uploaded to another cluster, or where it is on this machine."""
    if not remote:
        return {}
    if (ROOT / "pyproject.toml").is_file():
        return {"working_dir": str(ROOT), "excludes": EXCLUDED}
    return {"py_modules": [str(ROOT / "raypipe")]}


def entrypoint(words: Sequence[str], remote: bool) -> str:
    """The command line of the job.

    On this machine it names the package's folder itself: a PYTHONPATH of the job's runtime
    environment would clash with that of the run, and Ray refuses to merge the two.
    """
    if remote:
        return shlex.join(["python", "-m", "raypipe", *words])
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return shlex.join(["env", f"PYTHONPATH={path}", sys.executable, "-m", "raypipe", *words])


def submit_and_follow(words: Sequence[str]) -> int:
    """Submit `raypipe WORDS` to RAY_ADDRESS, or to the head of this machine; returns an exit code.

    Raises:
        ConfigError: no head could be started.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    remote = os.environ.get("RAY_ADDRESS")
    if not remote:
        end_leftover()
        if not head_answers():
            start_head()
    from ray.job_submission import JobStatus

    # it announces that a log has ended
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    command = entrypoint(words, bool(remote))
    patience = 0 if remote else PATIENCE
    try:
        client, job = submit(remote or LOCAL, command, environment(bool(remote)), patience)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        hint = "" if remote else "; `make stop` ends all of Ray on this machine, then try again"
        print(f"{remote or LOCAL} took no job: {error}{hint}", file=sys.stderr)
        return REFUSED
    print(f"job {job}", flush=True)
    try:
        asyncio.run(follow(client, job))
        status = client.get_job_status(job)
    except KeyboardInterrupt:
        client.stop_job(job)
        print(f"\n{RESUME}", flush=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a lost head ends the stream in many ways
        reason = type(error).__name__
        print(
            f"\nThe connection to the job was lost ({reason}). Run the same command to resume.",
            file=sys.stderr,
        )
        return FAILED
    if status != JobStatus.SUCCEEDED:
        print(f"\nthe job ended as {status.value}", file=sys.stderr)
        return FAILED
    return DONE
