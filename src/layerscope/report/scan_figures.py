"""Figures of a scan's report: sizes, drift over the scan, and maps of quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.report.columns import answer_text
from layerscope.report.fields import Frame, compound
from layerscope.report.figures import (
    ACCENT,
    GREY,
    INK,
    PALE,
    layer_color,
    new_figure,
    plain_log_ticks,
    styled,
)
from layerscope.report.scan_numbers import binned, poisson_bounds

N_BINS = 120
"""Points of a curve over the scan; each stands for as many images as it takes."""
MAX_MARKS = 60
"""Outlying images marked on a curve."""
_STEPS = 80
_CHANNELS = {"r": ("red", "#CC3311"), "g": ("green", "#228833"), "b": ("blue", "#0077BB")}
_DIVERGING = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
_RISING = ("#f7fbff", "#d6e5f1", "#b3cfe2", "#85b0cd", "#568eb4", "#2f6c96", "#124a73")


@styled
def survival(
    sizes: Mapping[str, FloatArray], *, title: str, label: str, per_mm2: float | None
) -> Any:
    """How many flakes are at least so large, per answer, on two logarithmic axes.

    Parameters
    ----------
    sizes : mapping of str to ndarray
        Answer to positive sizes.
    title, label : str
    per_mm2 : float or None
        Scanned area in mm2: counts become densities. The shade is the exact Poisson interval.
    """
    figure, (ax,) = new_figure(4.3, 3.5)
    every = np.concatenate(list(sizes.values()))
    low, high = float(every.min()), float(every.max())
    steps = np.geomspace(low, max(high, low * 1.5), _STEPS)
    area = per_mm2 or 1.0
    for answer, values in sizes.items():
        count = len(values) - np.searchsorted(np.sort(values), steps, side="left")
        seen = count > 0
        bounds = np.array([poisson_bounds(n)[1:] for n in count[seen]]) / area
        color = layer_color(answer)
        ax.fill_between(steps[seen], *bounds.T, color=color, alpha=0.13, linewidth=0)
        ax.plot(steps[seen], count[seen] / area, color=color, linewidth=1.8,
                label=f"{answer_text(answer)} ({len(values)})")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel=label, title=title)
    ax.set_ylabel("regions per mm² at least so large" if per_mm2 else "regions at least so large")
    ax.set_ylim(bottom=0.4 / area)  # less than one region is no count
    plain_log_ticks(ax.xaxis, *ax.get_xlim())
    plain_log_ticks(ax.yaxis, *ax.get_ylim())
    ax.legend(loc="lower left")
    return figure


@styled
def over_scan(
    curves: Mapping[str, FloatArray],
    *,
    title: str,
    label: str,
    outlying: BoolArray,
    mean: bool = False,
) -> Any:
    """Values of consecutive images: median and the middle 90 % of groups, outlying ones marked.

    Parameters
    ----------
    curves : mapping of str to ndarray, (n,)
        Channel ``r``, ``g``, ``b``, or anything else for a single curve; NaN where an image failed.
    title, label : str
    outlying : ndarray of bool, (n,)
    mean : bool
        Draw the mean in place of the median.
    """
    figure, (ax,) = new_figure(4.6, 2.7)
    for name, values in curves.items():
        text, color = _CHANNELS.get(name, (name, ACCENT))
        spread, middle = binned(values, N_BINS, mean=mean)
        if not len(middle):
            continue
        ax.fill_between(middle + 1, spread[:, 0], spread[:, 2], color=color, alpha=0.2, linewidth=0)
        alone = {"marker": "o", "markersize": 3} if len(middle) < 30 else {}
        ax.plot(middle + 1, spread[:, 1], color=color, linewidth=1.3, label=text, **alone)
        marked = np.flatnonzero(outlying & np.isfinite(values))[:MAX_MARKS]
        ax.plot(marked + 1, values[marked], "x", color=INK, markersize=4.5, markeredgewidth=0.9)
    ax.set(title=title, xlabel="image, in the order of names", ylabel=label)
    ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    ax.margins(x=0.02, y=0.12)
    if len(curves) > 1:
        ax.legend(loc="best", ncols=3, fontsize=8, handlelength=1.2, columnspacing=1)
    return figure


@dataclass(frozen=True, eq=False)
class Panel:
    """One small map.

    Attributes
    ----------
    title : str
    values : ndarray, (n,)
        NaN leaves a field grey.
    about_median : bool
        Whether the middle colour is the median; else colours go from little to much.
    """

    title: str
    values: FloatArray
    about_median: bool = True


@styled
def quality_maps(frame: Frame, panels: Sequence[Panel]) -> Any:
    """Small maps of the same fields, each coloured by seven classes of a value per image."""
    low, high = frame.limits
    ratio = float((high[1] - low[1]) / (high[0] - low[0]))
    height = float(np.clip(9.2 / len(panels) * ratio, 1.2, 6)) + 1.0
    figure, axes = new_figure(9.2, height, columns=len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, frame, panel)
        ax.set(aspect="equal", xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
        ax.set_title(panel.title, fontsize=9, loc="center")
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        if frame.flips[0]:
            ax.invert_xaxis()
        if frame.flips[1]:
            ax.invert_yaxis()
    return figure


def _draw_panel(ax: Any, frame: Frame, panel: Panel) -> None:
    from matplotlib.patches import PathPatch

    values, placed = panel.values, frame.placed
    edges, names = value_classes(values[placed], about_median=panel.about_median)
    sequence = _DIVERGING if panel.about_median else _RISING
    above: IntArray = np.searchsorted(edges, values, side="right")
    classes = np.where(np.isfinite(values), above, -1)
    line = 0.0 if len(values) > 500 else 0.25
    for k, color in (dict(enumerate(sequence)) | {-1: "#dfe3e6"}).items():
        if (rows := placed & (classes == k)).any():
            style = {"facecolor": color, "edgecolor": PALE, "linewidth": line}
            ax.add_artist(PathPatch(compound(frame.corners[rows]), **style))
    _draw_key(ax, sequence, names)


def value_classes(
    values: FloatArray, *, about_median: bool
) -> tuple[FloatArray, tuple[str, str, str]]:
    """Six inner edges of seven classes, and the texts below the key.

    They reach to the 2 % and 98 % quantiles; about the median both sides reach equally far.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return np.arange(6.0), ("–", "–", "–")
    low, middle, high = np.quantile(values, [0.02, 0.5, 0.98]).tolist()
    if about_median:
        reach = max(high - middle, middle - low, abs(middle) * 0.01, 1e-6)
        low, high = middle - reach, middle + reach
    elif high <= low:
        high = low + 1
    middle = (low + high) / 2
    edges = middle + (high - low) * np.linspace(-5, 5, 6) / 14
    step = (high - low) / 20
    ends = [round(v / step) * step for v in (low, middle, high)]  # no 5.55e-15
    texts = [f"{v:.2g}".replace("-", "−") for v in ends]
    return edges, (f"≤ {texts[0]}", texts[1], f"≥ {texts[2]}")


def _draw_key(ax: Any, sequence: Sequence[str], names: tuple[str, str, str]) -> None:
    from matplotlib.patches import Rectangle

    for k, color in enumerate(sequence):
        box = Rectangle((0.15 + 0.1 * k, -0.075), 0.1, 0.045, transform=ax.transAxes,
                        facecolor=color, edgecolor=GREY, linewidth=0.3, clip_on=False)  # fmt: skip
        ax.add_artist(box)
    for x, name in zip((0.15, 0.5, 0.85), names, strict=True):
        ax.text(x, -0.1, name, transform=ax.transAxes, ha="center", va="top", fontsize=8)
