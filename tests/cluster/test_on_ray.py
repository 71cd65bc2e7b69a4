"""One Ray for all tests of this file: what workers do for the driver, Ray Data and Ray Tune."""

import os
import time

import pyarrow as pa
import pytest

from raypipe.cluster import ray_data, session
from raypipe.errors import DataError


@pytest.fixture(scope="module")
def lines():
    """The lines that the driver shows while it is connected to a Ray of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*session.QUIET, *session.KEEP_IDLE_WORKERS, "RAY_BACKEND_LOG_LEVEL"):
            patch.setenv(name, "")  # `connected` sets them: the patch restores them at the end
            patch.delenv(name)
        for name in ("RAY_AIR_NEW_OUTPUT", "TUNE_DISABLE_SIGINT_HANDLER"):
            patch.setenv(name, "1")
        patch.setenv("RAY_ADDRESS", "local")
        # Ray kills its workers before they could save what they measured
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        shown: list[str] = []
        with session.connected(shown.append):
            yield shown


def process_of(line):
    session.post(line)
    return os.getpid()


def refuse():
    raise DataError("line 3 is not a number", "interactions.csv")


def break_down():
    raise ZeroDivisionError


def test_a_worker_returns_its_result_and_shows_lines_on_the_driver(lines):
    assert session.in_worker(process_of, "    half of it is read") != os.getpid()
    until = time.monotonic() + 20
    while "    half of it is read" not in lines and time.monotonic() < until:
        time.sleep(0.05)
    assert "    half of it is read" in lines


def test_errors_with_a_remedy_lose_the_traceback_of_the_worker_and_others_keep_it(lines):
    with pytest.raises(DataError, match="line 3 is not a number") as error:
        session.in_worker(refuse, gpu=True)
    assert "Traceback" not in str(error.value) and error.value.__cause__ is None
    with pytest.raises(ZeroDivisionError, match="break_down"):
        session.in_worker(break_down)


def test_processes_share_the_devices_of_the_cluster(lines):
    cpus = int(session.resources()["CPU"])
    devices = session.gpus() or cpus
    assert session.capacity() == devices and session.capacity(devices + 1) == 0
    assert session.cpus_per_process(1) == cpus and session.cpus_per_process(100 * cpus) == 1


def tables_of(part):
    for piece in range(2):
        yield pa.table({"part": [part], "piece": [piece]})


def test_tables_pass_between_files_through_workers(lines, tmp_path):
    folder = str(tmp_path / "pairs")
    assert ray_data.write_parts(["a", "b", "c"], tables_of, folder) == 6
    copy = ray_data.read(folder, 3).map_batches(lambda rows: rows, batch_size=None)
    copy.write_parquet(str(tmp_path / "copy"))
    rows = ray_data.read_finished(str(tmp_path / "copy"))
    pairs = sorted(zip(rows["part"], rows["piece"], strict=True))
    assert pairs == [(part, piece) for part in "abc" for piece in (0, 1)]
    assert len(ray_data.finished_files(str(tmp_path / "copy")).files) == 3, "a file for each block"


def product(point, data):
    return {"validation": float(data * point["a"] * point["b"])}


def test_a_grid_gives_every_point_in_order_and_reports_the_best(lines, tmp_path):
    from raypipe.cluster import tune  # workers that import this file need not wait for it

    shown: list[str] = []
    space = {"b": [2, 1], "a": [1, 3]}
    rows = tune.grid(product, space, 10, str(tmp_path / "scratch" / "grid"), shown.append)
    values = [(row["b"], row["a"], row["validation"]) for row in rows]
    assert values == [(1, 1, 10.0), (1, 3, 30.0), (2, 1, 20.0), (2, 3, 60.0)]
    assert len(shown) == 4 and shown[-1] == "    grid: 4 of 4, best so far 60.0000"


def climb(point, data, report):
    with open(f"{data}/{point['slope']}", "a") as calls:
        calls.write("x")
    for step in range(3):
        report({"validation": point["slope"] * (step + 1.0)})


def test_a_search_orders_its_points_and_a_finished_one_is_read_again(lines, tmp_path):
    from raypipe.cluster import tune  # workers that import this file need not wait for it

    shown: list[str] = []
    arguments = ([{"slope": 1}, {"slope": 2}], str(tmp_path), str(tmp_path / "scratch" / "search"))
    best_first = tune.search(climb, *arguments, patience=5, say=shown.append)
    assert best_first == [
        {"slope": 2, "validation": 6.0, "reports": 3},
        {"slope": 1, "validation": 3.0, "reports": 3},
    ]
    assert shown[-1] == "    search: 2 of 2, best so far 6.0000"
    assert tune.search(climb, *arguments, patience=5, say=shown.append) == best_first
    assert (tmp_path / "1").read_text() == (tmp_path / "2").read_text() == "x"
