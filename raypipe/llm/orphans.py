"""A plugin of vLLM: the processes of an engine end with the one that started them.

vLLM's engine core waits for work for ever when its parent is killed with SIGKILL, and keeps its memory. The entry point
`vllm.general_plugins` in pyproject.toml makes vLLM call `watch` in each of its processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def watch() -> None:
    """End this process as soon as its parent has; nothing where no Python process started it."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="raypipe-orphans", daemon=True).start()
