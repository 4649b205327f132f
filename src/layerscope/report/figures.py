"""Figures of the report, drawn by matplotlib without pyplot: the same bytes on every machine."""

from __future__ import annotations

import functools
import io as streams
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from layerscope.core.classes import class_colour
from layerscope.core.results import FloatArray

_P = ParamSpec("_P")
_T = TypeVar("_T")

INK = "#22303c"
PALE = "#d5dde3"
GREY = "#8a949c"
ACCENT = "#2b6f9e"
_YELLOW = "#e3d21f"  # that of the overlays, darkened: it vanishes on white
_MARKERS = "osD^vPXphd"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # no ticks at the top to keep clear of: they would be looked for each time
    "axes.labelsize": 9.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.color": "#e6ebef",
    "grid.linewidth": 0.7,
    "svg.hashsalt": "layerscope",
    "svg.fonttype": "path",
    "path.simplify": True,
}


def layer_color(answer: str) -> str:
    """Colour of an answer (``"1"``, ``"thick"``, ``"unknown"``) as #rrggbb.

    Those of the overlays (Okabe and Ito, 2008, told apart with every common colour blindness),
    with a darker yellow and greys for the white page.
    """
    if answer == "2":
        return _YELLOW
    if answer.isdigit():
        return as_hex(class_colour(int(answer)))
    return "#6d6d6d" if answer == "thick" else "#a9b1b7"


def as_hex(colour: tuple[int, int, int]) -> str:
    """Red, green and blue, 0 to 255, as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def layer_marker(answer: str) -> str:
    """Marker of an answer, a second sign beside the colour."""
    return _MARKERS[min(int(answer), len(_MARKERS)) - 1] if answer.isdigit() else "."


def styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """Run `draw` in the report's style: matplotlib looks up defaults as each part is made."""

    @functools.wraps(draw)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE), warnings.catch_warnings():
            # A letter that the font has not is drawn as a box; names of files may have any.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            return draw(*args, **kwargs)

    return inside


@styled
def new_figure(width_in: float, height_in: float, columns: int = 1) -> tuple[Any, list[Any]]:
    """Figure and its axes in one row, in the report's style."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.grid(visible=True)
        for spine in ax.spines.values():
            spine.set_in_layout(False)  # the axes reach as far: a fifth of the layout's time
    return figure, axes


def _lay_out(figure: Any) -> None:
    """Place the parts once: a figure with a layout does it anew each time it is drawn."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


@styled
def to_svg(figure: Any) -> bytes:
    """SVG bytes; letters are outlines, so that it looks alike everywhere."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    _lay_out(figure)
    out = streams.BytesIO()
    # Not `savefig`, which draws everything once more to see where it is.
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    return out.getvalue()


@styled
def to_png(figure: Any, dpi: int = 160) -> bytes:
    """PNG bytes, without a date."""
    _lay_out(figure)
    out = streams.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


@styled
def layer_bars(
    names: Sequence[str], count: FloatArray, low: FloatArray, high: FloatArray, *, title: str
) -> Any:
    """Bars of regions per answer with their 95 % intervals; `names` (k,), numbers (k,)."""
    figure, (ax,) = new_figure(4.3, 3.1)
    place = np.arange(len(names))
    ax.bar(place, count, 0.68, color=[layer_color(n) for n in names])
    middle, half = (low + high) / 2, (high - low) / 2
    ax.errorbar(place, middle, half, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    ax.set_xticks(place, list(names))
    ax.set(title=title, xlabel="layers", ylabel="regions", ylim=(0, max(1.0, *high, *count) * 1.12))
    ax.grid(visible=False, axis="x")
    return figure


@styled
def histogram(values: FloatArray, *, title: str, label: str) -> Any:
    """Histogram over logarithmic bins of the positive, finite `values` (n,), with its median."""
    values = values[np.isfinite(values) & (values > 0)]
    figure, (ax,) = new_figure(4.3, 3.1)
    edges = _log_edges(values, 1.001)
    counts, _, _ = ax.hist(values, edges, color=ACCENT, edgecolor="white", linewidth=0.8)
    median = float(np.median(values))
    ax.axvline(median, color=INK, linewidth=1.3, linestyle=(0, (4, 2)))
    text = f"median {median:.3g}"
    ax.annotate(text, (median, 1.0), (4, -2), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="top", fontsize=9)  # fmt: skip
    ax.set_xscale("log")
    plain_log_ticks(ax.xaxis, edges[0], edges[-1])
    ax.set(title=title, xlabel=label, ylabel="regions", ylim=(0, max(counts) * 1.2))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.grid(visible=False, axis="x")
    return figure


def _log_edges(values: FloatArray, margin: float) -> FloatArray:
    """Edges of 5 to 24 bins, equally wide on a logarithmic axis and over a factor of two or more.

    The bins go beyond the positive `values` (n,) by `margin` times half of what they span.
    """
    low, high = np.log10(values.min()), np.log10(values.max())
    bins = int(np.clip(round(2 * np.sqrt(len(values))), 5, 24))
    middle, half = (low + high) / 2, max((high - low) / 2, 0.15)
    return np.logspace(middle - half * margin, middle + half * margin, bins + 1)


def weighted_histogram(
    ax: Any, sizes: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Draw the shares (percent) of positive sizes (n,), weighted, over logarithmic bins.

    Returns
    -------
    shares, edges : ndarray, (b,), (b + 1,)
    """
    edges = _log_edges(sizes, 1.05)
    share = 100 * weights / weights.sum()
    shares, _, _ = ax.hist(
        sizes, edges, weights=share, color=ACCENT, edgecolor="white", linewidth=0.8
    )
    ax.set_xscale("log")
    plain_log_ticks(ax.xaxis, edges[0], edges[-1])
    ax.grid(visible=False, axis="x")
    return shares, edges


def plain_log_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks 1, 2, 5, 10 ... written as plain numbers; fewer where the axis spans many decades."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    steps = (1, 2, 5) if np.log10(high / low) < 2.5 else (1,)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def reliability(
    confidence: FloatArray, accuracy: FloatArray, low: FloatArray, high: FloatArray, *, title: str
) -> Any:
    """Share of right answers against the probability given to them, per bin (b,), 95 % bars."""
    figure, (ax,) = new_figure(4.3, 3.9)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    around = np.maximum([accuracy - low, high - accuracy], 0.0)
    ax.errorbar(confidence, accuracy, around, fmt="o", color=ACCENT, ecolor=ACCENT, capsize=2)
    ax.set(title=title, xlabel="probability given", ylabel="share right")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    return figure
