"""Plots as SVG text, to stand inside a self-contained page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from raypipe.backbones import registry
from raypipe.papers.llama4rec import aggregation

plt.rcParams |= {"font.size": 9, "svg.hashsalt": "raypipe"}


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def heat_map(grid: Sequence[Mapping[str, float]], chosen: tuple[float, float], label: str) -> str:
    """Validation value over alpha_1 and alpha_2 (the paper's Figure 4); a frame marks the choice.

    Args:
        grid: points with `alpha_1`, `alpha_2` and `value`. Values of errors are negative.
        chosen: alpha_1 and alpha_2.
    """
    points = pd.DataFrame(list(grid))
    table = points.pivot(index="alpha_1", columns="alpha_2", values="value")
    rows, columns = table.index.to_list(), table.columns.to_list()
    # errors are shown as positive numbers; the best point is the brightest all the same
    colours = "viridis_r" if table.max(axis=None) < 0 else "viridis"
    figure, axes = plt.subplots(figsize=(3.4, 2.8))
    image = axes.imshow(table.abs(), origin="lower", cmap=colours, aspect="auto")
    axes.set_xticks(range(len(columns)), list(map("{:g}".format, columns)))
    axes.set_yticks(range(len(rows)), list(map("{:g}".format, rows)))
    axes.set_xlabel("alpha_2")
    axes.set_ylabel("alpha_1")
    axes.set_title(label)
    corner = columns.index(chosen[1]) - 0.48, rows.index(chosen[0]) - 0.48
    frame = plt.Rectangle(corner, 0.96, 0.96, fill=False, edgecolor="red", linewidth=2)
    axes.add_patch(frame)
    figure.colorbar(image, ax=axes)
    return _svg(figure)


def weights(chosen: Sequence[Mapping[str, Any]]) -> str:
    """Weight of the LLM over the length of a user's training history (eq. 4, 5).

    Tasks and backbones with the same weights share a line.

    Args:
        chosen: what validation chose, one for each backbone.
    """
    names: dict[tuple[object, ...], dict[str, list[str]]] = {}
    choices = {}
    for choice in chosen:
        alphas = choice["alpha_1"], choice["alpha_2"], str(choice["learned"])
        line = *choice["ell_range"], *alphas
        choices[line] = choice
        by_task = names.setdefault(line, {})
        by_task.setdefault(choice["task"], []).append(registry.title(choice["backbone"]))
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    for line, choice in choices.items():
        low, high = choice["ell_range"]
        ell = np.linspace(low, high, 200)
        weight = aggregation.weight(ell, low, high, choice)
        tasks = names[line].items()
        label = "\n".join(f"{task}: {', '.join(titles)}" for task, titles in tasks)
        axes.plot(np.exp(ell) - 1, weight, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training interactions of the user")
    axes.set_ylabel("weight of the LLM")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7)
    return _svg(figure)


def over_runs(labels: Sequence[str], lines: Mapping[str, Sequence[float]], metric: str) -> str:
    """A metric over runs that differ in one setting (the paper's Figures 5 and 6).

    Args:
        labels: the runs.
        lines: "BACKBONE, VARIANT" -> its value in each run.
    """
    figure, axes = plt.subplots(figsize=(4.6, 3.0))
    for name, values in lines.items():
        axes.plot(range(len(labels)), values, marker="o", label=name)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(metric)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))  # beside the lines
    return _svg(figure)


def curves(lines: Mapping[str, Sequence[Mapping[str, float]]], metric: str) -> str:
    """Validation value by epoch of some fits.

    Args:
        lines: name of a fit -> its points, with `epoch` and `validation`.
        metric: what is validated.
    """
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    for name, points in lines.items():
        curve = pd.DataFrame(list(points))
        axes.plot(curve["epoch"], curve["validation"].abs(), label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"validation {metric}")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))
    return _svg(figure)
