"""What an engine is: PROMPTS rows in, COMPLETIONS rows out, the same ids.

An engine is a file of this folder with a class `Engine(model, config)`:
  model   folder or hub id of the LLM
  apply(prompts: ray.data.Dataset) -> ray.data.Dataset with the columns of COMPLETIONS and `finished_at` (seconds)
Prompts that do not fit the context come back with an empty answer and no log-probabilities, and are rejected as "no_answer".
"""

from __future__ import annotations

from typing import Any, Protocol

from raypipe import extras
from raypipe.llm.config import EngineConfig

#: log-probabilities are rounded, so that the last bits of a sum, which depend on the batch, do not reach a result
DECIMALS = 4

#: tokens of an answer in mode "form"; longer ones are cut off, and rejected by their parser
FORM_TOKENS = 256


class Engine(Protocol):
    """An engine over a model."""

    def apply(self, prompts: Any) -> Any: ...


def check_installed(config: EngineConfig) -> None:
    """Refuse an engine whose package is not installed.

    Raises:
        ConfigError: names the extra to install.
    """
    if config.name == "vllm":
        extras.need("vllm", "llm.engine.name=vllm", "set llm.engine.name=transformers")


def make(model: str, config: EngineConfig) -> Engine:
    """The configured engine; heavy imports happen here and not before."""
    check_installed(config)
    if config.name == "vllm":
        from raypipe.llm import vllm

        return vllm.Engine(model, config)
    if config.name == "transformers":
        from raypipe.llm import transformers

        return transformers.Engine(model, config)
    from raypipe.llm import scripted

    return scripted.Engine(model, config)


def completion(
    prompt_id: str, answer: str, logprobs: list[float], tokens_in: int, tokens_out: int, at: float
) -> dict[str, Any]:
    """A COMPLETIONS row."""
    return {
        "prompt_id": prompt_id,
        "answer": answer,
        "logprobs": [round(float(v), DECIMALS) for v in logprobs],
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "finished_at": at,
    }
