"""The k-core of a log."""

from __future__ import annotations

import pandas as pd

from raypipe.schema import ITEM, USER


def k_core(log: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest part of a log in which every user and every item has at least k rows."""
    while len(log):
        user_sizes = log.groupby(USER)[USER].transform("size")
        item_sizes = log.groupby(ITEM)[ITEM].transform("size")
        kept = log[(user_sizes >= k) & (item_sizes >= k)]
        if len(kept) == len(log):
            break
        log = kept
    return log.reset_index(drop=True)
