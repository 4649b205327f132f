"""Figures of the coverage report: every image with its interval, and histograms of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from layerscope.core.coverage import SurfaceResult
from layerscope.core.results import BoolArray, FloatArray
from layerscope.report.coverage_pictures import grey_values, layer_numbers
from layerscope.report.figures import ACCENT, GREY, INK, layer_color, new_figure, styled

_DOUBT = "#d55e00"
_MOST_NAMES = 40
_LONGEST_NAME = 28
_BINS = 160


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values of one image by class, small enough to keep for the report.

    Attributes
    ----------
    edges : ndarray, (B + 1,)
    counts : ndarray, (K, B)
        Pixels of each class.
    names : tuple of str, (K,)
    numbers : tuple of int, (K,)
        Layer numbers.
    unit : str
        ``"nm"``, or ``"intensity"`` of a picture.
    levels : tuple of (float, float, float)
        Height of each level above the substrate with its interval, nm.
    threshold : float or None
        The one that the answer was drawn with, on the same axis.
    """

    edges: FloatArray
    counts: FloatArray
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    unit: str
    levels: tuple[tuple[float, float, float], ...]
    threshold: float | None


def count_values(result: SurfaceResult) -> Histogram | None:
    """Histogram of `result`; None where no pixel has a value."""
    film, coverage = result.coverage.film, result.coverage
    values = grey_values(result.micrograph, film)
    known = film.valid & np.isfinite(values)
    if not known.any():
        return None
    shown, labels = values[known], film.labels[known]
    edges = _edges(shown.astype(float), whole=result.micrograph.data.dtype.kind == "u")
    classes = range(len(film.classes))
    counts = np.array([np.histogram(shown[labels == k], edges)[0] for k in classes], float)
    return Histogram(
        edges,
        counts,
        film.classes,
        tuple(layer_numbers(coverage).tolist()),
        result.micrograph.value_unit,
        tuple((t.height_nm, t.height_low_nm, t.height_high_nm) for t in coverage.terraces),
        _threshold(result, values, known),
    )


def _edges(values: FloatArray, *, whole: bool) -> FloatArray:
    """Edges of bins; those of whole numbers hold equally many of them, or the bars would comb."""
    low, high = np.percentile(values, (0.1, 99.9))
    if whole:
        step = max(1, round((high - low) / _BINS))
        return np.arange(np.floor(low) - 0.5, high + step + 0.5, step)
    return np.linspace(low, max(high, low + 1e-6), _BINS + 1)


def _threshold(result: SurfaceResult, values: Any, known: BoolArray) -> float | None:
    """Return the threshold in the units of the axis, whose zero is the substrate."""
    told = result.coverage.provenance.get("threshold")
    if told is None:
        return None
    data = result.micrograph.data
    # Only grey pictures and maps are moved, by one number.
    moved = float((data[known] - values[known]).mean(dtype=float)) if data.ndim == 2 else 0.0
    return float(told) - moved


@styled
def value_histogram(histogram: Histogram) -> Any:
    """Stacked histogram by class, with levels (shaded: 95 %), halfway lines and the threshold."""
    from matplotlib.patches import StepPatch

    figure, (ax,) = new_figure(9.4, 2.1)
    edges, below = histogram.edges, np.zeros(len(histogram.edges) - 1)
    share = 100 / histogram.counts.sum()
    for row, name, number in zip(
        histogram.counts * share, histogram.names, histogram.numbers, strict=True
    ):
        if row.any():
            colour = layer_color(str(number)) if number else "#c3ccd3"
            # Not `stairs`: it looks where each step lies, for limits that are set below.
            bars = StepPatch(
                below + row, edges, baseline=below,  # type: ignore[arg-type]  # an array in fact
                facecolor=colour, linewidth=0, label=name,
            )  # fmt: skip
            ax.add_artist(bars)
            below = below + row
    top = 1.22 * below.max()
    _mark_levels(ax, histogram, top)
    if histogram.threshold is not None:
        ax.axvline(histogram.threshold, color=_DOUBT, linewidth=1.6, label="threshold")
    height = histogram.unit != "intensity"
    label = f"height above the substrate ({histogram.unit})" if height else "grey value"
    ax.set(xlabel=label, ylabel="pixels, % per bin", xlim=(edges[0], edges[-1]), ylim=(0, top))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.grid(visible=False, axis="x")
    return figure


