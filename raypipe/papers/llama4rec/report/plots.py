"""Plots as SVG text, to stand inside a self-contained page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from raypipe.backbones import registry
from raypipe.papers.llama4rec import aggregation

plt.rcParams |= {"font.size": 9, "svg.hashsalt": "raypipe"}


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :]


def heat_map(grid: list[dict[str, float]], chosen: tuple[float, float], label: str) -> str:
    """Validation value over alpha_1 x alpha_2 (the paper's Figure 4); the chosen point is framed."""
    ones, twos = sorted({g["alpha_1"] for g in grid}), sorted({g["alpha_2"] for g in grid})
    table = np.full((len(ones), len(twos)), np.nan)
    for g in grid:
        table[ones.index(g["alpha_1"]), twos.index(g["alpha_2"])] = g["value"]
    errors = (
        np.nanmax(table) < 0
    )  # an error is kept with a minus; shown as what it is, the best is the brightest all the same
    figure, axes = plt.subplots(figsize=(3.4, 2.8))
    image = axes.imshow(
        abs(table), origin="lower", cmap="viridis_r" if errors else "viridis", aspect="auto"
    )
    axes.set_xticks(range(len(twos)), [f"{v:g}" for v in twos])
    axes.set_yticks(range(len(ones)), [f"{v:g}" for v in ones])
    axes.set_xlabel("alpha_2")
    axes.set_ylabel("alpha_1")
    axes.set_title(label)
    at = ones.index(chosen[0]), twos.index(chosen[1])
    axes.add_patch(
        plt.Rectangle(
            (at[1] - 0.48, at[0] - 0.48), 0.96, 0.96, fill=False, edgecolor="red", linewidth=2
        )
    )
    figure.colorbar(image, ax=axes)
    return _svg(figure)


def weights(chosen: list[dict[str, Any]]) -> str:
    """Weight of the LLM over the length of a user's training history (eq. 4, 5), a line for each backbone with its weights."""
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for own in chosen:
        same.setdefault(
            (own["task"], *own["ell_range"], own["alpha_1"], own["alpha_2"], str(own["learned"])),
            [],
        ).append(own)
    for group in same.values():
        own = group[0]
        low, high = own["ell_range"]
        ell = np.linspace(low, high, 200)
        names = ", ".join(registry.title(one["backbone"]) for one in group)
        axes.plot(
            np.exp(ell) - 1,
            aggregation.weight(ell, low, high, own),
            label=f"{own['task']}: {names}",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("interactions of the user in training")
    axes.set_ylabel("weight of the LLM")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7)
    return _svg(figure)


def over_runs(labels: Sequence[str], lines: dict[str, list[float]], metric: str) -> str:
    """A metric over runs that differ in one thing, a line for each backbone and variant (the paper's Figures 5 and 6)."""
    figure, axes = plt.subplots(figsize=(4.6, 3.0))
    for name, values in lines.items():
        axes.plot(range(len(labels)), values, marker="o", label=name)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(metric)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1))  # lines may run anywhere
    return _svg(figure)


def curves(lines: dict[str, list[dict[str, float]]]) -> str:
    """Validation value by epoch of each fit."""
    figure, axes = plt.subplots(figsize=(4.6, 2.8))
    for name, curve in lines.items():
        axes.plot([c["epoch"] for c in curve], [abs(c["validation"]) for c in curve], label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation (N@10; RMSE)")
    axes.legend(fontsize=7)
    return _svg(figure)
