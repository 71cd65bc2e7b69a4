"""The paper's tables and figures as runs (L42 to L47): each run is a set of settings over those
that the user gives.

All runs of one output folder share their artifacts. Their LLM learns all three tasks, whichever
task is measured (L28), so it is tuned once and serves all of them, unless the experiment is about
the LLM itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from raypipe.errors import ConfigError
from raypipe.papers.llama4rec.config import VARIANTS, Llama4RecConfig

#: backbones whose hints the LLM of all experiments learns from
HINTS = {"direct": ["light_gcn"], "sequential": ["sasrec"], "rating": ["deepfm"]}
DIRECT = ["mf", "light_gcn", "mix_gcf", "sgl"]
SEQUENTIAL = ["sasrec", "bert4rec", "cl4srec"]
RATING = ["deepfm", "nfm", "dcn", "afm", "xdeepfm", "autoint"]


class Run(NamedTuple):
    """One run of an experiment.

    Attributes:
        label: its folder below that of the experiment; "" where there is one run.
        settings: dotted settings.
        scaled: dotted setting -> factor on what the user gave.
    """

    label: str
    settings: dict[str, Any]
    scaled: dict[str, float] = {}


class Experiment(NamedTuple):
    """What is shown, and the runs that it takes.

    Attributes:
        other: the setting of another LLM that is shown beside ours; the runs of other experiments
            ask none.
        needs: whether there is nothing to show without it.
    """

    title: str
    runs: tuple[Run, ...]
    other: str = ""
    needs: bool = False


def _of(task: str, backbones: list[str], variants: tuple[str, ...] = VARIANTS) -> dict[str, Any]:
    return {"tasks": [task], "backbones": {task: backbones}, "variants": list(variants)}


_LLM = {
    "tasks": ["direct", "sequential"],
    "backbones": {"direct": ["light_gcn"], "sequential": ["sasrec"]},
    "variants": ["ift"],
}

EXPERIMENTS = {
    "table2": Experiment("Table II: direct recommendation", (Run("", _of("direct", DIRECT)),)),
    "table4": Experiment(
        "Table IV: sequential recommendation", (Run("", _of("sequential", SEQUENTIAL)),)
    ),
    "table5": Experiment("Table V: rating prediction", (Run("", _of("rating", RATING)),)),
    "table6": Experiment(
        "Table VI: ablation with LightGCN", (Run("", _of("direct", ["light_gcn"])),)
    ),
    "figure4": Experiment(
        "Figure 4: alpha_1 and alpha_2 with LightGCN",
        (Run("", _of("direct", ["light_gcn"], ("base", "llama4rec"))),),
    ),
    "figure5": Experiment(
        "Figure 5: two sizes of the LLM",
        (
            Run("smaller", _LLM),
            Run(
                "larger", _LLM, {"llm.embedded.hidden_size": 2, "llm.embedded.intermediate_size": 2}
            ),
        ),
    ),
    "figure6": Experiment(
        "Figure 6: number of tuning instructions",
        tuple(
            Run(f"{share:.0%}".rstrip("%") + "-percent", _LLM, {"llm.tune.instructions": share})
            for share in (0.1, 0.5, 1.0)
        ),
    ),
    "figure7": Experiment(
        "Figure 7: the same tasks put to another LLM",
        (Run("", _of("sequential", ["cl4srec"], ("base", "llama4rec"))),),
        other="external_llm",
        needs=True,
    ),
    "figure8": Experiment(
        "Figure 8: are generated attributes right?",
        (Run("", _of("rating", ["deepfm"], ("base", "llama4rec"))),),
        other="judge",
    ),
}


def able(name: str, given: Llama4RecConfig) -> bool:
    """Whether the user gave what an experiment needs."""
    return not EXPERIMENTS[name].needs or getattr(given, EXPERIMENTS[name].other) is not None


def without_others(name: str, config: Llama4RecConfig) -> Llama4RecConfig:
    """The configuration of a run of the experiment, without the LLMs that only other experiments
    show.
    """
    return config.model_copy(
        update={key: None for key in {"external_llm", "judge"} - {EXPERIMENTS[name].other}}
    )


def settings(run: Run, given: Llama4RecConfig) -> dict[str, Any]:
    """The run's settings over `given`, with dotted keys.

    Raises:
        ConfigError: the size of a given LLM cannot be scaled.
    """
    if given.llm.source != "embedded" and any(key.startswith("llm.embedded") for key in run.scaled):
        raise ConfigError(
            "a given LLM has the size it has",
            f"--llm {given.llm.source}",
            "run the tables with each of two LLMs, and compare.py",
        )
    made = {"llm.tune.backbones": HINTS, **run.settings}
    for key, factor in run.scaled.items():
        value: Any = given
        for part in key.split("."):
            value = getattr(value, part)
        made[key] = max(1, round(value * factor))
    return made
