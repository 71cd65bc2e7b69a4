"""The report as text: Markdown to paste, and a summary for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raypipe.backbones import registry
from raypipe.evaluation import significance
from raypipe.evaluation.slices import NAMES
from raypipe.papers.llama4rec.report.answer import Answer, GainRow
from raypipe.papers.llama4rec.report.result_tables import BackboneTable, TaskTable
from raypipe.reports.markdown import Beginning, beginning, ending
from raypipe.reports.markdown import table as markdown_table
from raypipe.reports.wording import count, signed_percent

#: heading of the table of gains
GAIN_HEAD = ("Task", "Baseline", "Mean gain", "Significance", "Gain in the paper")

HOW_TO_READ = (
    "Base is the backbone alone: a conventional recommender. IFT is the LLM alone: it re-ranks the"
    " backbone's list, or predicts the rating. Llama4Rec mixes both with a weight per user.",
    "w/o DA: Llama4Rec without data augmentation, the training data that the LLM adds. w/o PA:"
    " without prompt augmentation, what the backbone adds to the prompts. w/o AA: without adaptive"
    " aggregation, that is with one weight for all users.",
    "H@k: share of users whose target (the held-out item) is among the first k. N@k: NDCG, which"
    " gives more credit to a higher rank. RMSE and MAE: errors of predicted ratings, lower is"
    " better.",
    "The backbone ranks all items, and the LLM re-ranks the first k' of them (rerank.k_prime)."
    " Settings are chosen on the validation part; the test part is read once.",
    "Mean gain: the relative improvement of Llama4Rec over a baseline, averaged over backbones and"
    " metrics. Positive is better, also for errors. Each backbone and metric is one result.",
    "Gain in the paper: the mean over the paper's own datasets, with the paper's LLM.",
    "The rows gain, p, effect and detectable compare Llama4Rec with the better of Base and IFT.",
    "p: two-sided paired t-test over users and seeds, corrected by Holm for all tests of the same"
    " kind in this report. A star marks a gain with p at most 0.05.",
    "Effect: Cohen's d, the mean over users of the improvement, divided by its standard deviation"
    " between users.",
    "Detectable: the smallest true difference, in units of the metric, that a test with as many"
    " users would show in four out of five cases (before Holm's correction).",
    "Best order: the value if the re-ranked items stood in the best possible order.",
    "For whom: users are cut into thirds by the length of their training history, or by the"
    " popularity of their target in training. Lowest - highest is the value of the lowest third"
    " minus that of the highest. For Llama4Rec over Base it compares what Llama4Rec adds to Base,"
    " in units of the metric; positive means that the lowest third gains more.",
    "Protocol all counts every interaction as positive, liked only high ratings. A seed is one"
    " repetition: backbones are trained and data is augmented anew, with the same LLM. A commit"
    " with +changes had local changes.",
)

#: `llm.source` -> what the report calls it
MODELS = {"embedded": "embedded: a small LLaMA that the run built from its own texts"}

#: how the weight of the LLM is made, and what its table shows
WEIGHT = (
    "Llama4Rec weighs the LLM by w and the backbone by 1 - w. The paper's w (eq. 5) is alpha_1 x"
    " max(t, alpha_2), where t falls from 1 for the shortest training history to 0 for the longest."
    " Listwise: one prompt ranks all candidates; pointwise: one prompt rates one of them."
    " Validation: N@5, or RMSE in rating prediction."
)


def markdown(answer: Answer, tables: Sequence[TaskTable], report: Mapping[str, Any]) -> str:
    """The report as Markdown: the answer, the tables, slices, weights, costs, and where it ran."""
    run = report["run"]
    spread = run["seeds"] > 1
    head = Beginning(
        title=f"{run['dataset']}: does the LLM help?",
        answer=answer.text,
        gains=markdown_table(GAIN_HEAD, answer.gains),
        protocol=f"Protocol `{run['protocol']}`, ",
        how_to_read=HOW_TO_READ,
    )
    lines = beginning(head, run)
    for table in tables:
        lines += ["", f"## {table.task}", "", *result_lines(table, spread)]
        lines += ["", f"### For whom? {table.backbones[0].slice_metric} by thirds of users", ""]
        lines += _slice_lines(table)
    lines += _weights(report["aggregation"])
    lines += _costs(report["llm"])
    return "\n".join([*lines, *ending(run)]) + "\n"


def result_lines(table: TaskTable, spread: bool, tests: bool = True) -> list[str]:
    """One task as a Markdown table.

    Args:
        spread: show standard deviations.
        tests: show gains and their tests below each backbone.
    """
    rows: list[list[str]] = []
    for backbone in table.backbones:
        for line in backbone.lines:
            cells = [cell.text(spread) for cell in line.cells]
            rows.append([backbone.backbone, line.variant, *cells])
        if tests:
            rows += _test_rows(backbone)
    return markdown_table(["backbone", "", *table.metrics], rows)


def _test_rows(backbone: BackboneTable) -> Iterator[list[str]]:
    gains, p_values = [], []
    for gain in backbone.over_better:
        gains.append(signed_percent(gain.share))
        p_values.append(significance.format_p(gain.p) if gain.p is not None else "")
    yield ["", "gain", *gains]
    yield ["", "p", *p_values]
    yield ["", "effect", *map("{:+.2f}".format, backbone.effect)]
    yield ["", "detectable", *map("{:.4f}".format, backbone.detectable)]
    if backbone.oracle is not None:
        yield ["", "best order", *[f"{backbone.oracle:.4f}"] * len(gains)]


def _slice_lines(table: TaskTable) -> list[str]:
    """Base → Llama4Rec in each third, and whether the lowest third differs from the highest."""
    head = ["backbone", "thirds by", "lowest third", "middle third", "highest third"]
    for name in table.thirds_compared:
        head.append(f"{name}: lowest - highest")
    rows = []
    for backbone in table.backbones:
        for slicing, thirds in backbone.slices.items():
            cells = []
            for third in NAMES:
                pair = thirds.get(third)
                cells.append(f"{pair[0]:.4f} → {pair[1]:.4f}" if pair else "")
            for name in table.thirds_compared:
                cells.append(_thirds_cell(backbone.thirds.get(slicing, {}).get(name)))
            rows.append([backbone.backbone, slicing, *cells])
    return markdown_table(head, rows)


def _thirds_cell(difference: tuple[float, float] | None) -> str:
    if difference is None:
        return ""
    return f"{difference[0]:+.4f} (p {significance.format_p(difference[1])})"


def _weights(aggregation: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for weights in aggregation:
        rows.append(
            [
                weights["task"],
                registry.title(weights["backbone"]),
                weights["ranking"],
                weights["alpha_1"],
                weights["alpha_2"],
                f"{abs(weights['validation']):.4f}",
            ]
        )
    head = ["task", "backbone", "ranking", "alpha_1", "alpha_2", "validation"]
    return [
        "",
        "## Weight of the LLM, chosen on validation",
        "",
        WEIGHT,
        "",
        *markdown_table(head, rows),
    ]


def _costs(llm: Mapping[str, Any]) -> list[str]:
    return ["", "## The LLM", "", *markdown_table(["", ""], list(cost_facts(llm).items()))]


def cost_facts(llm: Mapping[str, Any]) -> dict[str, str]:
    """What the LLM is and what it cost, as name -> text."""
    rejected = []
    for kind, number in llm["rejected"].items():
        rejected.append(f"{kind}: {number:,}")
    rate = llm["prompts_per_second"]
    return {
        "model": MODELS.get(llm["model"], llm["model"]),
        "parameters": f"{llm['parameters']:,}" if llm["parameters"] else "unknown",
        "engine": llm["engine"],
        "tuning": f"{llm['tuning_seconds']:.0f} s for all LLMs of the run; Llama4Rec's LLM read"
        f" {count(llm['instructions'], 'instruction')} in {count(llm['steps'], 'step')}",
        "prompts": f"{llm['prompts']:,}, of which {llm['known']:,} had a cached answer",
        "tokens read": f"{llm['tokens_in']:,}",
        "tokens written": f"{llm['tokens_out']:,}",
        "answers per second": f"{rate:,.1f}, without engine start" if rate else "no new answers",
        "rejected answers": ", ".join(rejected) or "none",
        "training backbones again on augmented data": f"{llm['refit_seconds']:.0f} s per seed",
    }


def summary(answer: Answer, tables: Sequence[TaskTable]) -> str:
    """The answer and the tables as text for a terminal."""
    lines = [textwrap.fill(answer.text, 96), "", *_gain_lines(answer.gains)]
    for table in tables:
        for backbone in table.backbones:
            lines += ["", *_backbone_lines(table, backbone)]
    return "\n".join(lines)


def _gain_lines(gains: Sequence[GainRow]) -> Iterator[str]:
    """The table of gains with columns as wide as their longest cell."""
    rows = [GAIN_HEAD, *gains]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _backbone_lines(table: TaskTable, backbone: BackboneTable) -> Iterator[str]:
    yield f"{table.task} / {backbone.backbone} ({count(backbone.n_users, 'user')})"
    yield _terminal_row("", table.metrics)
    for line in backbone.lines:
        yield _terminal_row(line.variant, [f"{cell.mean:.4f}" for cell in line.cells])
    for name, gains in (
        ("over Base", backbone.over_base),
        ("over better", backbone.over_better),
    ):
        yield _terminal_row(name, [signed_percent(gain.share) for gain in gains])


def _terminal_row(name: str, cells: Sequence[str]) -> str:
    return f"  {name:12s}" + "".join(map("{:>10s}".format, cells))
