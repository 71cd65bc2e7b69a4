"""The result tables of a run: our values over seeds, with the published ones beside them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from raypipe.backbones import registry
from raypipe.evaluation import metrics, significance
from raypipe.papers.llama4rec.report.published import CLAIMS, TITLES, Baseline
from raypipe.papers.llama4rec.report.result_rows import ResultRow, base_p
from raypipe.reports.cells import Cell
from raypipe.reports.gains import Comparison, Gain

#: the metric of each task for which slices are shown
MAIN_METRICS = ("N@5", "RMSE")

#: names of the two ways to slice users
SLICES = {"history": "history length", "popularity": "target popularity"}

#: the comparison of what Llama4Rec adds to Base
OVER_BASE = "Llama4Rec over Base"

#: what is compared between the lowest and the highest third of users (L4): name -> variant, and
#: whether its values or its gain over Base are compared
THIRDS_COMPARED = {
    "Base": ("base", "level"),
    "IFT": ("ift", "level"),
    OVER_BASE: ("llama4rec", "gain"),
}

#: task, backbone and metric
Place = tuple[str, str, str]
Key = TypeVar("Key", bound=Hashable)


class Line(NamedTuple):
    """One variant of a backbone: its title, and a cell for each metric."""

    variant: str
    cells: list[Cell]


@dataclass(frozen=True)
class BackboneTable:
    """The results of one backbone.

    Attributes:
        lines: one for each variant.
        over_base, over_better: gain of Llama4Rec for each metric.
        effect: Cohen's d of the users' differences from the better baseline, for each metric.
        detectable: the smallest true difference that the run could show, for each metric.
        detectable_share: the detectable difference in `slice_metric`, as a share of the better
            baseline's value.
        oracle: what the best order of the same candidates would reach; None in rating prediction.
        slice_metric: the metric that `slices` and `thirds` show.
        slices: slicing -> third -> values of Base and of Llama4Rec.
        thirds: slicing -> name in THIRDS_COMPARED -> difference of the lowest third from the
            highest, and its corrected p value.
    """

    backbone: str
    n_users: int
    lines: list[Line]
    over_base: list[Gain]
    over_better: list[Gain]
    effect: list[float]
    detectable: list[float]
    detectable_share: float
    oracle: float | None
    slice_metric: str
    slices: dict[str, dict[str, tuple[float, float]]]
    thirds: dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class TaskTable:
    """The results of one task, as the paper prints them: its backbones one below the other."""

    task: str
    metrics: list[str]
    backbones: list[BackboneTable]

    @property
    def variants(self) -> list[str]:
        """Titles of the variants."""
        return [line.variant for line in self.backbones[0].lines]

    @property
    def has_published(self) -> bool:
        """Whether the paper has a value for any of the cells."""
        for backbone in self.backbones:
            for line in backbone.lines:
                if any(cell.published is not None for cell in line.cells):
                    return True
        return False

    @property
    def thirds_compared(self) -> list[str]:
        """Names in THIRDS_COMPARED that this task shows."""
        variants = self.variants
        return [name for name, (own, _) in THIRDS_COMPARED.items() if TITLES[own] in variants]

    def over(self, baseline: Baseline) -> Comparison:
        """Llama4Rec against Base, or against the better of Base and IFT."""
        gains: list[Gain] = []
        for table in self.backbones:
            gains += table.over_base if baseline == "base" else table.over_better
        claim = CLAIMS[self.task]
        return Comparison(gains, claim.gain if claim.baseline == baseline else None)


class Corrected(NamedTuple):
    """p values, corrected by Holm over all cells of the report.

    Attributes:
        better: Llama4Rec against the better of Base and IFT.
        base: Llama4Rec against Base; older reports lack some.
        thirds: (task, backbone, slicing, name in THIRDS_COMPARED) -> lowest against highest third.
    """

    better: dict[Place, float]
    base: dict[Place, float]
    thirds: dict[tuple[str, str, str, str], float]


def task_tables(rows: Sequence[ResultRow]) -> list[TaskTable]:
    """The tables of a run, one for each task."""
    corrected = _corrected(rows)
    tables = []
    for task in _distinct(rows, "task"):
        task_rows = _where(rows, "task", task)
        backbones = []
        for backbone in _distinct(task_rows, "backbone"):
            backbones.append(_backbone_table(_where(task_rows, "backbone", backbone), corrected))
        tables.append(TaskTable(task, _distinct(task_rows, "metric"), backbones))
    return tables


def _distinct(rows: Sequence[ResultRow], column: str) -> list[str]:
    return list(dict.fromkeys(str(row.get(column)) for row in rows))


def _where(rows: Sequence[ResultRow], column: str, value: str) -> list[ResultRow]:
    return [row for row in rows if row.get(column) == value]


def _corrected(rows: Sequence[ResultRow]) -> Corrected:
    better, base, thirds = {}, {}, {}
    for row in rows:
        place = row["task"], row["backbone"], row["metric"]
        if row["variant"] == "llama4rec":
            better[place] = row["p"]
            p = base_p(row)
            if p is not None:
                base[place] = p
        if row["metric"] in MAIN_METRICS:
            for (slicing, name), (_, p) in _thirds(row).items():
                thirds[row["task"], row["backbone"], slicing, name] = p
    return Corrected(_holm(better), _holm(base), _holm(thirds))


def _holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    return dict(zip(p_values, significance.holm(list(p_values.values())), strict=True))


def _thirds(row: ResultRow) -> dict[tuple[str, str], tuple[float, float]]:
    """(slicing, name in THIRDS_COMPARED) -> difference and p, as far as this variant has them."""
    compared = {}
    for name, (variant, kind) in THIRDS_COMPARED.items():
        if variant == row["variant"]:
            for slicing, kinds in row.get("tails", {}).items():
                compared[slicing, name] = kinds[kind]["difference"], kinds[kind]["p"]
    return compared


def _backbone_table(rows: Sequence[ResultRow], corrected: Corrected) -> BackboneTable:
    """The table of one backbone from its rows: all variants, all metrics."""
    task, backbone = rows[0]["task"], rows[0]["backbone"]
    by_variant: dict[str, dict[str, ResultRow]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], {})[row["metric"]] = row
    base, ours = by_variant["base"], by_variant["llama4rec"]
    over_base, over_better = [], []
    effect, detectable = [], []
    for metric, row in ours.items():
        place = task, backbone, metric
        over_base.append(Gain(_gain(row, base[metric]), corrected.base.get(place)))
        baseline = by_variant[row["against"]][metric]
        over_better.append(Gain(_gain(row, baseline), corrected.better[place]))
        effect.append(row["effect"])
        detectable.append(row["detectable"])
    main = next(metric for metric in ours if metric in MAIN_METRICS)
    return BackboneTable(
        backbone=registry.title(backbone),
        n_users=rows[0]["n_users"],
        lines=_lines(by_variant, over_better),
        over_base=over_base,
        over_better=over_better,
        effect=effect,
        detectable=detectable,
        detectable_share=_detectable_share(by_variant, main),
        oracle=ours[main].get("oracle"),
        slice_metric=main,
        slices=_slices(base[main], ours[main]),
        thirds=_thirds_of_variants(by_variant, main, corrected),
    )


def _lines(
    by_variant: Mapping[str, Mapping[str, ResultRow]], over_better: Sequence[Gain]
) -> list[Line]:
    best = {}
    for metric in by_variant["base"]:
        means = [own[metric]["mean"] for own in by_variant.values()]
        best[metric] = min(means) if metric in metrics.RATING else max(means)
    lines = []
    for variant, own in by_variant.items():
        cells = []
        for (metric, row), gain in zip(own.items(), over_better, strict=True):
            significant = variant == "llama4rec" and gain.significantly_better
            is_best = row["mean"] == best[metric]
            cells.append(Cell(row["mean"], row["std"], row["published"], significant, is_best))
        lines.append(Line(TITLES[variant], cells))
    return lines


def _slices(base: ResultRow, ours: ResultRow) -> dict[str, dict[str, tuple[float, float]]]:
    slices: dict[str, dict[str, tuple[float, float]]] = {}
    for slicing, thirds in base["slices"].items():
        pairs = slices.setdefault(SLICES[slicing], {})
        for third, value in thirds.items():
            pairs[third] = value, ours["slices"][slicing][third]
    return slices


def _thirds_of_variants(
    by_variant: Mapping[str, Mapping[str, ResultRow]], main: str, corrected: Corrected
) -> dict[str, dict[str, tuple[float, float]]]:
    thirds: dict[str, dict[str, tuple[float, float]]] = {}
    for own in by_variant.values():
        row = own[main]
        for (slicing, name), (difference, _) in _thirds(row).items():
            p = corrected.thirds[row["task"], row["backbone"], slicing, name]
            thirds.setdefault(SLICES[slicing], {})[name] = difference, p
    return thirds


def _detectable_share(by_variant: Mapping[str, Mapping[str, ResultRow]], metric: str) -> float:
    ours = by_variant["llama4rec"][metric]
    baseline = by_variant[ours["against"]][metric]["mean"]
    return ours["detectable"] / baseline if baseline else 0.0


def _gain(ours: ResultRow, baseline: ResultRow) -> float:
    """Relative improvement, also of errors (L40)."""
    if not baseline["mean"]:
        return 0.0
    change = (ours["mean"] - baseline["mean"]) / baseline["mean"]
    return -change if ours["metric"] in metrics.RATING else change
