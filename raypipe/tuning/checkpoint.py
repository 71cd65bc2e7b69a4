"""LLM folders in the Hugging Face format: checks before use, and saving with the tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
)


def check_source(source: str) -> None:
    """Refuse a local path that is not an LLM folder. Hub ids would need a network, and pass.

    Raises:
        ConfigError: what is missing in the folder.
    """
    path = Path(source).expanduser()
    if source == "embedded" or (
        not path.exists() and source.count("/") == 1 and not source.startswith((".", "/", "~"))
    ):
        return
    if not path.is_dir():
        raise ConfigError(
            f"there is no LLM folder {source}",
            "--llm",
            "give 'embedded', a folder, or a hub id such as org/name",
        )
    missing = []
    if not (path / "config.json").is_file():
        missing.append("config.json")
    if not any((path / f).is_file() for f in ("tokenizer.json", "tokenizer.model")):
        missing.append("tokenizer.json or tokenizer.model")
    if not list(path.glob("*.safetensors")):
        missing.append("*.safetensors (weights as pickles are not read)")
    if missing:
        raise ConfigError(
            f"{source} is not an LLM folder: it lacks {', '.join(missing)}",
            "--llm",
            "check the path",
        )


def save(
    model: PreTrainedModel, state: dict[str, torch.Tensor], source: Path, folder: Path
) -> None:
    """Write tuned weights as safetensors, with their config.

    Args:
        state: the weights; those of `model` itself are not read.
        source: the LLM's folder, whose tokenizer files are copied.
    """
    state = {name: values.contiguous() for name, values in state.items()}
    if getattr(model.config, "tie_word_embeddings", False):
        state.pop("lm_head.weight", None)
    model.save_pretrained(folder, state_dict=state)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy2(source / name, folder / name)
