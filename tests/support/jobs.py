"""Jobs in processes of their own: run to the end, killed on the way, or serving."""

import contextlib
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.support.paths import ROOT


def environment():
    """A cluster of the test's own, whatever runs on this machine."""
    return {
        **{
            k: v
            for k, v in os.environ.items()
            if k not in ("PYTHONPATH", "RAY_ENABLE_AUTO_CONNECT", "OMP_NUM_THREADS")
        },
        "RAY_ADDRESS": "local",
    }


def start(out, log, command):
    """The job in a process group of its own: a kill takes Ray's head and all workers with it."""
    stream = open(log, "a")  # noqa: SIM115 - it lives as long as the process
    return subprocess.Popen(
        command(out),
        cwd=out.parent,
        stdout=stream,
        stderr=subprocess.STDOUT,
        env=environment(),
        start_new_session=True,
    )


def finish(out, log, command):
    code = start(out, log, command).wait(timeout=900)
    assert code == 0, Path(log).read_text()[-6000:]
    return json.loads((out / "report.json").read_text())


def kill_when(out, log, ready, what, command, sent=signal.SIGKILL):
    """Start the job, and send all of its processes a signal as soon as `ready()` says so.

    Returns:
        The exit code.
    """
    process = start(out, log, command)
    deadline = time.monotonic() + 900
    try:
        while not ready():
            assert process.poll() is None, (
                f"the job ended before {what}:\n{Path(log).read_text()[-4000:]}"
            )
            assert time.monotonic() < deadline, (
                f"never saw {what}:\n{Path(log).read_text()[-4000:]}"
            )
            time.sleep(0.01)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # or it would go on beside the next test
        raise
    # a small training would end while its processes are listed
    os.killpg(process.pid, signal.SIGSTOP)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, sent)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    code = process.wait(timeout=120)
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left, f"a killed run leaves processes behind: {[p.cmdline() for p in left]}"
    return code


@contextmanager
def serving(command, port, bundle, log):
    """A client of a server of a bundle.

    Args:
        command: starts the server; RAYPIPE_BUNDLE names the bundle.
    """
    with open(log, "w") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment(), "RAYPIPE_BUNDLE": str(bundle)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        for _ in range(180):
            assert process.poll() is None, log.read_text()[-4000:]
            try:
                if client.get("/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(1)
        yield client
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
