"""`raypipe run`: one stage alone, and what is kept in the run folder."""

import pandas as pd
import pytest
import yaml

from raypipe.cli.main import main

SMALL = ["--out", "here", "--set", 'data.options={"users": 40, "items": 60, "mean_length": 10}']


@pytest.fixture(autouse=True)
def folder(one_process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_stage_that_runs_alone_writes_its_artifact_and_no_report(tmp_path, capsys):
    assert main(["run", "llama4rec", "--only", "data", *SMALL]) == 0, capsys.readouterr().err
    (log,) = (tmp_path / "here").rglob("interactions.parquet")
    assert pd.read_parquet(log)["user_id"].nunique() == 40
    assert yaml.safe_load((tmp_path / "here" / "config.yaml").read_text())["seeds"] == 1
    assert not (tmp_path / "here" / "report.json").exists()
    assert "data" in capsys.readouterr().out
    assert main(["plan", "llama4rec", *SMALL]) == 0
    states = {line.split()[0]: "  done  " in line for line in capsys.readouterr().out.splitlines()}
    assert [name for name, is_done in states.items() if is_done] == ["data"]


@pytest.mark.parametrize("option", ["--only", "--from"])
def test_a_stage_that_does_not_exist_is_refused_before_anything_is_written(
    option, tmp_path, capsys
):
    assert main(["run", "llama4rec", option, "nothing", *SMALL]) == 2
    errors = capsys.readouterr().err
    assert option in errors and "nothing" in errors
    assert not list((tmp_path / "here").rglob("config.yaml"))
