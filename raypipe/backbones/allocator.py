"""Keeps the memory that training frees, so that the next step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import functools

#: glibc's malloc.h, mallopt(3): parameter -> value; a block of 32 MiB is the largest that the heap may hold
SETTINGS = {
    -3: 32 << 20,
    -1: 2**31 - 1,
    -2: 64 << 20,
}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD


@functools.cache
def keep_freed() -> bool:
    """Let malloc reuse large blocks in place of mapping each anew, for the rest of this process; True where that is possible.

    A step frees and asks for the same tensors of some MB again and again. By default glibc gives them back to the kernel, which
    clears every page before it is used anew: a third of the time of some backbones on a CPU (docs/backbones.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    return all([mallopt(name, value) for name, value in SETTINGS.items()])
