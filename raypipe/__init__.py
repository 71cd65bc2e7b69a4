"""raypipe: LLM-augmented recommendations on Ray, from an interaction log to a served model.

    run = raypipe.run("llama4rec", out="runs/toy")
    raypipe.Recommender(run.bundle).recommend(user_id="u0003", k=5)

`import raypipe` imports nothing else: each public name is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raypipe.data.dataset import Dataset
    from raypipe.papers.face import Recommender, Run, load_config, run
    from raypipe.serving.local import serve

__version__ = "0.1.0"
__all__ = ["Dataset", "Recommender", "Run", "load_config", "run", "serve"]


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name == "Dataset":
        from raypipe.data.dataset import Dataset

        return Dataset
    if name == "serve":
        from raypipe.serving.local import serve

        return serve
    if name in __all__:
        from raypipe.papers import face

        return getattr(face, name)
    raise AttributeError(f"module 'raypipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
