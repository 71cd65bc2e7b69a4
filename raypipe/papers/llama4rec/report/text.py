"""The report as text: Markdown to paste, and a summary for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from raypipe.evaluation import significance
from raypipe.evaluation.slices import NAMES
from raypipe.reports.pages import cell_text


def markdown(sheets: list[dict[str, Any]], report: dict[str, Any]) -> str:
    """The sheets as Markdown, in brackets what the paper prints; for whom, the weights, costs, and where it ran."""
    run = report["run"]
    lines = [
        f"# {run['dataset']}: does the LLM help?",
        "",
        f"Protocol `{run['protocol']}`, {run['seeds']} seed(s), commit {run['commit']}, {run['finished']}.",
        "Full ranking, chosen on validation, test read once. In brackets: the paper's value.",
        "*: p at most 0.05 (paired over users and seeds, Holm over all cells). Effect: Cohen's d. Detectable: the least true"
        " difference that so many users would show in four runs of five."
        + significance.single_seed_caution(run["seeds"]),
    ]
    for sheet in sheets:
        lines += ["", f"## {sheet['task']}", "", *_head("backbone", "", *sheet["metrics"])]
        for group in sheet["groups"]:
            for line in group["lines"]:
                lines.append(
                    _row(
                        group["backbone"],
                        line["variant"],
                        *(cell_text(c, run["seeds"] > 1) for c in line["cells"]),
                    )
                )
            lines.append(_row("", "gain", *(f"{v:+.1%}" for v in group["gain"])))
            lines.append(_row("", "p", *map(significance.format_p, group["p"])))
            lines.append(_row("", "effect", *(f"{v:+.2f}" for v in group["effect"])))
            lines.append(_row("", "detectable", *(f"{v:.4f}" for v in group["detectable"])))
            if group["oracle"] is not None:
                lines.append(
                    _row(
                        "",
                        "best order of the same candidates",
                        *[f"{group['oracle']:.4f}"] * len(sheet["metrics"]),
                    )
                )
        lines += [
            "",
            f"Mean gain: {sheet['gain']:+.1%}. The paper claims {sheet['claimed']:+.2%} over all its datasets.",
        ]
        lines += _for_whom(sheet)
    return (
        "\n".join([*lines, *_weights(report["aggregation"]), *_costs(report["llm"]), *_where(run)])
        + "\n"
    )


def _for_whom(sheet: dict[str, Any]) -> list[str]:
    """The slices of a task, and whether the first third differs from the last (L4)."""
    groups = sheet["groups"]
    lines = [
        "",
        f"### For whom? {groups[0]['slice_metric']} of Base → Llama4Rec by thirds of users",
        "",
    ]
    lines += _head("backbone", "by", *NAMES, *(f"{name}, tail - head" for name in sheet["tails"]))
    for group in groups:
        for by, thirds in group["slices"].items():
            shown = [
                "{:.4f} → {:.4f}".format(*thirds[third]) if third in thirds else ""
                for third in NAMES
            ]
            tails = (group["tails"].get(by, {}).get(name) for name in sheet["tails"])
            told = [
                f"{tail[0]:+.4f} (p {significance.format_p(tail[1])})" if tail else ""
                for tail in tails
            ]
            lines.append(_row(group["backbone"], by, *shown, *told))
    return lines


def _weights(aggregation: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Weights, chosen on validation",
        "",
        *_head("task", "backbone", "ranking", "alpha_1", "alpha_2", "validation"),
    ]
    for a in aggregation:
        lines.append(
            _row(
                a["task"],
                a["backbone"],
                a["ranking"],
                a["alpha_1"],
                a["alpha_2"],
                f"{abs(a['validation']):.4f}",
            )
        )
    return lines


def _costs(llm: dict[str, Any]) -> list[str]:
    told = {
        "model": llm["model"],
        "parameters": f"{llm['parameters']:,}" if llm["parameters"] else "unknown",
        "engine": llm["engine"],
        "all tuning": f"{llm['tuning_seconds']:.0f} s; the last {llm['instructions']:,} instructions, {llm['steps']:,} steps",
        "prompts": f"{llm['prompts']:,}, {llm['known']:,} of them not asked again",
        "rejected answers": ", ".join(
            f"{kind}: {count:,}" for kind, count in llm["rejected"].items()
        )
        or "none",
        "answers a second": f"{llm['prompts_per_second']:.1f}"
        if llm["prompts_per_second"]
        else "none asked in this run",
        "tokens in, out": f"{llm['tokens_in']:,}, {llm['tokens_out']:,}",
        "fits on augmented data, a seed": f"{llm['refit_seconds']:.0f} s",
    }
    return ["", "## The LLM", "", *_head("", ""), *(_row(*pair) for pair in told.items())]


def _where(run: dict[str, Any]) -> list[str]:
    machine = run["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return [
        "",
        "## Where",
        "",
        f"{machine['cores']} cores, {machine['processor']}, {machine['memory_gib']} GiB. {versions}.",
    ]


def _row(*cells: Any) -> str:
    return "|" + "|".join(f" {cell} " if cell != "" else " " for cell in cells) + "|"


def _head(*names: str) -> Iterable[str]:
    return _row(*names), "|" + "---|" * len(names)


def summary(sheets: list[dict[str, Any]]) -> str:
    """The sheets as text for a terminal."""
    lines = []
    for sheet in sheets:
        for group in sheet["groups"]:
            lines.append(f"{sheet['task']} / {group['backbone']} ({group['n_users']} users)")
            lines.append("  " + f"{'':12s}" + "".join(f"{m:>10s}" for m in sheet["metrics"]))
            for line in group["lines"]:
                lines.append(
                    "  "
                    + f"{line['variant']:12s}"
                    + "".join(f"{c['mean']:10.4f}" for c in line["cells"])
                )
            lines.append("  " + f"{'gain':12s}" + "".join(f"{g:+10.1%}" for g in group["gain"]))
    return "\n".join(lines)
