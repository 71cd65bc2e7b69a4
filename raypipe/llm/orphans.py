"""A vLLM plugin: the processes of an engine end when the process that started them ends.

If its parent is killed with SIGKILL, vLLM's engine core waits for work for ever and keeps its
memory. The entry point `vllm.general_plugins` in pyproject.toml makes vLLM call `watch` in each of
its processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def watch() -> None:
    """End this process when its parent ends; do nothing if no Python process started it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="raypipe-orphans", daemon=True).start()
