"""The report as text: Markdown to paste, and a summary for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raypipe.evaluation import significance
from raypipe.papers.reclm.backbones import METRICS
from raypipe.papers.reclm.report.answer import INFORMATIVE, Answer
from raypipe.papers.reclm.report.result_tables import AblationRow, SettingTable
from raypipe.reports.gains import Gain
from raypipe.reports.markdown import Beginning, beginning, ending
from raypipe.reports.markdown import table as markdown_table
from raypipe.reports.wording import signed_percent

#: heading of the table of gains
GAIN_HEAD = ("Setting", "Mean gain over Base", "Significance")

HOW_TO_READ = (
    "The log is cut at one point in time into two snapshots. Models learn from the first and are"
    " tested on the second.",
    "Full-shot ranks all items of the second snapshot. Zero-shot ranks only those that the first"
    " does not have: cold-start items.",
    "Base represents items by their texts and has no profiles. Augment adds the LLM's profiles of"
    " users and items. The other rows add other profiles.",
    "w/o user profiles: only those of items. w/o item profiles: only those of users.",
    "Teacher's profiles: those that the LLM learns from. Untuned LLM: profiles of an LLM that was"
    " not tuned. GPT_KD: of one that only learned to imitate the teacher. Naive: of one tuned with"
    " dialogues, with the loss on other tokens. Mask: of the tuned LLM before reinforcement"
    " learning.",
    "R@k: recall, the share of a user's items among the first k. N@k: NDCG, which gives more credit"
    " to a higher rank.",
    "Mean gain: the relative improvement over Base, averaged over backbones and metrics. Each"
    " backbone and metric is one result.",
    "Epochs are chosen on validation; the test part is read once.",
    "p: two-sided paired t-test over users and seeds, corrected by Holm for all tests against Base,"
    " and for all tests of what each part adds. A star marks p at most 0.05.",
    "Random orders: the smallest, mean and largest value of twenty orders of the items, each the"
    " same for all users. A result in this range may be luck. Where the smallest equals the"
    " largest, every order has this value and the metric shows nothing.",
)


def markdown(
    answer: Answer,
    tables: Sequence[SettingTable],
    parts: Sequence[AblationRow],
    report: Mapping[str, Any],
) -> str:
    """The report as Markdown: the answer, the tables, and where it ran."""
    run = report["run"]
    spread = run["seeds"] > 1
    head = Beginning(
        title=f"{run['dataset']}: do profiles make cold-start items recommendable?",
        answer=answer.text,
        gains=markdown_table(GAIN_HEAD, answer.gains) if answer.gains else (),
        protocol="",
        how_to_read=HOW_TO_READ,
    )
    lines = beginning(head, run)
    for table in tables:
        lines += ["", f"## {table.setting}", "", *result_lines(table, spread)]
    if parts:
        lines += [
            "",
            "## What each part adds",
            "",
            "Gain of Augment over each of the other rows.",
            "",
        ]
        lines += ablation_lines(parts)
    lines += ["", "## Do texts predict choices?", "", signal_text(report["text signal"])]
    return "\n".join([*lines, *ending(run)]) + "\n"


def result_lines(table: SettingTable, spread: bool) -> list[str]:
    """One setting as a Markdown table; `spread` adds standard deviations."""
    rows: list[list[str]] = []
    for backbone in table.backbones:
        for line in backbone.lines:
            cells = [cell.text(spread) for cell in line.cells]
            rows.append([backbone.title, line.title, *cells])
    ranges = [f"{low:.4f} to {high:.4f}" for low, _, high in table.random.values()]
    rows.append(["random orders", "", *ranges])
    return markdown_table(["backbone", "", *METRICS], rows)


def ablation_lines(parts: Sequence[AblationRow]) -> list[str]:
    """Augment over the other rows as a Markdown table."""
    rows = []
    for part in parts:
        gains = [_gain_text(gain) for gain in part.gains]
        rows.append([part.backbone, part.setting, part.other, *gains])
    return markdown_table(["backbone", "setting", "Augment over", *METRICS], rows)


def _gain_text(gain: Gain) -> str:
    star = "*" if gain.significant else ""
    p = significance.format_p(gain.p) if gain.p is not None else ""
    return f"{signed_percent(gain.share)}{star} (p {p})"


def signal_text(signal: Mapping[str, Any]) -> str:
    """Whether users choose items with similar texts."""
    return (
        f"The text vectors of two items of the same user have a mean cosine of"
        f" {signal['cosine']:.4f}. With texts assigned to items at random it is"
        f" {signal['random']:.4f} ± {signal['std']:.4f} ({signal['pairs']:,} pairs). The difference"
        f" is {signal['z']:+.1f} standard deviations (z): {_conclusion(signal['z'])}"
    )


def _conclusion(z: float) -> str:
    if z >= INFORMATIVE:
        return "users choose items with similar texts."
    return "it does not show that users choose items with similar texts."


def summary(answer: Answer, tables: Sequence[SettingTable]) -> str:
    """The answer and the tables as text for a terminal."""
    lines = [textwrap.fill(answer.text, 96)]
    for table in tables:
        lines += ["", *_setting_lines(table)]
    return "\n".join(lines)


def _setting_lines(table: SettingTable) -> Iterator[str]:
    yield f"{table.setting:38s}" + "".join(map("{:>10s}".format, METRICS))
    for backbone in table.backbones:
        for line in backbone.lines:
            means = [cell.mean for cell in line.cells]
            yield _terminal_row(f"{backbone.title}, {line.title}", means)
    smallest, _, largest = zip(*table.random.values(), strict=True)
    yield _terminal_row("random order, smallest", smallest)
    yield _terminal_row("random order, largest", largest)


def _terminal_row(name: str, numbers: Sequence[float]) -> str:
    return f"  {name:36s}" + "".join(map("{:10.4f}".format, numbers))
