"""Sample prompts and answers of the LLM for the report: data augmentation, and the users whom
mixing moved most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from raypipe.backbones import registry
from raypipe.cluster import ray_data
from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.llm_scores import LISTWISE
from raypipe.papers.llama4rec.mixing import Choice
from raypipe.papers.llama4rec.prompt_requests import IDENTITY
from raypipe.schema import ITEM, TITLE, USER

#: candidates of a sample that are shown, beside the target
SHOWN = 10
#: options of a prompt that are shown, the most probable first
OPTIONS = 5


#: template of data augmentation -> what its prompts ask
ASKED = {
    "attribute": "data augmentation: the missing attribute of an item",
    "pair": "data augmentation: which of two items the user prefers",
    "pick": "data augmentation: which item of a list the user prefers",
}


class _Wave(NamedTuple):
    """The prompts of a wave, and its completions by prompt_id."""

    prompts: pd.DataFrame
    completions: pd.DataFrame

    def about(self, choice: Choice, seed: int) -> pd.DataFrame:
        """The test prompts of a backbone, by the ranking that was chosen for it."""
        prompts = self.prompts
        listwise = choice["ranking"] == "listwise"
        rows = prompts["template"].isin([*LISTWISE] if listwise else ["pointwise"])
        rows &= prompts["seed"].eq(seed) & prompts["backbone"].eq(choice["backbone"])
        rows &= prompts["task"].eq(choice["task"]) & prompts["split"].eq("test")
        return prompts[rows]


def samples(
    config: Llama4RecConfig,
    artifact: Callable[[str], Path],
    chosen: Sequence[Choice],
    each: int = 2,
) -> list[dict[str, Any]]:
    """Some prompts of each template of data augmentation, and of each backbone's re-ranking or
    rating.

    Of re-ranking they are about the test users of the first seed whose target the mixing moved most
    up and most down, of rating about those whose error it made smaller and larger.

    Args:
        artifact: name of a stage -> its output.
        chosen: what validation chose for Llama4Rec, one for each backbone.
        each: prompts of a template of data augmentation.

    Returns:
        for each its id, `about` (why it is shown), prompt, options (text, and log-probability or
        None) best first, the columns of a table of the candidates in final order, and its lines
        (first: whether it is the target).
    """
    augmentation = _read_wave(artifact, "augment")
    shown = []
    by_template = augmentation.prompts.sort_values("prompt_id").groupby("template")
    for row in by_template.head(each).itertuples():
        shown.append(_sample(row, augmentation.completions, ASKED.get(str(row.template), "")))
    items = Dataset.load(artifact("data")).items
    titles = dict(zip(items[ITEM], items[TITLE], strict=True))
    for choice in chosen:
        wave = _read_wave(artifact, _wave_name(choice))
        prompts = wave.about(choice, config.seed)
        file = f"{choice['task']}.{choice['backbone']}.llama4rec.parquet"
        frame = pd.read_parquet(artifact("evaluate") / f"seed{config.seed}" / file)
        for reason, user in _moved(frame, choice["task"]).items():
            # one prompt a user; where candidates take several prompts, the first
            of_user = prompts[prompts[USER] == user]
            for row in of_user.head(1).itertuples():
                title = registry.title(choice["backbone"])
                about = f"{choice['task']}, {title}: user {user}, {reason}"
                if len(of_user) > 1:
                    about += f" (the first of {len(of_user)} prompts)"
                outcome = _outcome(frame[frame[USER] == user], choice["task"], titles)
                shown.append(_sample(row, wave.completions, about) | outcome)
    return shown


def _wave_name(choice: Choice) -> str:
    """The wave whose prompts a backbone's test lists were ranked by."""
    listwise = choice["task"] == "rating" or choice["ranking"] == "listwise"
    return "llama4rec" if listwise else "llama4rec-pointwise"


def _read_wave(artifact: Callable[[str], Path], wave: str) -> _Wave:
    completions = pd.read_parquet(artifact(f"completions/{wave}") / "completions.parquet")
    prompts = ray_data.read_finished(str(artifact(f"prompts/{wave}") / "prompts"))
    if not len(prompts):
        prompts = pd.DataFrame(columns=["prompt_id", *IDENTITY], dtype=str)
    return _Wave(prompts, completions.set_index("prompt_id"))


def _sample(row: Any, completions: pd.DataFrame, about: str) -> dict[str, Any]:
    """A prompt with its answer.

    Args:
        row: a PROMPTS row, as itertuples gives it.
    """
    completion = completions.loc[row.prompt_id]
    options: list[dict[str, Any]] = []
    if len(completion["logprobs"]):
        for option, value in zip(row.options, completion["logprobs"], strict=True):
            options.append({"text": option.strip(), "value": float(value)})
        options.sort(key=lambda option: -option["value"])
    else:
        options.append({"text": completion["answer"].strip() or "(no answer)", "value": None})
    return {
        "id": row.prompt_id,
        "about": about,
        "prompt": row.prompt,
        "options": options[:OPTIONS],
        "columns": [],
        "lines": [],
    }


def _moved(frame: pd.DataFrame, task: str) -> dict[str, str]:
    """Why a user is shown -> the user; nobody where the LLM changed nothing in that direction."""
    if task == "rating":
        better = (frame["rec"] - frame["truth"]).abs() - (
            frame["prediction"] - frame["truth"]
        ).abs()
        users, what = (
            frame[USER],
            ("whose error the LLM reduced most", "whose error the LLM increased most"),
        )
    else:
        hits = frame[frame[ITEM] == frame["target"]]
        # from place 3 to 1 is more than from 19 to 10
        better, users = 1 / hits["rank"] - 1 / hits["rank_rec"], hits[USER]
        what = ("whose target the LLM moved up most", "whose target the LLM moved down most")
    shown = {}
    if len(better) and better.max() > 0:
        shown[what[0]] = users.loc[better.idxmax()]
    if len(better) and better.min() < 0:
        shown[what[1]] = users.loc[better.idxmin()]
    return shown


def _outcome(own: pd.DataFrame, task: str, titles: dict[str, str]) -> dict[str, Any]:
    """One user's test rows as columns and lines."""
    if task == "rating":
        columns = [
            "item",
            "backbone's rating",
            "LLM's rating",
            "LLM's weight",
            "final rating",
            "true",
        ]
        lines = [
            (
                True,
                titles[r.item_id],
                *(f"{v:.2f}" for v in (r.rec, r.llm, r.alpha, r.prediction)),
                f"{r.truth:g}",
            )
            for r in own.itertuples()
        ]
        return {"columns": columns, "lines": lines}
    own = own.sort_values("rank")
    own = own[(own["rank"] <= SHOWN) | (own[ITEM] == own["target"])]
    columns = ["candidate", "rank by the backbone", "rank by the LLM", "final rank", "LLM's weight"]
    lines = [
        (r.item_id == r.target, titles[r.item_id], r.rank_rec, r.rank_llm, r.rank, f"{r.alpha:.2f}")
        for r in own.itertuples()
    ]
    return {"columns": columns, "lines": lines}
