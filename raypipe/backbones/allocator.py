"""Keep freed memory in the process, so that the next training step can reuse it."""

from __future__ import annotations

import ctypes
import functools

#: glibc's malloc.h, mallopt(3): parameter -> value; blocks of up to 32 MiB stay in the heap
SETTINGS = {
    -3: 32 << 20,
    -1: 2**31 - 1,
    -2: 64 << 20,
}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


@functools.cache
def keep_freed() -> bool:
    """Let malloc reuse large blocks for the rest of this process; False where that is impossible.

    A training step frees and allocates the same tensors of some MB again and again. By default
    glibc returns them to the kernel, which clears every page before its next use. For some
    backbones this takes a third of the time on a CPU (docs/backbones.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    return all([mallopt(name, value) for name, value in SETTINGS.items()])
