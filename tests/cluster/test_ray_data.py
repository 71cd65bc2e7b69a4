"""Tables that Ray Data's tasks write."""

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raypipe.cluster import ray_data
from raypipe.errors import ArtifactError


def test_tables_are_written_in_the_order_of_their_parts_and_a_lost_one_is_an_error(
    tmp_path, monkeypatch
):
    import ray.data

    class Numbers:
        """Ray Data's tasks, one after another in this process, the last first."""

        def __init__(self, n, override_num_blocks):
            self.parts = np.array_split(np.arange(n), override_num_blocks)[::-1]

        def map_batches(self, each, batch_size):
            written = [each({"id": part}) for part in self.parts]
            return SimpleNamespace(
                iter_rows=lambda: [
                    {"rows": value} for counts in written for value in counts["rows"]
                ]
            )

    monkeypatch.setattr(ray.data, "range", Numbers)
    monkeypatch.setattr(ray_data, "quiet", lambda: None)
    monkeypatch.setattr(ray_data.session, "resources", lambda: {"CPU": 1.0})
    parts, folder = [f"part {n}" for n in range(12)], str(tmp_path / "made")
    two_tables = lambda part: (pa.table({"of": [part] * rows}) for rows in (2, 1))  # noqa: E731
    for _ in range(2):  # a task that is done again writes the same files
        assert ray_data.write_parts(parts, two_tables, folder) == 36
        assert ray_data.read_finished(folder)["of"].tolist() == [
            part for part in parts for _ in range(3)
        ]
    assert ray_data.write_parts([], two_tables, str(tmp_path / "none")) == 0
    monkeypatch.setattr(
        ray_data, "finished_files", lambda folder: ray_data.FinishedFiles(30, [])
    )  # the rest lies on the disk of another node
    with pytest.raises(ArtifactError, match="6 of 36 rows"):
        ray_data.write_parts(parts, two_tables, folder)


def test_a_table_is_written_in_blocks_and_half_written_files_are_skipped(tmp_path):
    rows = pd.DataFrame({"number": range(2 * ray_data.BLOCK + 1)})
    ray_data.write_blocks(rows, pa.Table.from_pandas, f"file://{tmp_path}/blocks", prefix="p")
    names = sorted(file.name for file in (tmp_path / "blocks").iterdir())
    assert names == ["p000000000.parquet", "p000000256.parquet", "p000000512.parquet"]
    (tmp_path / "blocks" / "p9.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "blocks" / "p8.part").write_bytes(b"")
    finished = ray_data.finished_files(str(tmp_path / "blocks"))
    assert finished.rows == len(rows) and len(finished.files) == 3
    assert ray_data.read_finished(str(tmp_path / "blocks"))["number"].tolist() == list(rows.number)
    assert ray_data.finished_files(str(tmp_path / "absent")) == (0, [])
    assert list(ray_data.read_finished(str(tmp_path / "absent"), ["number"])) == ["number"]


def test_blocks_are_small_and_not_too_many():
    assert [ray_data.block_count(rows) for rows in (0, 1, 256, 257)] == [1, 1, 1, 2]
    assert ray_data.block_count(10**9) == 2000


def test_progress_counts_new_rows_and_says_how_long_the_rest_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data.watch, "interval", 0.02)
    lines: list[str] = []

    def wait_for(number):
        until = time.monotonic() + 20
        while len(lines) < number and time.monotonic() < until:
            time.sleep(0.01)

    ray_data.write(pa.table({"n": [0] * 5}), str(tmp_path), "earlier")
    with ray_data.watch(str(tmp_path), 1000, lines.append, "texts encoded", earlier=5):
        for number in range(2):
            wait_for(number + 1)
            ray_data.write(pa.table({"n": [0] * 200}), str(tmp_path), f"new{number}")
        wait_for(3)
    assert lines[0] == "    0 of 1,000 texts encoded"
    assert lines[1] == "    200 of 1,000 texts encoded", "a rate needs two looks"
    assert lines[2].startswith("    400 of 1,000 texts encoded, about ") and " s left" in lines[2]


def test_a_stall_ends_an_execution_after_the_given_time():
    import ray.data

    context = ray.data.DataContext.get_current()
    before = context.execution_no_progress_timeout_s
    try:
        ray_data.set_stall_timeout(7.0)
        assert context.execution_no_progress_timeout_s == 7.0
    finally:
        context.execution_no_progress_timeout_s = before
