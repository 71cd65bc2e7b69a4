"""Frames in memory as the tables of a dataset, and as the files of a folder dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from raypipe.errors import DataError
from raypipe.schema import ITEM, RATING, TEXT, TIME, TITLE, USER

#: what must not stand in the name of a column, which becomes the first line of a CSV file
MARKS = (",", '"', "\n", "\r")


class Frames(NamedTuple):
    """The tables of a dataset: interactions in file order; items and users, features as text."""

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write interactions.csv, items.csv and, where users have features, users.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        self.interactions.to_csv(folder / "interactions.csv", index=False)
        self.items.to_csv(folder / "items.csv", index=False)
        (folder / "users.csv").unlink(missing_ok=True)
        if len(self.users.columns) > 1:
            self.users.to_csv(folder / "users.csv", index=False)


def normalize(
    interactions: pd.DataFrame,
    items: pd.DataFrame,
    users: pd.DataFrame | None,
    attributes: Sequence[str],
) -> Frames:
    """Check frames, and add the optional columns that they lack.

    Args:
        interactions: user_id, item_id; optional rating (else 1) and timestamp (else row order).
        items: item_id, title; optional text. Further columns become item features.
        users: user_id. Further columns become user features.
        attributes: columns of the items that the LLM fills where they are empty.

    Raises:
        DataError: a column is missing, has empty values, or is not a number.
    """
    log = _ids(interactions, "interactions", USER, ITEM)
    ratings = interactions[RATING] if RATING in interactions else pd.Series(1.0, interactions.index)
    log[RATING] = _numbers(ratings, "interactions", RATING).astype("float64")
    log[TIME] = _seconds(interactions[TIME]) if TIME in interactions else range(len(log))
    catalogue = _ids(items, "items", ITEM, TITLE)
    for name in (TEXT, *attributes, *items.columns):
        if name not in catalogue:
            catalogue[name] = _texts(items[name]) if name in items else ""
    if users is None:
        people = pd.DataFrame({USER: log[USER].unique()})
    else:
        people = _ids(users, "users", USER)
        for name in users.columns.drop(USER):
            people[name] = _texts(users[name])
    for frame in (catalogue, people):
        _check_names(frame)
    return Frames(log, catalogue, people)


def _ids(frame: pd.DataFrame, table: str, *columns: str) -> pd.DataFrame:
    """The columns that every row must fill, as text."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise DataError(
            f"the frame lacks the column(s) {', '.join(missing)}",
            table,
            f"it has {', '.join(map(str, frame.columns))}; rename or add them",
        )
    filled = pd.DataFrame({name: _texts(frame[name]) for name in columns})
    for name in columns:
        _refuse(filled[name].str.strip() == "", frame[name], table, "is empty")
    return filled


def _texts(values: pd.Series) -> pd.Series:
    """Values as text in one line each; missing ones are empty."""
    texts = values.astype(object).where(values.notna(), "").astype(str)
    return texts.str.replace(r"[\r\n]+", " ", regex=True).reset_index(drop=True)


def _numbers(values: pd.Series, table: str, column: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").reset_index(drop=True)
    _refuse(numbers.isna(), values.rename(column), table, "is not a number")
    return numbers


def _seconds(values: pd.Series) -> pd.Series:
    """Timestamps as whole seconds; dates are counted from 1970."""
    if pd.api.types.is_datetime64_any_dtype(values):
        values = (pd.to_datetime(values, utc=True) - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return _numbers(values, "interactions", TIME).astype("int64")


def _refuse(faulty: pd.Series, values: pd.Series, table: str, fault: str) -> None:
    if faulty.any():
        row = int(faulty.to_numpy().argmax())
        raise DataError(
            f"{values.iloc[row]!r} in column {values.name} {fault} ({faulty.sum()} such row(s))",
            f"{table}, row {row}, column {values.name}",
            "correct or remove the row(s)",
        )


def _check_names(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        if not isinstance(name, str) or any(mark in name for mark in MARKS):
            raise DataError(
                f"{name!r} cannot name a column",
                "features",
                "use text without commas, quotes or line breaks",
            )
