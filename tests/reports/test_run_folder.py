"""A finished run as reports read it, and the published files."""

import json

import pytest

from raypipe.pipeline.runner import Runner
from raypipe.pipeline.stage import Stage
from raypipe.pipeline.store import Store
from raypipe.reports.run_folder import FinishedRun, address, writing


def measure(ctx):
    (ctx.out / "metrics.json").write_text(json.dumps({"N@5": 0.25}))
    return {"rows": 3}


@pytest.fixture
def run(tmp_path):
    store = Store(str(tmp_path))
    record = Runner([Stage("evaluate", measure)], store, say=lambda line: None).run()
    return FinishedRun({"seeds": 1}, store, record, 0.0, {"cpus": 2})


def test_a_finished_run_gives_the_outputs_of_its_stages(run):
    assert run.by_name["evaluate"].facts == {"rows": 3}
    assert run.read("evaluate", "metrics.json") == {"N@5": 0.25}
    assert (run.artifact("evaluate") / "metrics.json").is_file()


def test_files_are_published_together_and_replace_old_folders(run, tmp_path):
    old = tmp_path / "table2" / "predictions"
    old.mkdir(parents=True)
    (old / "of-an-earlier-run.parquet").write_text("")
    with writing(run.store, "table2", ["predictions"]) as folder:
        (folder / "report.json").write_text("{}")
        assert not (tmp_path / "table2" / "report.json").exists()
    assert (tmp_path / "table2" / "report.json").read_text() == "{}"
    assert not (old / "of-an-earlier-run.parquet").exists()
    assert address(run.store, "table2") == str(tmp_path / "table2")
    assert address(run.store, "") == str(tmp_path)


def test_a_failed_report_keeps_the_earlier_one(run, tmp_path):
    (tmp_path / "report.json").write_text("earlier")
    with pytest.raises(RuntimeError), writing(run.store, "", []) as folder:
        (folder / "report.json").write_text("half")
        raise RuntimeError
    assert (tmp_path / "report.json").read_text() == "earlier"
