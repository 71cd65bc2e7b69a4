"""The answer of a run in words: what the LLM adds, how significantly, for whom, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from raypipe.papers.llama4rec.report.published import TITLES, Baseline
from raypipe.papers.llama4rec.report.result_tables import OVER_BASE, SLICES, TaskTable
from raypipe.reports.cells import SIGNIFICANT
from raypipe.reports.gains import effects, one_seed
from raypipe.reports.wording import count, duration, listed, percent, signed_percent

TASKS = {
    "direct": "direct recommendation",
    "sequential": "sequential recommendation",
    "rating": "rating prediction",
}


class GainRow(NamedTuple):
    """One line of the table below the answer: a task against a baseline, all as text.

    Attributes:
        task: name of the task in its first row, "" in its second.
    """

    task: str
    baseline: str
    gain: str
    significance: str
    claim: str


@dataclass(frozen=True)
class Answer:
    """The head of every report.

    Attributes:
        text: one short paragraph.
        gains: two rows for each task, over Base and over the better of Base and IFT.
    """

    text: str
    gains: list[GainRow]


def answer(tables: Sequence[TaskTable], report: Mapping[str, Any]) -> Answer:
    """What a run shows.

    Args:
        tables: the result tables of the run.
        report: report.json; `run` and `llm` are read, and where they are there, `stages`.
    """
    sentences = [
        _effect(tables, report["run"]["dataset"]),
        _detectable(tables),
        _histories(tables),
        _cost(report),
        one_seed(report["run"]["seeds"]),
        _missing(tables),
    ]
    gains = []
    for table in tables:
        gains += [_gain_row(table, "base"), _gain_row(table, "better")._replace(task="")]
    return Answer(" ".join(filter(None, sentences)), gains)


def _effect(tables: Sequence[TaskTable], dataset: str) -> str:
    """The first sentence: the effect over Base on each task."""
    comparisons = {TASKS[table.task]: table.over("base") for table in tables}
    return f"On {dataset}, compared with the backbone alone (Base), the LLM {effects(comparisons)}."


def _detectable(tables: Sequence[TaskTable]) -> str:
    """How large a gain the tests can miss, where they show none."""
    users, sizes = set(), []
    with_ift = any(TITLES["ift"] in table.variants for table in tables)
    baseline = "the better of Base and IFT" if with_ift else "Base"
    for table in tables:
        shares = [backbone.detectable_share for backbone in table.backbones]
        if table.over("base").verdict == "none" and min(shares) > 0:
            users |= {backbone.n_users for backbone in table.backbones}
            metric = table.backbones[0].slice_metric
            sizes.append(f"{percent(min(shares), 0)} of {metric} in {TASKS[table.task]}")
    if not sizes:
        return ""
    number = f"{min(users):,} to {max(users):,}" if len(users) > 1 else f"{min(users):,}"
    return (
        f"With {number} test users, the tests can miss even a true gain over {baseline} of"
        f" {listed(sizes)}."
    )


def _histories(tables: Sequence[TaskTable]) -> str:
    """Whether users with short histories gain more than those with long ones."""
    more: list[str] = []
    less: list[str] = []
    compared = False
    for table in tables:
        for backbone in table.backbones:
            thirds = backbone.thirds.get(SLICES["history"], {})
            if OVER_BASE not in thirds:
                continue
            compared = True
            difference, p = thirds[OVER_BASE]
            if p <= SIGNIFICANT:
                name = f"{TASKS[table.task]} with {backbone.backbone}"
                (more if difference > 0 else less).append(name)
    if not compared:
        return ""
    if not more and not less:
        return "The gain does not differ significantly between users with short and long histories."
    claims = []
    if more:
        claims.append(f"more in {listed(more)}")
    if less:
        claims.append(f"less in {listed(less)}")
    return (
        f"Users with short histories gain significantly {listed(claims)} than users with long ones."
    )


def _cost(report: Mapping[str, Any]) -> str:
    llm = report["llm"]
    shares = {part["name"]: part["seconds"] for part in llm.get("shares", [])}
    answering = llm["seconds"] + shares.get("building prompts", 0.0)
    return (
        f"The LLM cost {duration(llm['tuning_seconds'] + answering)} of computing"
        f" ({duration(llm['tuning_seconds'])} of tuning) and {count(llm['prompts'], 'prompt')}"
        f"{_dollars(report)}."
    )


def _dollars(report: Mapping[str, Any]) -> str:
    """What requests to endpoints cost; empty where there were none."""
    dollars, requests = 0.0, 0
    for stage in report.get("stages", []):
        if "dollars" in stage["facts"]:
            dollars += stage["facts"]["dollars"]
            requests += stage["facts"]["rows"]
    return f", and {dollars:,.2f} dollars for {count(requests, 'request')} to an endpoint" * (
        requests > 0
    )


def _missing(tables: Sequence[TaskTable]) -> str:
    measured = {table.task for table in tables}
    missing = [name for task, name in TASKS.items() if task not in measured]
    return f"This run did not measure {listed(missing, 'or')}." if missing else ""


def _gain_row(table: TaskTable, baseline: Baseline) -> GainRow:
    comparison = table.over(baseline)
    return GainRow(
        TASKS[table.task],
        _baseline_name(table, baseline),
        signed_percent(comparison.mean),
        comparison.significance,
        comparison.claim,
    )


def _baseline_name(table: TaskTable, baseline: Baseline) -> str:
    if baseline == "base":
        return "Base"
    return (
        "the better of Base and IFT"
        if TITLES["ift"] in table.variants
        else "Base (IFT was not run)"
    )
