"""The tables that travel between stages: column names and contracts, each checked by `check`.

Ids are strings, as in the source files. A contract lists the required columns. An open table may
have further columns, such as item and user features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa

from raypipe.errors import DataError

USER, ITEM, RATING, TIME = "user_id", "item_id", "rating", "timestamp"
TITLE, TEXT = "title", "text"
#: columns of a split: part (train, validation, test, ...), place within the user's history, and
#: whether the row is held out for tuning, hidden from the LLM, or of an item without training rows
PART, POSITION, HELD, HIDDEN, COLD = "part", "position", "held", "hidden", "cold"
#: columns that identify a list, a prediction or a prompt
SEED, BACKBONE, TASK, SPLIT, VARIANT = "seed", "backbone", "task", "split", "variant"
PROMPT_ID = "prompt_id"
#: the held-out item of a ranking task, its rank, and both numbers of a rating
TARGET, TARGET_RANK, PREDICTION, TRUTH = "target", "target_rank", "prediction", "truth"

TASKS = ("direct", "sequential", "rating")
Task = Literal["direct", "sequential", "rating"]

#: most options of a prompt: vLLM returns the log-probabilities of at most this many tokens
MOST_OPTIONS = 128


@dataclass(frozen=True)
class Table:
    """A table contract.

    Attributes:
        name: name of the table in errors.
        columns: required columns and their types.
        open: whether further columns are kept; a closed table drops them.
        key: columns whose values together identify a row; empty: rows may repeat.
    """

    name: str
    columns: dict[str, pa.DataType]
    open: bool = False
    key: tuple[str, ...] = ()

    def from_frame(self, frame: pd.DataFrame, where: str) -> pa.Table:
        """Convert a frame to a table and check it, see `check`."""
        return self.check(pa.Table.from_pandas(frame, preserve_index=False), where)

    def check(self, table: pa.Table, where: str) -> pa.Table:
        """Return `table` cast to the contract.

        Raises:
            DataError: a column is missing, has another type or empty values, or the key repeats.
        """
        missing = [c for c in self.columns if c not in table.column_names]
        if missing:
            raise DataError(
                f"the table {self.name} lacks the column(s) {', '.join(missing)}",
                where,
                f"it has {', '.join(table.column_names)}; rename or add the missing ones",
            )
        extra = [c for c in table.column_names if c not in self.columns]
        if extra and not self.open:
            table = table.drop_columns(extra)
        for column, expected in self.columns.items():
            index = table.schema.get_field_index(column)
            if table.schema.field(index).type != expected:
                try:
                    table = table.set_column(index, column, table[column].cast(expected))
                except pa.ArrowInvalid as error:
                    raise DataError(
                        f"column {column} of {self.name} is not {expected}: {error}",
                        where,
                        f"convert the column to {expected}",
                    ) from error
            if table[column].null_count:
                raise DataError(
                    f"column {column} of {self.name} has {table[column].null_count} empty values",
                    where,
                    "fill them in, or drop these rows",
                )
        if self.key:
            distinct = table.group_by(list(self.key)).aggregate([]).num_rows
            if distinct != table.num_rows:
                raise DataError(
                    f"{self.name} repeats its key {self.key} ({table.num_rows - distinct} times)",
                    where,
                    f"keep one row for each {' and '.join(self.key)}",
                )
        return table


INTERACTIONS = Table(
    "interactions",
    {USER: pa.string(), ITEM: pa.string(), RATING: pa.float32(), TIME: pa.int64()},
    key=(USER, ITEM),
)
ITEMS = Table(
    "items", {ITEM: pa.string(), TITLE: pa.string(), TEXT: pa.string()}, open=True, key=(ITEM,)
)
USERS = Table("users", {USER: pa.string()}, open=True, key=(USER,))
#: One row per user and split: the candidates, best first, with the backbone's scores; the target
#: and its rank among all items.
LISTS = Table(
    "lists",
    {
        USER: pa.string(),
        SPLIT: pa.string(),
        "items": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        TARGET: pa.string(),
        TARGET_RANK: pa.int64(),
    },
    key=(USER, SPLIT),
)
#: One row per rating to predict.
PREDICTIONS = Table(
    "predictions",
    {
        USER: pa.string(),
        ITEM: pa.string(),
        SPLIT: pa.string(),
        PREDICTION: pa.float32(),
        TRUTH: pa.float32(),
    },
    key=(USER, ITEM),
)
#: The prompts for an engine. `options` are the only answers allowed, and `payload` holds what each
#: option stands for. `pattern` is the regular expression of a written answer (mode "form"), or
#: empty.
#: Further columns identify what a prompt is about, so that no id needs to be taken apart.
PROMPTS = Table(
    "prompts",
    {
        PROMPT_ID: pa.string(),
        "template": pa.string(),
        "prompt": pa.string(),
        "mode": pa.string(),
        "pattern": pa.string(),
        "options": pa.list_(pa.string()),
        "payload": pa.list_(pa.string()),
    },
    open=True,
    key=(PROMPT_ID,),
)
#: The answers of an engine, by the prompts' ids: the answer, the log-probability of each option in
#: order, and the time of completion in seconds.
COMPLETIONS = Table(
    "completions",
    {
        PROMPT_ID: pa.string(),
        "answer": pa.string(),
        "logprobs": pa.list_(pa.float32()),
        "tokens_in": pa.int32(),
        "tokens_out": pa.int32(),
        "finished_at": pa.float64(),
    },
    key=(PROMPT_ID,),
)
