"""What the LLM was asked and answered, for the page: data augmentation as it comes, and the users whom aggregation moved most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from raypipe.backbones import registry
from raypipe.cluster import ray_data
from raypipe.data.dataset import Dataset
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.schema import ITEM, TITLE, USER

#: candidates of a sample that are shown, beside the target
SHOWN = 10
#: options of a prompt that are shown, the most probable first
OPTIONS = 5


def samples(
    config: Llama4RecConfig,
    of: Callable[[str], Path],
    chosen: Sequence[dict[str, Any]],
    each: int = 2,
) -> list[dict[str, Any]]:
    """`each` prompts of each template of data augmentation; of re-ranking and rating, for each backbone, the test users of the
    first seed whose target the mixing moved most up and most down, or whose error it made smaller and larger.

    Args:
        of: name of a stage -> its output.
        chosen: what was chosen for Llama4Rec on validation, one for each backbone.

    Returns:
        for each its id, `about` (why it is shown), prompt, options (text, and log-probability or None) best first, the columns of
        a table of the candidates in final order, and its lines (first: whether it is the target).
    """
    asked, got = _asked(of, "augment")
    made = [
        _sample(row, got, "")
        for row in asked.sort_values("prompt_id").groupby("template").head(each).itertuples()
    ]
    waves = {name: _asked(of, name) for name in ("llama4rec", "llama4rec-pointwise")}
    items = Dataset.load(of("data")).items
    titles = dict(zip(items[ITEM], items[TITLE], strict=True))
    for choice in chosen:
        task, backbone, template = choice["task"], choice["backbone"], choice["ranking"]
        frame = pd.read_parquet(
            of("evaluate") / f"seed{config.seed}" / f"{task}.{backbone}.llama4rec.parquet"
        )
        asked, got = waves[
            "llama4rec" if task == "rating" or template == "listwise" else "llama4rec-pointwise"
        ]
        own = asked[
            asked["prompt_id"].str.startswith(f"{config.seed}/{backbone}/{template}/{task}/test/")
        ]
        for about, user in _moved(frame, task).items():
            # one prompt a user; where candidates are asked in chunks or one by one, the first
            of_user = own[
                [_user(prompt_id, template, task) == user for prompt_id in own["prompt_id"]]
            ]
            for row in of_user.head(1).itertuples():
                told = f"{registry.title(backbone)}, {about}" + (
                    f", the first of {len(of_user)} prompts" * (len(of_user) > 1)
                )
                made.append(
                    _sample(row, got, told) | _outcome(frame[frame[USER] == user], task, titles)
                )
    return made


def _asked(of: Callable[[str], Path], wave: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The prompts of a wave, and its completions by id."""
    got = pd.read_parquet(of(f"completions/{wave}") / "completions.parquet").set_index("prompt_id")
    asked = ray_data.read_finished(str(of(f"prompts/{wave}") / "prompts"))
    return asked if len(asked) else pd.DataFrame(columns=["prompt_id", "template"], dtype=str), got


def _user(prompt_id: str, template: str, task: str) -> str:
    """Who a test prompt is about: seed/backbone/template/task/test/, then user (rating), chunk/user or user/item number."""
    rest = prompt_id.split("/", 5)[5]
    return (
        rest
        if task == "rating"
        else rest.partition("/")[2]
        if template == "listwise"
        else rest.rpartition("/")[0]
    )


def _sample(row: Any, got: pd.DataFrame, about: str) -> dict[str, Any]:
    answer = got.loc[row.prompt_id]
    if len(answer["logprobs"]):
        told = (
            {"text": o.strip(), "value": float(v)}
            for o, v in zip(row.options, answer["logprobs"], strict=True)
        )
        options = sorted(told, key=lambda o: -o["value"])
    else:
        options = [{"text": answer["answer"].strip() or "(no answer)", "value": None}]
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
            ("whose error the LLM made smaller most", "whose error the LLM made larger most"),
        )
    else:
        hits = frame[frame[ITEM] == frame["target"]]
        # from place 3 to 1 is more than from 19 to 10
        better, users = 1 / hits["rank"] - 1 / hits["rank_rec"], hits[USER]
        what = ("whose target the LLM brought up most", "whose target the LLM took down most")
    shown = {}
    if len(better) and better.max() > 0:
        shown[what[0]] = users.loc[better.idxmax()]
    if len(better) and better.min() < 0:
        shown[what[1]] = users.loc[better.idxmin()]
    return shown


def _outcome(own: pd.DataFrame, task: str, titles: dict[str, str]) -> dict[str, Any]:
    """One user's test rows as columns and lines."""
    if task == "rating":
        columns = ["item", "backbone", "LLM", "LLM's weight", "final", "true"]
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
    columns = ["candidate", "place by the backbone", "by the LLM", "final", "LLM's weight"]
    lines = [
        (r.item_id == r.target, titles[r.item_id], r.rank_rec, r.rank_llm, r.rank, f"{r.alpha:.2f}")
        for r in own.itertuples()
    ]
    return {"columns": columns, "lines": lines}
