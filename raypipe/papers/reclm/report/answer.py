"""The answer of a run in words: whether profiles help, whether significantly, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raypipe.papers.reclm.report.result_tables import TITLES, SettingTable
from raypipe.reports.gains import effects, one_seed
from raypipe.reports.wording import count, duration, listed, signed_percent

#: what each setting ranks
SETTING_NAMES = {
    "full-shot": "full-shot recommendation",
    "zero-shot": "zero-shot recommendation of cold-start items",
}

#: the row that a run is about: the first of these that it has
MAIN_ROWS = ("augment", "mask", "gpt_kd", "teacher", "untuned")

#: a key of `education.smoothing.after` in report.json
RANDOM_USER = "with a random user"

#: below this z score, texts say no more about users' choices than random texts would
INFORMATIVE = 2.0


#: from this mean cosine of two random users' profiles on, the profiles are all alike
ALIKE = 0.99


class GainRow(NamedTuple):
    """One line of the table below the answer, as text."""

    setting: str
    gain: str
    significance: str


class Answer(NamedTuple):
    """The head of every report: a short paragraph, and the gain in each setting."""

    text: str
    gains: list[GainRow]


def answer(tables: Sequence[SettingTable], report: Mapping[str, Any]) -> Answer:
    """What a run shows, from its tables and report.json."""
    row = main_row(tables)
    sentences = [
        _effect(tables, row, report["run"]["dataset"]),
        _luck(tables, row),
        _profiles(report.get("education", {})),
        _texts(report["text signal"]),
        _cost(report["llm"]),
        one_seed(report["run"]["seeds"]),
    ]
    gains = []
    for table in tables if row else ():
        comparison = table.over_base(row)
        gains.append(
            GainRow(
                SETTING_NAMES[table.setting],
                signed_percent(comparison.mean),
                comparison.significance,
            )
        )
    return Answer(" ".join(filter(None, sentences)), gains)


def main_row(tables: Sequence[SettingTable]) -> str:
    """The row that the run is about; "" where it has Base only."""
    rows = []
    for backbone in tables[0].backbones:
        rows += [line.row for line in backbone.lines if line.gains]
    for row in (*MAIN_ROWS, *rows):
        if row in rows:
            return row
    return ""


def _effect(tables: Sequence[SettingTable], row: str, dataset: str) -> str:
    if not row:
        return f"On {dataset}, this run measures Base only, so it does not show what profiles add."
    comparisons = {SETTING_NAMES[table.setting]: table.over_base(row) for table in tables}
    return (
        f"On {dataset}, compared with no profiles (Base), the use of LLM-written profiles"
        f" ({TITLES[row]}) {effects(comparisons)}."
    )


def _luck(tables: Sequence[SettingTable], row: str) -> str:
    """The settings in which no result is better than some random order."""
    settings = [SETTING_NAMES[table.setting] for table in tables if row and _is_luck(table, row)]
    if not settings:
        return ""
    return f"In {listed(settings)}, no result is better than the best of twenty random orders."


def _is_luck(table: SettingTable, row: str) -> bool:
    """Whether no value of a row is above the range of random orders."""
    largest = [highest for _, _, highest in table.random.values()]
    for backbone in table.backbones:
        for line in backbone.lines:
            if line.row != row:
                continue
            for cell, most in zip(line.cells, largest, strict=True):
                if cell.mean > most:
                    return False
    return True


def _profiles(education: Mapping[str, Any]) -> str:
    """Whether the LLM wrote the same profile for all users."""
    after = education.get("smoothing", {}).get("after", {})
    if after.get(RANDOM_USER, 0.0) < ALIKE:
        return ""
    return (
        "The LLM wrote nearly the same profile for all users, so user profiles cannot tell"
        " users apart."
    )


def _texts(signal: Mapping[str, Any]) -> str:
    if signal["z"] >= INFORMATIVE:
        return ""
    return (
        "The item texts carry no information about users' choices beyond chance,"
        " so profiles made from them cannot help by their meaning."
    )


def _cost(llm: Mapping[str, Any]) -> str:
    waves = llm["waves"]
    if not waves:
        return ""
    tuning = sum(llm["tuning"].values())
    seconds = tuning + sum(wave["seconds"] for wave in waves)
    prompts = sum(wave["rows"] for wave in waves)
    dollars = [wave["dollars"] for wave in waves if wave["dollars"] is not None]
    fees = f", and {sum(dollars):,.2f} dollars for an endpoint" if dollars else ""
    return (
        f"The LLM cost {duration(seconds)} of computing ({duration(tuning)} of tuning) and"
        f" {count(prompts, 'prompt')}{fees}."
    )
