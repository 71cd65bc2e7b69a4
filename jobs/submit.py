"""Submit a job to a cluster and follow it; `make pipeline` calls this.

    python jobs/submit.py [--job full_pipeline] [options of the job]
    python jobs/submit.py --job reclm_pipeline [options of the job]

With RAY_ADDRESS set, the code is uploaded and runs there, and --out and --data-dir must be reachable from there. Without it, a
Ray head is started here if none runs, and the job uses this folder as it is.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

import psutil
from _start import ROOT
from options import configuration, parser, reclm_configuration, reclm_parser

from raypipe.cluster.session import listens
from raypipe.errors import ConfigError, RaypipeError

LOCAL = "http://127.0.0.1:8265"
#: seconds in which a head of this machine must take a job
PATIENCE = 60.0
UPLOAD = {"working_dir": str(ROOT), "excludes": [".venv", "runs", ".git", "**/__pycache__"]}


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
    return subprocess.run([str(ray), *arguments], capture_output=True, text=True)


def make_token() -> None:
    """Give this user a token for Ray's heads, where there is none: `ray start`, unlike `ray.init`, makes none itself."""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        done = _ray("get-auth-token", "--generate")
        if done.returncode:
            raise ConfigError(
                f"no token for a Ray head could be made: {done.stderr.strip().splitlines()[-1]}",
                "ray get-auth-token --generate",
                "make ~/.ray writable, or set RAY_AUTH_TOKEN",
            )


def start_head() -> None:
    """Start a Ray head on this machine, reachable from this machine only."""
    print("starting a Ray head on this machine (stop it with `make stop`)", flush=True)
    make_token()
    # a free port for the agent that takes jobs: the usual one may be that of another Ray session on this machine
    agent = "--dashboard-agent-listen-port=0"
    done = _ray("start", "--head", "--dashboard-host=127.0.0.1", agent, "--disable-usage-stats")
    if done.returncode:
        raise ConfigError(
            f"no Ray head could be started: {(done.stderr or done.stdout).strip().splitlines()[-1]}",
            "ray start --head",
            "stop what is left of an old one with `make stop`, then try again",
        )


def submit(
    address: str, entrypoint: str, runtime_env: dict[str, Any], patience: float
) -> tuple[Any, str]:
    """A client of the head at `address`, and the job that it took.

    A head that has just started answers some seconds before it takes jobs, on a busy machine many: it has `patience` seconds.
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
    """End a job server whose head was killed: it answers, and does nothing. All other Ray sessions are left alone."""
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
            for one in [*process.children(recursive=True), process]:
                one.kill()
            process.wait(10)


def arguments(job: str, argv: list[str]) -> list[str]:
    """This command's arguments, checked as the job will check them, with local paths made absolute."""
    config: Any
    if job == "reclm_pipeline":
        from raypipe.papers.reclm.config_checks import check as check_reclm

        options, rest = reclm_parser("Submit RecLM.").parse_known_args(argv)
        config, out = reclm_configuration(options)
        check_reclm(config)
    else:
        from raypipe.papers.llama4rec.config_checks import check

        options, rest = parser("Submit the main job.").parse_known_args(argv)
        config, out = configuration(options)
        check(config)
    given = {**vars(options), "out": out if "://" in out else str(Path(out).expanduser().resolve())}
    if options.preset and Path(options.preset).is_file():
        given["preset"] = str(Path(options.preset).resolve())
    if given["data_dir"]:
        given["data_dir"] = config.data.dir
    made: list[str] = []
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                made += [f"--{name.replace('_', '-')}", str(one)]
    for name in ("source", "keep"):
        value = getattr(config.llm, name, None)
        if value and value != "embedded" and Path(value).expanduser().is_dir():
            made += [
                "--set",
                f"llm.{name}={Path(value).expanduser().resolve()}",
            ]  # the last --set wins
    return made + rest


async def follow(client: object, job: str) -> None:
    """Print the job's log until it ends, less what Ray says of its own set-up."""
    async for text in client.tail_job_logs(job):  # type: ignore[attr-defined]
        for line in text.splitlines(keepends=True):
            if not any(
                part in line
                for part in ("job_manager.py", "logging.cc", "Running entrypoint", "(raylet)")
            ):
                print(line, end="", flush=True)


def main() -> int:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("--job", choices=("full_pipeline", "reclm_pipeline"), default="full_pipeline")
    chosen, argv = p.parse_known_args()
    job_name = chosen.job
    try:
        passed = arguments(job_name, argv)
        remote = os.environ.get("RAY_ADDRESS")
        if not remote:
            end_leftover()
            if not head_answers():
                start_head()
    except RaypipeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    from ray.job_submission import JobStatus

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(
        logging.WARNING
    )  # it announces that a log has ended
    file = f"jobs/{job_name}.py"
    python, script = ("python", file) if remote else (sys.executable, str(ROOT / file))
    environment: dict[str, Any] = dict(UPLOAD) if remote else {"env_vars": {}}
    try:
        client, job = submit(
            remote or LOCAL,
            shlex.join([python, script, *passed]),
            environment,
            0 if remote else PATIENCE,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        hint = "" if remote else "; `make stop` ends all of Ray on this machine, then try again"
        print(f"{remote or LOCAL} took no job: {error}{hint}", file=sys.stderr)
        return 2
    print(f"job {job}", flush=True)
    try:
        asyncio.run(follow(client, job))
        status = client.get_job_status(job)
    except KeyboardInterrupt:
        client.stop_job(job)
        print("\nstopped; the same command continues where it was", flush=True)
        return 130
    except Exception as error:  # noqa: BLE001 - a lost head ends the stream in many ways
        print(
            f"\nthe connection to the job was lost ({type(error).__name__}); the same command continues it",
            file=sys.stderr,
        )
        return 1
    if status != JobStatus.SUCCEEDED:
        print(f"\nthe job ended as {status.value}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
