"""Connects to Ray, and shows the progress lines that workers post."""

from __future__ import annotations

import logging
import os
import signal
import site
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import ray

import raypipe
from raypipe.errors import ConfigError, RaypipeError

BOARD = "raypipe-board"
Result = TypeVar("Result")
QUIET = {
    "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    # seconds between two looks at the workers of a training; a training ends at such a look
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}

#: For a head that starts here. An idle worker has its imports done, and the next task that it takes
#: starts at once; by default Ray ends it after a second if there are as many workers as CPUs, and
#: all actors count, also those of a waiting group of trainers.
KEEP_IDLE_WORKERS = {
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_num_workers_soft_limit": str((os.cpu_count() or 1) + 12),
    # Ray warns on the terminal at four times as many processes
    "RAY_worker_maximum_startup_concurrency": str((os.cpu_count() or 1) + 4),
}


#: set by Ctrl-C
_interrupted = threading.Event()
#: what to do before disconnecting
_at_end: list[Callable[[], None]] = []


def at_end(callback: Callable[[], None]) -> None:
    """Call a function before each disconnection."""
    _at_end.append(callback)


class Board:
    """An actor that holds the lines posted by workers until the driver fetches them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def post(self, line: str) -> None:
        self.lines.append(line)

    def drain(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def post(line: str) -> None:
    """Show a line of progress on the driver; does nothing without Ray or without a driver."""
    if not ray.is_initialized():  # a call would start Ray, or wait for a lost cluster
        return
    with suppress(ValueError):
        ray.get_actor(BOARD, namespace="raypipe").post.remote(line)


def resources() -> dict[str, float]:
    """The resources of the whole cluster, e.g. {"CPU": 2.0, "GPU": 0.0}."""
    return ray.cluster_resources()


def gpus() -> int:
    """GPUs of the cluster."""
    return int(resources().get("GPU", 0))


def capacity(devices: int = 1) -> int:
    """How many processes fit on the cluster at a time, each with `devices` GPUs of one node.

    Without GPUs, CPUs count instead.
    """
    kind = "GPU" if gpus() else "CPU"
    fit = sum(
        int(node["Resources"].get(kind, 0)) // devices for node in ray.nodes() if node["Alive"]
    )
    return fit or int(devices == 1)  # an autoscaling cluster may start without a node


def cpus_per_process(processes: int) -> int:
    """CPUs of each process when `processes` spread evenly over the nodes; at least one."""
    nodes = max(1, sum(bool(node["Alive"]) for node in ray.nodes()))
    return max(1, int(resources().get("CPU", 1)) // nodes // max(1, -(-processes // nodes)))


def address() -> str:
    """Where to connect: RAY_ADDRESS, else a head node on this machine, else "local".

    The head is the one that `ray start` recorded, if it still listens. "local" starts a new Ray.
    """
    if configured := os.environ.get("RAY_ADDRESS"):
        return configured
    record = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    try:
        recorded = record.read_text().strip()
    except OSError:
        return "local"
    # a killed head leaves its record behind, and Ray would try to reach it for minutes
    return recorded if listens(recorded) else "local"


def listens(head: str) -> bool:
    """Whether something listens at "host:port"."""
    try:
        host, port = head.rsplit(":", 1)
        socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
    except (OSError, ValueError):
        return False
    return True


def worker_path() -> dict[str, str]:
    """PYTHONPATH for Ray's workers, so that they import the same raypipe as this process.

    Empty if raypipe is installed as a wheel: workers run the same Python, which finds it. A source
    checkout comes first, before another raypipe that may be installed.
    """
    root = Path(raypipe.__file__).resolve().parents[1]
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    if str(root) in map(os.path.realpath, installed):
        return {}
    path = [str(root), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def thread_variables(cpus: float) -> dict[str, str]:
    """Environment variables for a process that computes with so many threads."""
    return {
        "OMP_NUM_THREADS": str(int(cpus)),
        # waiting threads must sleep: spinning ones slow down a machine whose cores are shared
        "OMP_WAIT_POLICY": "PASSIVE",
    }


@contextmanager
def connected(say: Callable[[str], None], log_to_driver: bool = False) -> Iterator[None]:
    """Connect to the cluster of `address`, or start Ray here; disconnect at the end.

    Args:
        say: prints the lines that workers post.
        log_to_driver: also forward all output of the workers, for debugging.
    """
    os.environ.update(QUIET)
    # Ray's C++ core would write its hints to the terminal
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    for name, value in KEEP_IDLE_WORKERS.items():
        os.environ.setdefault(name, value)
    head = address()
    try:
        ray.init(
            address=head,
            namespace="raypipe",
            log_to_driver=log_to_driver,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": {**QUIET, **worker_path()}},
            include_dashboard=False if head == "local" else None,
        )
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster answers: {error}",
            f"RAY_ADDRESS={os.environ.get('RAY_ADDRESS', '')}",
            "start it, or unset RAY_ADDRESS; `make stop` ends a local one",
        ) from error
    except ray.exceptions.AuthenticationError as error:
        raise ConfigError(
            "the Ray cluster refused the token, or got none",
            f"RAY_ADDRESS={head}",
            "set RAY_AUTH_TOKEN or ~/.ray/auth_token to what `ray get-auth-token` prints on its "
            "head node; if the cluster uses no tokens, set RAY_AUTH_MODE=disabled",
        ) from error
    board: Any = (
        ray.remote(Board)
        .options(name=BOARD, get_if_exists=True, num_cpus=0, max_concurrency=4)
        .remote()
    )
    stop = threading.Event()

    def show() -> None:
        while not stop.is_set():
            stop.wait(1.0)
            try:
                for line in ray.get(board.drain.remote(), timeout=30):
                    say(line)
            except Exception:  # noqa: BLE001 - progress must never break a run
                time.sleep(1)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        with _noticing_interrupts():
            yield
    finally:
        for callback in _at_end:
            with suppress(Exception):  # the cluster may be lost
                callback()
        stop.set()
        thread.join(timeout=5)
        ray.shutdown()


@contextmanager
def _noticing_interrupts() -> Iterator[None]:
    """Remember Ctrl-C: its KeyboardInterrupt is lost if it comes in a callback of Ray."""
    _interrupted.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt of an earlier Ctrl-C that did not end the run."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the body as KeyboardInterrupt, and restore the signal handler afterwards.

    Ray Train and Tune leave their own handlers behind, which would swallow the next Ctrl-C. Train
    also exits with SystemExit once its workers have stopped, as if nothing had happened.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def in_worker(
    function: Callable[..., Result], *arguments: object, cpus: float = 1, gpu: bool = False
) -> Result:
    """Run a function in one Ray worker, so that the driver holds no data.

    If the worker is lost, Ray tries again, three times at most.

    Args:
        gpu: reserve a GPU, if the cluster has any.

    Raises:
        RaypipeError: as the function raised it, without the worker's traceback.
    """
    task = ray.remote(num_cpus=cpus, num_gpus=min(1, gpus()) if gpu else 0, max_retries=3)(function)
    try:
        return ray.get(task.remote(*arguments))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RaypipeError):
            raise error.cause from None
        raise
