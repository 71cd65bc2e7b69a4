"""The bench of a RecLM run, for this room alone."""

from tests.support.reclm_bench import bench, config, tokenizer

__all__ = ["bench", "config", "tokenizer"]
