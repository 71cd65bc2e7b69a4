"""The bench of a RecLM run, and a small run in this process, for this room alone."""

from tests.support.one_process import one_process
from tests.support.reclm_bench import bench, config, tokenizer

__all__ = ["bench", "config", "one_process", "tokenizer"]
