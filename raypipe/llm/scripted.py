"""An engine for tests: it computes answers from hashes and loads no model. Reports name it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import PromptRow, completion
from raypipe.seeding import derive

if TYPE_CHECKING:
    from raypipe.cluster.ray_data import Dataset


def script(row: PromptRow) -> dict[str, Any]:
    """The COMPLETIONS row of a prompt: pseudo-random, and the same at each call."""
    tokens_in = len(row.prompt.split())
    scores = [-(derive(0, row.prompt, option) % 10_000) / 1000 for option in row.options]
    if row.mode == "score":
        return completion(row.prompt_id, "", scores, tokens_in, 1, time.time())
    if row.mode == "choose":
        best = max(range(len(scores)), key=scores.__getitem__)
        return completion(row.prompt_id, row.options[best], [], tokens_in, 1, time.time())
    if row.mode == "form" and len(row.options):  # a ranking of some options, the best first
        number = 1 + int(row.pattern.rpartition("{")[2][:-1])
        best_first = sorted(range(len(scores)), key=lambda option: -scores[option])
        named = [row.options[option] for option in best_first[:number]]
        return completion(row.prompt_id, ",".join(named), [], tokens_in, len(named), time.time())
    if row.mode == "form":
        answer = profile(row.prompt, row.pattern)
        return completion(row.prompt_id, answer, [], tokens_in, 8, time.time())
    return completion(row.prompt_id, "", scores, tokens_in, 1, time.time())


def profile(prompt: str, pattern: str) -> str:
    """An answer that matches profiles.pattern, made of words of the prompt."""
    distinct = set(re.findall(r"[a-z]{4,12}", prompt.lower()))
    words = sorted(distinct, key=lambda word: derive(0, prompt, word)) or ["anything"]
    head, _, tail = pattern.replace("\\.", ".").partition("; ")
    parts = []
    for number, part in enumerate((head, tail)):
        chosen = words[number : number + 2] or words[:1]
        parts.append(part[: part.index("[")] + ", ".join(chosen))
    return "; ".join(parts) + "."


class Engine:
    """Answers rows in Ray Data tasks."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.config = config

    def apply(self, prompts: Dataset) -> Dataset:
        def answer(batch: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame([script(row) for row in batch.itertuples()])

        return prompts.map_batches(answer, batch_format="pandas", batch_size=self.config.batch_size)
