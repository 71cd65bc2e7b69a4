"""Command lines become configurations."""

import subprocess
import sys
from argparse import Namespace

import pytest
import yaml
from options import configuration

from raypipe.errors import ConfigError
from tests.support.paths import ROOT


def options(**given):
    names = (
        "preset",
        "data",
        "data_dir",
        "backbones",
        "tasks",
        "llm",
        "engine",
        "variants",
        "seeds",
        "out",
    )
    return Namespace(**{n: None for n in names} | {"set": []} | given)


def test_options_become_a_configuration(tmp_path):
    made, out = configuration(
        options(data="ml-100k", data_dir=str(tmp_path), seeds=3, set=["llm.tune.epochs=7"])
    )
    assert (made.data.name, made.data.protocol, made.seeds, made.llm.tune.epochs) == (
        "ml_100k",
        "liked",
        3,
        7,
    )
    assert out == "runs/ml-100k"
    own, out = configuration(options(data="folder", data_dir=str(tmp_path)))
    assert (own.data.name, own.backbone_options, out) == ("folder", {}, "runs/folder"), (
        "what was searched on toy data stays there"
    )
    made, out = configuration(options(variants="wo_da, ift"))
    assert (
        made.variants == ("base", "ift", "wo_da", "llama4rec")
        and made.backbone_options
        and out == "runs/toy"
    )
    made, _ = configuration(options(backbones="sasrec"))
    assert made.tasks == ("sequential",) and made.backbones["sequential"] == ("sasrec",)
    assert made.aggregation.alpha_1 == tuple(
        yaml.safe_load((ROOT / "tune_configs" / "aggregation.yaml").read_text())["aggregation"][
            "alpha_1"
        ]
    )
    made, _ = configuration(options(set=["aggregation.alpha_1=[0.2]"]))
    assert made.aggregation.alpha_1 == (0.2,)
    with pytest.raises(ConfigError, match="key=value"):
        configuration(options(set=["llm"]))


def test_the_job_works_from_any_folder_and_refuses_with_one_message(tmp_path):
    def job(*arguments):
        command = [sys.executable, str(ROOT / "jobs" / "full_pipeline.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    listed = job("--list")
    assert listed.returncode == 0 and "seed0/base/light_gcn" in listed.stdout
    dry = job("--dry-run")
    assert dry.returncode == 0 and "to run" in dry.stdout and not (tmp_path / "runs").exists()
    refused = job("--set", "llm.tune.epocs=3")
    assert (
        refused.returncode == 2
        and "llm.tune.epocs" in refused.stderr
        and "Traceback" not in refused.stderr
    )
