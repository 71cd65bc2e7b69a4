"""Leakage audit of a split: checks for what must not happen, and shares that the protocol allows.

Leakage means that training data holds information from the future or from the test part.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from raypipe.data.split import Split
from raypipe.schema import HELD, HIDDEN, ITEM, PART, POSITION, TIME, USER


def audit(split: Split) -> dict[str, float]:
    """Findings by name: counts that must be zero, and shares that a reader should know.

    Raises:
        AssertionError: the split breaks its own rules.
    """
    findings: dict[str, float] = {}
    for name, frame in (("top-k", split.topk), ("rating", split.rating)):
        repeated, early = _violations(name, frame)
        findings[f"{name}: pairs in two parts"] = repeated
        findings[f"{name}: validation or test rows older than a training row of their user"] = early
        ties = "test rows that share a timestamp with another row of their user, share"
        findings[f"{name}: {ties}"] = _ties(frame)
        later = "training rows of all users that are later than a test row, mean share"
        findings[f"{name}: {later}"] = _later(frame)
    leaked = _leaked_to_llm(split)
    assert not leaked, leaked
    findings["top-k validation and test rows among the ratings that the LLM may read"] = leaked
    return findings


def _violations(name: str, frame: pd.DataFrame) -> tuple[int, int]:
    """Repeated pairs and validation or test rows older than a training row; both must be zero."""
    repeated = int(frame.duplicated([USER, ITEM]).sum())
    evaluated = frame[frame[PART].isin(["validation", "test"])]
    several = int(evaluated.duplicated([USER, PART]).sum())
    newest = frame[frame[PART] == "train"].groupby(USER)[POSITION].max()
    early = int((evaluated[POSITION] <= evaluated[USER].map(newest).fillna(-1)).sum())
    held = int((frame[HELD] & (frame[PART] != "train")).sum())
    assert not repeated + several + early + held, (name, repeated, several, early, held)
    return repeated, early


def _leaked_to_llm(split: Split) -> int:
    """Ratings shown to the LLM that are validation or test rows of the top-k tasks."""
    evaluated = split.topk[split.topk[PART] != "train"]
    secret = pd.MultiIndex.from_frame(evaluated[[USER, ITEM]])
    visible = split.rating[(split.rating[PART] == "train") & ~split.rating[HIDDEN]]
    return int(pd.MultiIndex.from_frame(visible[[USER, ITEM]]).isin(secret).sum())


def _ties(frame: pd.DataFrame) -> float:
    size = frame.groupby([USER, TIME])[ITEM].transform("size")
    test = frame[PART] == "test"
    return float((size[test] > 1).mean()) if test.any() else 0.0


def _later(frame: pd.DataFrame) -> float:
    """Leave-one-out trains on other users' future; a temporal split does not."""
    train = np.sort(frame.loc[frame[PART] == "train", TIME].to_numpy())
    test = frame.loc[frame[PART] == "test", TIME].to_numpy()
    if not len(train) or not len(test):
        return 0.0
    return float(np.mean(1 - np.searchsorted(train, test, side="right") / len(train)))
