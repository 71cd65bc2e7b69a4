"""Ray Data between files, so that tables that grow with the users never reach the driver."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raypipe.cluster import session
from raypipe.errors import ArtifactError

if TYPE_CHECKING:
    from ray.data import Dataset as Dataset

#: rows of a block, and of a file that `write_blocks` writes
BLOCK = 256

#: tasks per CPU in `write_parts`: enough to balance the load, few because each costs some 50 ms
TASKS_PER_CPU = 4

Part = TypeVar("Part")


class FinishedFiles(NamedTuple):
    """The readable Parquet files of a folder, sorted, and their rows together."""

    rows: int
    files: list[str]


def quiet() -> None:
    """Keep Ray Data's own progress bars off the terminal; `watch` prints lines instead."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray", "ray.data", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    llm = logging.getLogger("ray.llm")
    llm.setLevel(logging.ERROR)
    if not llm.handlers:  # without a handler, ray.llm adds its own to each of its loggers
        llm.addHandler(logging.NullHandler())


def resolve(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a folder or URI, and the path within it."""
    return fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)


def read(path: Path | str, blocks: int | None = None) -> Dataset:
    """A Parquet folder or file as a Ray Dataset of `blocks` blocks.

    A single file becomes at most one block after the first map.
    """
    import ray.data

    quiet()
    # Ray's newer reader merges small files into one block: no answer would be saved before the end
    ray.data.DataContext.get_current().use_datasource_v2 = False
    return ray.data.read_parquet(str(path), override_num_blocks=blocks)


def write_parts(
    parts: Sequence[Part], tables: Callable[[Part], Iterable[pa.Table]], folder: str
) -> int:
    """Write the tables of each part to a folder, in parallel Ray Data tasks.

    Files sort in the order of the parts. A task writes each table as soon as it is made, which is
    faster than Ray Data's writer; a task that runs again writes the same files.

    Returns:
        The number of rows.

    Raises:
        ArtifactError: this node cannot read what other nodes wrote.
    """
    import ray.data

    if not parts:
        return 0
    quiet()

    def write_part(batch: dict[str, Any]) -> dict[str, Any]:
        rows = 0
        for number in batch["id"].tolist():
            for piece, table in enumerate(tables(parts[number])):
                write(table, folder, f"{number:06d}-{piece:06d}")
                rows += table.num_rows
        return {"rows": np.array([rows])}

    tasks = min(len(parts), TASKS_PER_CPU * int(session.resources().get("CPU", 1)))
    numbers = ray.data.range(len(parts), override_num_blocks=tasks)
    counts = numbers.map_batches(write_part, batch_size=None)
    rows = sum(int(row["rows"]) for row in counts.iter_rows())
    if missing := rows - finished_files(folder).rows:
        raise ArtifactError(
            f"{missing:,} of {rows:,} rows were written where this node cannot read them",
            folder,
            "give --out a folder that all nodes share, or use one node",
        )
    return rows


def set_stall_timeout(seconds: float) -> None:
    """Let the next executions fail if nothing advances for so long.

    Without it Ray would restart for ever an engine that dies at each start. Ray watches only
    pipelines without a shuffle, so none may stand between the files and the engine.
    """
    import ray.data

    ray.data.DataContext.get_current().execution_no_progress_timeout_s = seconds


def block_count(rows: int) -> int:
    """Blocks for a table of `rows` rows: small enough that finished work is saved often."""
    return max(1, min(2000, -(-rows // BLOCK)))


def finished_files(folder: str) -> FinishedFiles:
    """The readable Parquet files of a folder (path or URI); half-written files are skipped."""
    filesystem, root = resolve(folder)
    rows, files = 0, []
    selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
    for info in filesystem.get_file_info(selector):
        if info.extension != "parquet":
            continue
        try:
            rows += pq.read_metadata(info.path, filesystem=filesystem).num_rows
            files.append(info.path)
        except (pa.ArrowInvalid, OSError):
            continue
    return FinishedFiles(rows, sorted(files))


def read_finished(folder: str, columns: list[str] | None = None) -> pd.DataFrame:
    """The rows of a folder's readable files; call it in a worker."""
    filesystem, _ = resolve(folder)
    frames = []
    for file in finished_files(folder).files:
        frames.append(pq.read_table(file, filesystem=filesystem, columns=columns).to_pandas())
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def write(table: pa.Table, folder: str, name: str) -> None:
    """Write FOLDER/NAME.parquet; readers find it whole or not at all. Call it in a worker."""
    filesystem, root = resolve(folder)
    filesystem.create_dir(root, recursive=True)
    pq.write_table(table, f"{root}/{name}.part", filesystem=filesystem)
    filesystem.move(f"{root}/{name}.part", f"{root}/{name}.parquet")


def write_blocks(
    frame: pd.DataFrame, table: Callable[[pd.DataFrame], pa.Table], folder: str, prefix: str = ""
) -> None:
    """Write a frame as files of BLOCK rows, FOLDER/PREFIX000000000.parquet and so on.

    Args:
        table: turns the rows of a file into its table.
    """
    for start in range(0, len(frame), BLOCK):
        write(table(frame.iloc[start : start + BLOCK]), folder, f"{prefix}{start:09d}")


class watch:
    """Print the progress of a folder while the body runs: rows, and the remaining time.

    Args:
        total: rows that the folder will gain.
        say: prints a line.
        what: what the rows are, e.g. "texts encoded".
        earlier: rows that the folder had before; they do not count.
    """

    #: seconds between two looks at the folder
    interval = 10.0

    def __init__(
        self,
        folder: str,
        total: int,
        say: Callable[[str], None],
        what: str = "prompts answered",
        earlier: int = 0,
    ) -> None:
        self.folder, self.total, self.say = folder, total, say
        self.what, self.earlier = what, earlier
        self.stop = threading.Event()

    def __enter__(self) -> watch:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join(timeout=5)

    def _run(self) -> None:
        started, first_rows, shown = time.monotonic(), None, -1
        while not self.stop.wait(self.interval):
            rows = finished_files(self.folder).rows - self.earlier
            if rows == shown:
                continue
            shown = rows
            if rows and first_rows is None:  # the start of the workers does not count
                first_rows, started = rows, time.monotonic()
            rate = (rows - (first_rows or 0)) / max(time.monotonic() - started, 1e-9)
            remaining = f", about {(self.total - rows) / rate:.0f} s left" if rate > 0 else ""
            self.say(f"    {rows:,} of {self.total:,} {self.what}{remaining}")
