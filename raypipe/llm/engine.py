"""What an engine is: PROMPTS rows in, COMPLETIONS rows with the same ids out.

An engine is a file of this folder with a class `Engine(model, config)`; `model` is the folder or
hub id of the LLM. Prompts that do not fit the context get an empty answer and no log-probabilities;
parsers reject them as "no_answer".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raypipe import extras
from raypipe.llm.config import EngineConfig

if TYPE_CHECKING:
    from raypipe.cluster.ray_data import Dataset

#: log-probabilities are rounded: the last bits of a sum depend on the batch and must not decide
DECIMALS = 4

#: the rule by which options are scored (option_tree.py); another number forgets cached answers
SCORING = 2

#: the most tokens of an answer in mode "form"; longer ones are cut off, and parsers reject them
FORM_TOKENS = 256


#: bytes of weights up to which an LLM is small: a machine may hold it several times
SMALL = 200 * 2**20


def is_small(model: str) -> bool:
    """Whether a folder holds a small LLM; one that is still to be fetched counts as large."""
    size = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    return 0 < size < SMALL


class PromptRow(Protocol):
    """A PROMPTS row as `DataFrame.itertuples` gives it."""

    @property
    def prompt_id(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    @property
    def mode(self) -> str: ...

    @property
    def pattern(self) -> str: ...

    @property
    def options(self) -> Sequence[str]: ...


class Engine(Protocol):
    """An engine over a model."""

    def apply(self, prompts: Dataset) -> Dataset:
        """A dataset of PROMPTS rows as one of COMPLETIONS rows; nothing runs before it is read."""
        ...


def check_installed(config: EngineConfig) -> None:
    """Refuse an engine whose package is not installed.

    Raises:
        ConfigError: names the extra to install.
    """
    if config.name == "vllm":
        extras.need("vllm", "llm.engine.name=vllm", "set llm.engine.name=transformers")


def make_engine(model: str, config: EngineConfig) -> Engine:
    """The configured engine. Heavy imports happen here and not before."""
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
    prompt_id: str,
    answer: str,
    logprobs: Sequence[float],
    tokens_in: int,
    tokens_out: int,
    finished_at: float,
) -> dict[str, Any]:
    """A COMPLETIONS row; `finished_at` in seconds since the epoch."""
    return {
        "prompt_id": prompt_id,
        "answer": answer,
        "logprobs": [round(float(value), DECIMALS) for value in logprobs],
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "finished_at": finished_at,
    }
