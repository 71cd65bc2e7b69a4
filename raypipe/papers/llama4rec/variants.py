"""The variants that are compared (L38, L44), and what each is made of.

A wave is one set of re-ranking prompts and their answers. `base` needs none; `wo_aa` mixes the
answers of `llama4rec` with one weight for all users (L26).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Wave(NamedTuple):
    """Where a variant's prompts and answers come from.

    Attributes:
        llm: `augmented` was tuned on prompts with the similar user and the conventional prediction
            and reads such prompts, `plain` on prompts without (L17).
        models: the conventional models, as stages are called: `base`, or fitted on data that the
            LLM augmented.
        mixed: whether answers are mixed with the conventional ones (eq. 6); else the LLM alone
            decides.
    """

    llm: str
    models: str
    mixed: bool

    @property
    def hints(self) -> bool:
        """Whether prompts hold the similar user and the conventional prediction."""
        return self.llm == "augmented"

    @property
    def suffix(self) -> str:
        """What tells the plain LLM's data augmentation from that of the other in the names of
        stages.
        """
        return "_plain" if self.llm == "plain" else ""


#: without prompt augmentation there is no LLM that was tuned with it, so `wo_pa` augments data with
#: the plain one, too
WAVES = {
    "ift": Wave("plain", "base", mixed=False),
    "wo_da": Wave("augmented", "base", mixed=True),
    "wo_pa": Wave("plain", "augmented_plain", mixed=True),
    "llama4rec": Wave("augmented", "augmented", mixed=True),
}


def waves(variants: Sequence[str]) -> dict[str, Wave]:
    """The waves that some variants need."""
    return {name: wave for name, wave in WAVES.items() if name in variants}


def source(variant: str) -> str:
    """The wave whose answers a variant uses."""
    return "llama4rec" if variant == "wo_aa" else variant


def models_of(variant: str) -> str:
    """The backbones of a variant, as stages are called."""
    return "base" if variant == "base" else WAVES[source(variant)].models
