"""Ray Data in this process, for this room alone."""

from tests.support.one_process import one_process

__all__ = ["one_process"]
