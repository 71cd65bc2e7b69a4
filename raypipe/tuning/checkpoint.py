"""LLM folders in the Hugging Face format: checks before use, and saving with the tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from raypipe.errors import ConfigError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
)


def check_source(source: str) -> None:
    """Refuse a local path that is not an LLM folder; hub ids cannot be checked without a network.

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
    lacking = []
    if not (path / "config.json").is_file():
        lacking.append("config.json")
    if not any((path / f).is_file() for f in ("tokenizer.json", "tokenizer.model")):
        lacking.append("tokenizer.json or tokenizer.model")
    if not list(path.glob("*.safetensors")):
        lacking.append("*.safetensors (weights as pickles are not read)")
    if lacking:
        raise ConfigError(
            f"{source} is not an LLM folder: it lacks {', '.join(lacking)}",
            "--llm",
            "check the path",
        )


def save(model: Any, state: dict[str, Any], tokenizer_from: Path, folder: Path) -> None:
    """Write tuned weights as safetensors, with config and the tokenizer's files copied from `tokenizer_from`."""
    tied = getattr(model.config, "tie_word_embeddings", False)
    state = {k: v.contiguous() for k, v in state.items() if not (tied and k == "lm_head.weight")}
    model.save_pretrained(folder, state_dict=state)
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copy2(tokenizer_from / name, folder / name)
