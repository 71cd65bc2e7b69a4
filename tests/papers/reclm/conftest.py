"""The fixtures of a small RecLM run, for these tests only."""

from tests.support.one_process import one_process
from tests.support.reclm_bench import bench, config, tokenizer

__all__ = ["bench", "config", "one_process", "tokenizer"]