def _mark_levels(ax: Any, histogram: Histogram, top: float) -> None:
    heights = [h for h, _, _ in histogram.levels]
    for number, (height, low, high) in zip(histogram.numbers, histogram.levels, strict=False):
        if not histogram.edges[0] <= height <= histogram.edges[-1]:
            continue
        if np.isfinite([low, high]).all():
            ax.axvspan(low, high, color=INK, alpha=0.18, linewidth=0)
        ax.axvline(height, color=INK, linewidth=1.2)
        ax.annotate(f"{number} L", (height, top), (3, -2), textcoords="offset points",
                    va="top", fontsize=9)  # fmt: skip
    for k, (lower, upper) in enumerate(pairwise(heights)):
        label = "halfway" if k == 0 else None
        ax.axvline((lower + upper) / 2, color=INK, linewidth=1.0, linestyle=(0, (2, 2)),
                   label=label)  # fmt: skip


@styled
def coverage_dots(
    names: Sequence[str],
    coverage: FloatArray,
    low: FloatArray,
    high: FloatArray,
    doubtful: BoolArray,
) -> Any:
    """Dot and 95 % interval per image, n images, first name on top; doubts are open diamonds."""
    n = len(names)
    named = n <= _MOST_NAMES
    figure, (ax,) = new_figure(9.4, max(1.9, 0.9 + (0.23 * n if named else 6.0)))
    place = np.arange(n, dtype=float)
    groups = (("no doubt", ~doubtful, "o", ACCENT), ("doubtful", doubtful, "D", _DOUBT))
    for label, chosen, marker, colour in groups:
        if chosen.any():
            around = np.maximum([coverage - low, high - coverage], 0)[:, chosen] * 100
            ax.errorbar(100 * coverage[chosen], place[chosen], xerr=around, fmt=marker,
                        color=colour, markerfacecolor=colour if marker == "o" else "white",
                        markersize=5.5 if named else 3.5, elinewidth=1.4, capsize=2.5 * named,
                        label=f"{label} ({int(chosen.sum())})")  # fmt: skip
    told = np.isfinite(coverage) & ((low > 0) | (high < 1))
    if n > 1 and told.any():
        median = 100 * float(np.median(coverage[told]))
        ax.axvline(
            median, color=GREY, linewidth=1.1, linestyle=(0, (4, 2)), label="median", zorder=0
        )
    if named:
        ax.set_yticks(place, [_short(name) for name in names])
    else:
        ax.set_ylabel("image, in the order of names")
    ax.set(xlabel="coverage (%)", xlim=(-2, 102), ylim=(n - 0.4, -0.6))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _short(name: str) -> str:
    half = _LONGEST_NAME // 2
    # A dollar sign would start a formula.
    text = name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
    return text.replace("$", r"\$")


@styled
def angle_histogram(angles_deg: FloatArray) -> Any:
    """Histogram of directions that repeat every 60 degrees, in bins of 5."""
    figure, (ax,) = new_figure(4.3, 3.1)
    edges = np.arange(0, 61, 5)
    counts, _, _ = ax.hist(angles_deg % 60, edges, color=ACCENT, edgecolor="white", linewidth=0.8)
    even = len(angles_deg) / (len(edges) - 1)
    ax.axhline(even, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    ax.annotate("without order", (1.0, even), (-2, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    ax.set(
        title=f"Orientation, n = {len(angles_deg)}", xlabel="edges against the rows, modulo 60 (°)",
        ylabel="domains", xticks=np.arange(0, 61, 10), ylim=(0, max(counts.max(), even) * 1.2),
    )  # fmt: skip
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.grid(visible=False, axis="x")
    return figure
