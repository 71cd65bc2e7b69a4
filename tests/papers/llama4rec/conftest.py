"""What a small run of Llama4Rec in this process needs, for this room alone."""

from tests.support.one_process import one_process

__all__ = ["one_process"]
