"""A stand-in for tests: answers by a rule of hashes, without a model. It never claims to be an LLM; reports name it."""

from __future__ import annotations

import re
import time
from typing import Any

import pandas as pd

from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import completion
from raypipe.seeding import derive


def script(row: Any) -> dict[str, Any]:
    """Pseudo-random but fixed log-probabilities of each option."""
    scores = [-(derive(0, row.prompt, o) % 10_000) / 1000 for o in row.options]
    words = len(row.prompt.split())
    if row.mode == "form" and len(row.options):  # an order of candidates, the best first
        places = 1 + int(row.pattern.rpartition("{")[2][:-1])
        order = sorted(range(len(scores)), key=lambda n: -scores[n])[:places]
        return completion(
            row.prompt_id,
            ",".join(row.options[n] for n in order),
            [],
            words,
            len(order),
            time.time(),
        )
    if row.mode == "form":
        return completion(row.prompt_id, formed(row.prompt, row.pattern), [], words, 8, time.time())
    if row.mode == "choose":
        best = max(range(len(scores)), key=scores.__getitem__)
        return completion(row.prompt_id, row.options[best], [], words, 1, time.time())
    return completion(row.prompt_id, "", scores, words, 1, time.time())


def formed(prompt: str, form: str) -> str:
    """An answer in the form of profiles.pattern, with words of the prompt."""
    known = sorted(
        {w for w in re.findall(r"[a-z]{4,12}", prompt.lower())}, key=lambda w: derive(0, prompt, w)
    ) or ["anything"]
    head, _, tail = form.replace("\\.", ".").partition("; ")
    parts = [
        part[: part.index("[")] + ", ".join(known[n : n + 2] or known[:1])
        for n, part in enumerate((head, tail))
    ]
    return "; ".join(parts) + "."


class Engine:
    """Answers rows in Ray Data tasks."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.config = config

    def apply(self, prompts: Any) -> Any:
        def answer(batch: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame([script(row) for row in batch.itertuples()])

        return prompts.map_batches(answer, batch_format="pandas", batch_size=self.config.batch_size)
