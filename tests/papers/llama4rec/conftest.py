"""A small run of Llama4Rec with all variants, killed on its way, which the slow tests share."""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.jobs import finish, kill_when
from tests.support.one_process import one_process
from tests.support.paths import ROOT

__all__ = ["one_process"]

SETTINGS = (
    'data.options={"users": 60, "items": 72, "mean_length": 12}',
    'backbone_options={"light_gcn": {"epochs": 20}, "sasrec": {"epochs": 25, "patience": 25}, '
    '"deepfm": {"epochs": 5}}',
    'llm.embedded={"epochs": 3, "hidden_size": 32, "intermediate_size": 64, "heads": 1, '
    '"pieces": 400}',
    "llm.tune.instructions=150",
    "llm.tune.epochs=1",
    "llm.tune.zero_stage=3",
    f"llm.tune.workers={min(2, os.cpu_count() or 1)}",
    "llm.engine.name=transformers",
    "checkpoint_seconds=0",
    "rerank.k_prime=10",
    "rerank.pointwise_users=20",
    "aggregation.alpha_1=[0.3, 0.7]",
    "aggregation.alpha_2=[0.1, 0.5]",
    'variants=["ift", "wo_da", "wo_pa", "wo_aa"]',
)
#: the stages that were interrupted: a backbone, an LLM, and the other LLM by Ctrl-C
STRUCK = ("hint/sasrec", "llm/augmented", "llm/plain")


class Run(NamedTuple):
    """A finished run: its folder, its report, and what it printed from its first start on."""

    out: Path
    report: dict
    log: str


def command(out):
    """The command line of the run in the folder `out`."""
    job = [sys.executable, str(ROOT / "jobs" / "full_pipeline.py"), "--out", str(out)]
    return [*job, *(part for setting in SETTINGS for part in ("--set", setting))]


def written(out, stage, inside):
    """A function that says whether an unfinished stage has written a file already."""
    pattern = f"{stage.replace('/', '.')}-*/{inside}"
    return lambda: any((out / "scratch").glob(pattern))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The run, killed with SIGKILL in two stages and stopped by Ctrl-C in a third."""
    out = tmp_path_factory.mktemp("llama4rec") / "run"
    log = out.parent / "run.log"
    for stage, file, sent in zip(
        STRUCK,
        ("latest", "checkpoint_*", "checkpoint_*"),
        (signal.SIGKILL, signal.SIGKILL, signal.SIGINT),
        strict=True,
    ):
        code = kill_when(out, log, written(out, stage, file), stage, command, sent)
        assert code == (130 if sent == signal.SIGINT else -sent)
    return Run(out, finish(out, log, command), log.read_text())
