"""The result tables of a run: Table 1 and 2 of the paper, and what each part of the method adds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NotRequired, TypedDict, TypeVar

import numpy as np

from raypipe.evaluation import significance
from raypipe.papers.reclm.backbones import SETTINGS
from raypipe.reports.cells import Cell
from raypipe.reports.gains import Comparison, Gain

Key = TypeVar("Key", bound=Hashable)

TITLES = {
    "base": "Base",
    "wo_user": "w/o user profiles",
    "wo_item": "w/o item profiles",
    "teacher": "teacher's profiles",
    "untuned": "untuned LLM",
    "gpt_kd": "GPT_KD",
    "naive_first_turn": "Naive, first turn",
    "naive_all_tokens": "Naive, all tokens",
    "naive_last_turn": "Naive, last turn",
    "mask": "Mask",
    "augment": "Augment",
}


class ResultRow(TypedDict):
    """One metric of one row, as report.json keeps it; docs/run-folder.md describes the keys."""

    setting: str
    backbone: str
    title: str
    row: str
    metric: str
    mean: float
    std: float
    values: list[float]
    n_users: int
    published: float | None
    p: NotRequired[float]
    augment_p: NotRequired[float]


class Line(NamedTuple):
    """One row of a backbone.

    Attributes:
        row: its key in TITLES.
        cells: one for each metric.
        gains: over Base, one for each metric; empty for Base itself.
    """

    row: str
    cells: list[Cell]
    gains: list[Gain]

    @property
    def title(self) -> str:
        return TITLES[self.row]


@dataclass(frozen=True)
class BackboneTable:
    """The rows of one backbone."""

    title: str
    n_users: int
    lines: list[Line]


@dataclass(frozen=True)
class SettingTable:
    """The results of one setting, full-shot or zero-shot.

    Attributes:
        random: metric -> smallest, mean and largest value of random orders of the catalogue.
    """

    setting: str
    backbones: list[BackboneTable]
    random: dict[str, tuple[float, float, float]]

    @property
    def has_published(self) -> bool:
        """Whether the paper has a value for any of the cells."""
        for backbone in self.backbones:
            for line in backbone.lines:
                if any(cell.published is not None for cell in line.cells):
                    return True
        return False

    def over_base(self, row: str) -> Comparison:
        """One row against Base, over all backbones that have it."""
        gains: list[Gain] = []
        for backbone in self.backbones:
            for line in backbone.lines:
                if line.row == row:
                    gains += line.gains
        return Comparison(gains)


class AblationRow(NamedTuple):
    """Augment against another row: the gains of Augment over it, one for each metric."""

    setting: str
    backbone: str
    other: str
    gains: list[Gain]


#: setting, backbone, row and metric
Place = tuple[str, str, str, str]


def _place(row: ResultRow) -> Place:
    return row["setting"], row["backbone"], row["row"], row["metric"]


def _holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    return dict(zip(p_values, significance.holm(list(p_values.values())), strict=True))


def setting_tables(
    rows: Sequence[ResultRow], random: Mapping[str, Mapping[str, list[float]]]
) -> list[SettingTable]:
    """A table for each setting. p values are corrected by Holm over all tests against Base.

    Args:
        random: setting -> metric -> values of random orders.
    """
    corrected = _holm({_place(row): row["p"] for row in rows if "p" in row})
    tables = []
    for setting in SETTINGS:
        by_backbone: dict[str, list[ResultRow]] = {}
        for row in rows:
            if row["setting"] == setting:
                by_backbone.setdefault(row["backbone"], []).append(row)
        backbones = [_backbone_table(own, corrected) for own in by_backbone.values()]
        spread = {}
        for metric, values in random[setting].items():
            spread[metric] = min(values), float(np.mean(values)), max(values)
        tables.append(SettingTable(setting, backbones, spread))
    return tables


def _backbone_table(rows: Sequence[ResultRow], corrected: Mapping[Place, float]) -> BackboneTable:
    base = {row["metric"]: row["mean"] for row in rows if row["row"] == "base"}
    lines: dict[str, Line] = {}
    for row in rows:
        line = lines.setdefault(row["row"], Line(row["row"], [], []))
        if row["row"] == "base":
            line.cells.append(Cell(row["mean"], row["std"], row["published"], False))
            continue
        gain = Gain(_share(row["mean"], base[row["metric"]]), corrected[_place(row)])
        line.gains.append(gain)
        line.cells.append(
            Cell(
                row["mean"],
                row["std"],
                row["published"],
                gain.significantly_better,
                gain=gain.share,
            )
        )
    return BackboneTable(rows[0]["title"], rows[0]["n_users"], list(lines.values()))


def _share(value: float, baseline: float) -> float:
    return value / baseline - 1 if baseline else 0.0


def ablation(rows: Sequence[ResultRow]) -> list[AblationRow]:
    """Augment against each row but Base (Table 2, Figures 2 and 3).

    p values are corrected by Holm over all of these tests.
    """
    tested = [row for row in rows if "augment_p" in row]
    corrected = _holm({_place(row): row["augment_p"] for row in tested})
    augment = {}
    for row in rows:
        if row["row"] == "augment":
            augment[row["setting"], row["backbone"], row["metric"]] = row["mean"]
    table: dict[tuple[str, str, str], AblationRow] = {}
    for row in tested:
        setting, backbone, other, metric = _place(row)
        empty = AblationRow(setting, row["title"], TITLES[other], [])
        share = _share(augment[setting, backbone, metric], row["mean"])
        line = table.setdefault((setting, backbone, other), empty)
        line.gains.append(Gain(share, corrected[_place(row)]))
    return list(table.values())
