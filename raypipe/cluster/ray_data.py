"""Ray Data between files: what grows with users goes through here and never through the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raypipe.cluster import session
from raypipe.errors import ArtifactError

BLOCK = 256

#: tasks that parts are dealt out to: enough that none waits long for the last, few as each costs Ray Data some 50 ms
TASKS_A_CPU = 4


def quiet() -> None:
    """Keep Ray Data's own progress off the terminal; `watch` prints one line instead."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray", "ray.data", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    llm = logging.getLogger("ray.llm")
    llm.setLevel(logging.ERROR)
    if not llm.handlers:  # without one of ours, ray.llm adds its own to each of its loggers
        llm.addHandler(logging.NullHandler())


def place(uri: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a folder or URI."""
    return fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)


def read(path: Path | str, blocks: int | None = None) -> Any:
    """A Parquet folder or file as a Ray Dataset, in so many blocks; a file is one block at most after the first map."""
    import ray.data

    quiet()
    # Ray's second reader merges small files into one block, so that all answers would come, and be kept, at the very end
    ray.data.DataContext.get_current().use_datasource_v2 = False
    return ray.data.read_parquet(str(path), override_num_blocks=blocks)


def make(parts: Sequence[Any], tables: Callable[[Any], Iterable[pa.Table]], folder: str) -> int:
    """Write the tables that are made of each part, side by side in Ray Data tasks; files come in the order of the parts.

    A task writes each table as it is made, which is quicker than Ray Data's own writer, and one that is done again writes the same
    files.

    Returns:
        how many rows there are.

    Raises:
        ArtifactError: nodes do not share the folder, so that what other ones wrote is lost.
    """
    import ray.data

    if not parts:
        return 0
    quiet()

    def each(batch: dict[str, Any]) -> dict[str, Any]:
        rows = 0
        for number in batch["id"].tolist():
            for piece, table in enumerate(tables(parts[number])):
                write(table, folder, f"{number:06d}-{piece:06d}")
                rows += table.num_rows
        return {"rows": np.array([rows])}

    tasks = min(len(parts), TASKS_A_CPU * int(session.resources().get("CPU", 1)))
    counts = ray.data.range(len(parts), override_num_blocks=tasks).map_batches(
        each, batch_size=None
    )
    rows = sum(int(row["rows"]) for row in counts.iter_rows())
    if lost := rows - finished(folder)[0]:
        raise ArtifactError(
            f"{lost:,} of {rows:,} rows were written where this node cannot read them",
            folder,
            "give --out a folder that all nodes share, or use one node",
        )
    return rows


def give_up_after(seconds: float) -> None:
    """Let what runs next fail if nothing moves for so long: an engine that dies at each start would be restarted for ever.

    Ray watches only flows without a shuffle, so none may stand between the files and the engine.
    """
    import ray.data

    ray.data.DataContext.get_current().execution_no_progress_timeout_s = seconds


def blocks(rows: int) -> int:
    """Blocks for a table of so many rows: small enough that finished work is kept often."""
    return max(1, min(2000, -(-rows // BLOCK)))


def finished(folder: str) -> tuple[int, list[str]]:
    """Rows in the readable Parquet files of a folder (path or URI), and those files; a half-written file is passed over."""
    filesystem, root = place(folder)
    rows, files = 0, []
    for info in filesystem.get_file_info(
        fs.FileSelector(root, recursive=True, allow_not_found=True)
    ):
        if info.extension != "parquet":
            continue
        try:
            rows += pq.read_metadata(info.path, filesystem=filesystem).num_rows
            files.append(info.path)
        except (pa.ArrowInvalid, OSError):
            continue
    return rows, sorted(files)


def read_finished(folder: str, columns: list[str] | None = None) -> pd.DataFrame:
    """The readable rows of a folder, in a worker."""
    filesystem, _ = place(folder)
    parts = [
        pq.read_table(f, filesystem=filesystem, columns=columns).to_pandas()
        for f in finished(folder)[1]
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def write(table: pa.Table, folder: str, name: str) -> None:
    """Write FOLDER/NAME.parquet, from a worker; a reader finds it whole or not at all."""
    filesystem, root = place(folder)
    filesystem.create_dir(root, recursive=True)
    pq.write_table(table, f"{root}/{name}.part", filesystem=filesystem)
    filesystem.move(f"{root}/{name}.part", f"{root}/{name}.parquet")


def write_pieces(
    frame: pd.DataFrame, table: Callable[[pd.DataFrame], pa.Table], folder: str, prefix: str = ""
) -> None:
    """Write a frame as files of BLOCK rows, FOLDER/PREFIX000000000.parquet and so on, from a worker.

    Args:
        table: makes the file's table from its rows.
    """
    for start in range(0, len(frame), BLOCK):
        write(table(frame.iloc[start : start + BLOCK]), folder, f"{prefix}{start:09d}")


class watch:
    """Print how many rows of `total` lie in `folder`, with rate and remaining time, while the body runs.

    Args:
        older: rows that lay there before and are none of them.
    """

    def __init__(
        self,
        folder: str,
        total: int,
        say: Callable[[str], None],
        every: float = 10.0,
        what: str = "prompts answered",
        older: int = 0,
    ) -> None:
        self.folder, self.total, self.say, self.every, self.what, self.older = (
            folder,
            total,
            say,
            every,
            what,
            older,
        )
        self.stop = threading.Event()

    def __enter__(self) -> watch:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(timeout=5)

    def _run(self) -> None:
        began, first, before = time.monotonic(), None, -1
        while not self.stop.wait(self.every):
            rows = finished(self.folder)[0] - self.older
            if rows == before:
                continue
            before = rows
            if rows and first is None:
                first, began = rows, time.monotonic()
            rate = (rows - (first or 0)) / max(time.monotonic() - began, 1e-9)
            left = f", about {(self.total - rows) / rate:.0f} s left" if rate > 0 else ""
            self.say(f"    {rows:,} of {self.total:,} {self.what}{left}")
