"""The tables that travel between stages: column names and contracts, each checked by `check`.

Ids are strings, as they stand in the source. A column list says what a table must have; more columns are allowed
where the table says so (item and user features).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import pyarrow as pa

from raypipe.errors import DataError

USER, ITEM, RATING, TIME = "user_id", "item_id", "rating", "timestamp"
TITLE, TEXT = "title", "text"

TASKS = ("direct", "sequential", "rating")
Task = Literal["direct", "sequential", "rating"]

#: options of a question: vLLM tells the log-probabilities of so many tokens at most
MOST_OPTIONS = 128


@dataclass(frozen=True)
class Table:
    """A table contract: its name, required columns with types, and whether further columns may follow."""

    name: str
    columns: dict[str, pa.DataType]
    open: bool = False
    key: tuple[str, ...] = ()

    def from_frame(self, frame: pd.DataFrame, where: str) -> pa.Table:
        """A frame as a checked table, see `check`."""
        return self.check(pa.Table.from_pandas(frame, preserve_index=False), where)

    def check(self, table: pa.Table, where: str) -> pa.Table:
        """Return `table` cast to the contract; raise DataError naming what is missing, wrong or repeated."""
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
        for column, wanted in self.columns.items():
            field = table.schema.get_field_index(column)
            if table.schema.field(field).type != wanted:
                try:
                    table = table.set_column(field, column, table[column].cast(wanted))
                except pa.ArrowInvalid as error:
                    raise DataError(
                        f"column {column} of {self.name} is not {wanted}: {error}", where
                    ) from error
            if table[column].null_count:
                raise DataError(
                    f"column {column} of {self.name} has {table[column].null_count} empty values",
                    where,
                    "fill or drop them",
                )
        if self.key:
            distinct = table.group_by(list(self.key)).aggregate([]).num_rows
            if distinct != table.num_rows:
                raise DataError(
                    f"{self.name} repeats its key {self.key} ({table.num_rows - distinct} times)",
                    where,
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
#: One row a user and split part: candidates best first with the backbone's scores, the true item and its rank among all.
LISTS = Table(
    "lists",
    {
        USER: pa.string(),
        "split": pa.string(),
        "items": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "target": pa.string(),
        "target_rank": pa.int64(),
    },
    key=(USER, "split"),
)
#: One row a rating that is asked about.
PREDICTIONS = Table(
    "predictions",
    {
        USER: pa.string(),
        ITEM: pa.string(),
        "split": pa.string(),
        "prediction": pa.float32(),
        "truth": pa.float32(),
    },
    key=(USER, ITEM),
)
#: What goes to an engine. `options` are the only answers allowed, `payload` says what each stands for; `pattern` is the regular
#: expression of a written answer (mode "form"), else "". Further columns say what a prompt is about: an id is never taken apart.
PROMPTS = Table(
    "prompts",
    {
        "prompt_id": pa.string(),
        "template": pa.string(),
        "prompt": pa.string(),
        "mode": pa.string(),
        "pattern": pa.string(),
        "options": pa.list_(pa.string()),
        "payload": pa.list_(pa.string()),
    },
    open=True,
    key=("prompt_id",),
)
#: What an engine gives back, same ids: the answer, the log-probability of each option (in order), and when (seconds).
COMPLETIONS = Table(
    "completions",
    {
        "prompt_id": pa.string(),
        "answer": pa.string(),
        "logprobs": pa.list_(pa.float32()),
        "tokens_in": pa.int32(),
        "tokens_out": pa.int32(),
        "finished_at": pa.float64(),
    },
    key=("prompt_id",),
)
