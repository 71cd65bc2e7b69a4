"""What could leak from the future or from the test part: checked where it must not happen, measured where it is the protocol's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from raypipe.data.split import Split
from raypipe.schema import ITEM, TIME, USER


def audit(split: Split) -> dict[str, float]:
    """Findings by name: counts that are zero by construction and are checked to be, and shares that a reader should know.

    Raises:
        AssertionError: the split breaks its own rules.
    """
    topk, rating = split.topk, split.rating
    found: dict[str, float] = {}
    for name, frame in (("top-k", topk), ("rating", rating)):
        repeated = int(frame.duplicated([USER, ITEM]).sum())
        asked = frame[frame["part"].isin(["validation", "test"])]
        several = int(asked.duplicated([USER, "part"]).sum())
        newest = frame[frame["part"] == "train"].groupby(USER)["position"].max()
        early = int((asked["position"] <= asked[USER].map(newest).fillna(-1)).sum())
        held = int((frame["held"] & (frame["part"] != "train")).sum())
        assert not repeated + several + early + held, (name, repeated, several, early, held)
        found[f"{name}: pairs in two parts"] = repeated
        found[f"{name}: validation or test rows older than a training row of their user"] = early
        found[f"{name}: test rows that share a timestamp with another row of their user, share"] = (
            _ties(frame)
        )
        found[f"{name}: training rows of all users that are later than a test row, mean share"] = (
            _later(frame)
        )
    secret = (
        set(zip(*topk.loc[topk["part"] != "train", [USER, ITEM]].to_numpy().T, strict=True))
        if len(topk)
        else set()
    )
    open_to_llm = rating[(rating["part"] == "train") & ~rating["hidden"]]
    shown = sum(pair in secret for pair in zip(open_to_llm[USER], open_to_llm[ITEM], strict=True))
    assert not shown, shown
    found["top-k validation and test rows among the ratings that the LLM may read"] = shown
    return found


def _ties(frame: pd.DataFrame) -> float:
    size = frame.groupby([USER, TIME])[ITEM].transform("size")
    test = frame["part"] == "test"
    return float((size[test] > 1).mean()) if test.any() else 0.0


def _later(frame: pd.DataFrame) -> float:
    """Leave-one-out trains on other users' future; a temporal split does not."""
    train = np.sort(frame.loc[frame["part"] == "train", TIME].to_numpy())
    test = frame.loc[frame["part"] == "test", TIME].to_numpy()
    if not len(train) or not len(test):
        return 0.0
    return float(np.mean(1 - np.searchsorted(train, test, side="right") / len(train)))
