"""From completions to ranks: what the LLM says of each candidate, beside what the conventional model says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from raypipe import aggregation
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import listwise, pointwise

COLUMNS = ["seed", "backbone", "template", "task", "split", "user_id", "item", "value"]


def values(answered: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """The LLM's value of each candidate, larger is better, and the rejected answers by kind.

    Args:
        answered: prompts with completions; a prompt_id is seed/backbone/template/task/split/user[/item number].

    Returns:
        COLUMNS frame: `item` is an item id (listwise), a row number (pointwise candidates) or "" (rating task); `value` a
        log-probability or an expected rating.
    """
    rejected: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
    for row in answered.itertuples():
        number, *about, rest = row.prompt_id.split("/", 5)
        about = [int(number), *about]
        template, task = about[2], about[3]
        completion = Completion(row.answer, list(row.logprobs))
        got: Any
        if template == "listwise":
            got = listwise.parse(completion, list(row.options), list(row.payload))
            if not isinstance(got, Rejected):
                rows += [(*about, rest, item, value) for item, value in got]
        else:
            user, _, item = rest.rpartition("/") if task != "rating" else (rest, "", "")
            got = pointwise.parse(completion, list(row.options), list(row.payload))
            if not isinstance(got, Rejected):
                rows.append((*about, user, item, got))
        if isinstance(got, Rejected):
            rejected[got.kind] += 1
    return pd.DataFrame(rows, columns=COLUMNS), rejected


def utilities(
    lists: pd.DataFrame, said: pd.DataFrame, item_number: dict[str, int], k_prime: int, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """([U, K], [U, K]) what the LLM and what the conventional model say of each candidate, in conventional order.

    A user whose answer was rejected gets the conventional utilities twice, so that nothing is made up (LO23).

    Args:
        lists: LISTS rows of the users.
        said: what `values` gave for them.
        kind: of `aggregation.utility`.
    """
    by_id = dict(zip(zip(said["user_id"], said["item"], strict=True), said["value"], strict=True))
    rec = np.stack([np.asarray(scores)[:k_prime] for scores in lists["scores"]]).astype(float)
    llm = rec.copy()
    for row, (user, items) in enumerate(zip(lists["user_id"], lists["items"], strict=True)):
        found = [by_id.get((user, i), by_id.get((user, str(item_number[i])))) for i in items[:k_prime]]
        if not any(v is None for v in found):
            llm[row] = found
    if kind == "position":
        return aggregation.by_position(llm), aggregation.by_position(rec)
    return llm, rec
