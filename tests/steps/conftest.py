"""Stages that need no cluster: what raypipe asks of Ray runs in this process."""

from tests.support.one_process import one_process

__all__ = ["one_process"]
