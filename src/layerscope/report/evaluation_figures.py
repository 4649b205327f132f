"""Figures of an evaluation: main scores beside the trivial method's, curves, confusion, areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerscope.core.evaluation import Confusion, Curve, Figure
from layerscope.core.results import FloatArray
from layerscope.report.figures import ACCENT, GREY, INK, new_figure, styled

LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito; dashes tell apart what colours do not."""
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


@styled
def main_scores(figures: Sequence[Figure], names: Sequence[str]) -> Any:
    """Dot and 95 % interval of each figure, and a diamond for the trivial method."""
    figure, (ax,) = new_figure(6.6, 0.9 + 0.34 * len(figures))
    place = np.arange(len(figures))[::-1]
    value = np.array([f.value for f in figures])
    around = [np.nan_to_num([f.value - f.low for f in figures]),
              np.nan_to_num([f.high - f.value for f in figures])]  # fmt: skip
    ax.errorbar(value, place, xerr=np.maximum(around, 0), fmt="o", color=ACCENT, capsize=3,
                label="this candidate, 95 % interval")  # fmt: skip
    trivial = np.array([f.baseline for f in figures])
    ax.plot(trivial, place, "D", color="white", markeredgecolor=INK, label="trivial method")
    ax.set_yticks(place, list(names))
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(figures) - 0.4), xlabel="score")
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def precision_recall(curves: Sequence[Curve]) -> Any:
    """Precision over recall of each class."""
    figure, (ax,) = new_figure(4.3, 3.9)
    for i, curve in enumerate(curves):
        ax.plot(curve.x, curve.y, color=LINES[i % len(LINES)], drawstyle="steps-post",
                linestyle=_DASHES[i // len(LINES) % len(_DASHES)], label=curve.name)  # fmt: skip
    ax.set(title="Objects at IoU 0.5", xlabel="recall", ylabel="precision")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    if len(curves) > 1:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


@styled
def confusion_table(table: Confusion) -> Any:
    """Share of each true class by answer, with counts."""
    rows, columns = table.count.shape
    figure, (ax,) = new_figure(max(4.3, 1.9 + 0.72 * columns), max(3.2, 1.5 + 0.48 * rows))
    whole = table.count.sum(axis=1, keepdims=True)
    share = table.count / np.maximum(whole, 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(rows, columns):
        if table.count[i, j]:
            text = f"{share[i, j]:.0%}" if table.unit == "pixels" else str(table.count[i, j])
            dark = share[i, j] > 0.55
            ax.text(j, i, text, ha="center", va="center", fontsize=8,
                    color="white" if dark else INK)  # fmt: skip
    ax.set_xticks(range(columns), table.answer, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(rows), table.truth)
    ax.set(title=f"Confusion of {table.unit}", xlabel="answered", ylabel="labelled")
    ax.grid(visible=False)
    return figure


@styled
def reliability_curve(curve: Curve) -> Any:
    """Share of right answers against the probability that they were given."""
    figure, (ax,) = new_figure(4.3, 3.9)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    ends = None
    if curve.low is not None and curve.high is not None:
        ends = np.maximum([curve.y - curve.low, curve.high - curve.y], 0.0)
    ax.errorbar(curve.x, curve.y, ends, fmt="o-", color=ACCENT, capsize=2, linewidth=1.0)
    ax.set(title=f"Reliability, {curve.name}", xlabel="probability given", ylabel="share right")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    return figure


@styled
def fraction_scatter(truth: FloatArray, found: FloatArray, name: str) -> Any:
    """Answered against labelled share of every image."""
    figure, (ax,) = new_figure(4.3, 3.9)
    most = 100 * max(float(np.max(truth)), float(np.max(found)), 1e-4) * 1.06
    ax.plot([0, most], [0, most], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    ax.plot(100 * truth, 100 * found, "o", color=ACCENT, alpha=0.75, markeredgecolor="white")
    ax.set(title=f"Area of {name}", xlabel="labelled, % of the image", ylabel="answered, %")
    ax.set(xlim=(0, most), ylim=(0, most), aspect="equal")
    return figure
