"""The map of a scan: fields as tiles, flakes as dots by layer number, the best ten numbered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.report.columns import answer_order, answer_text, answers, numbers, words
from layerscope.report.fields import Frame, compound, hatching
from layerscope.report.figures import INK, layer_color, new_figure, styled
from layerscope.report.scan_facts import Scan
from layerscope.report.scan_text import whole

MAX_DOTS = 600
"""Sites drawn; on a wafer of 20,000 fields more would hide each other."""
N_BEST = 10
FAILED_COLOR = "#d55e00"
_FAILED_PALE = "#fbe3d3"
_TILE_LOW, _TILE_HIGH = np.array([0.965, 0.973, 0.98]), np.array([0.45, 0.6, 0.72])
_HEADINGS = ("flakes per image", "regions, by layers", "largest circle, µm", "largest circle, px")
_MANY = 5
"""Layers from which all share one colour."""
_WIDTH_IN = 9.2
_LEGEND_IN = 1.75


@styled
def draw_wafer_map(scan: Scan) -> tuple[Any, str]:
    """Draw the map; returns the figure and the sentences that a reader needs to understand it."""
    frame, shown = Frame.of(scan), shown_sites(scan)
    low, high = frame.limits
    ratio = float((high[1] - low[1]) / (high[0] - low[0]))
    height = float(np.clip((_WIDTH_IN - _LEGEND_IN) * ratio + 0.7, 3.4, 9.0))
    figure, (ax,) = new_figure(_WIDTH_IN, height)
    ax.set(aspect="equal", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _set_axes(ax, frame)
    handles = _draw_fields(ax, scan, frame)
    if frame.factor:
        handles += _draw_sites(ax, shown, frame, scan)
    _number_best(figure, ax, scan, frame)
    legend = figure.legend(handles=handles, loc="outside right upper", fontsize=8.5)
    for handle, text in zip(handles, legend.get_texts(), strict=True):
        text.set_fontweight("bold" if handle.get_label() in _HEADINGS else "normal")
    return figure, _caption(scan, frame, shown)


def shown_sites(scan: Scan) -> Any:
    """Rows of the sites that get a dot: all, or the best of each colour in equal parts."""
    if not len(scan.sites) or not scan.placed:
        return scan.sites.iloc[:0]
    located = np.asarray(np.isfinite(_site_places(scan.sites)).all(axis=1), bool)
    if np.count_nonzero(located) <= MAX_DOTS:
        return scan.sites[located]
    ranked = scan.best.index.to_numpy()
    ranked = ranked[located[ranked]]
    colour = np.array([min(int(a), _MANY) if a.isdigit() else 0 for a in scan.answers[ranked]])
    present = np.unique(colour[colour > 0])
    each = [ranked[colour == k][: MAX_DOTS // max(len(present), 1)] for k in present]
    return scan.sites.loc[np.concatenate([*each, ranked[:0]])]


def _site_places(sites: Any) -> FloatArray:
    return np.column_stack([numbers(sites, f"stage_{a}_um") for a in "xy"])


def _set_axes(ax: Any, frame: Frame) -> None:
    ax.grid(visible=False)
    if frame.flips[0]:
        ax.invert_xaxis()
    if frame.flips[1]:
        ax.invert_yaxis()
    if not frame.factor:
        ax.set(xticks=[], yticks=[], xlabel="images in the order of their names, row by row")
        ax.spines[:].set_visible(False)
        return
    right, up = ("←" if frame.flips[0] else "→"), ("↓" if frame.flips[1] else "↑")
    ax.set(xlabel=f"stage x, {frame.unit} {right}", ylabel=f"stage y, {frame.unit} {up}")
    ax.locator_params(nbins=7)
    ax.ticklabel_format(useOffset=False, style="plain")


def _draw_fields(ax: Any, scan: Scan, frame: Frame) -> list[Any]:
    """Tiles by number of flakes, failed ones hatched; one compound path per colour."""
    from matplotlib.patches import PathPatch

    placed = frame.placed
    counts = scan.flakes_per_image
    edges = count_classes(counts)
    line = 0.0 if len(counts) > 3000 else 0.5
    handles: list[Any] = [_heading(_HEADINGS[0])]
    for k, (start, end) in enumerate(pairwise(edges)):
        rows = placed & (counts >= start) & (counts < end)
        color = _TILE_LOW + (_TILE_HIGH - _TILE_LOW) * k / max(len(edges) - 2, 1)
        style = {"facecolor": color, "edgecolor": "#b9c4cc", "linewidth": line}
        if rows.any():
            ax.add_artist(PathPatch(compound(frame.corners[rows]), zorder=1, **style))
        handles.append(_tile_handle(count_text(start, end), color))
    if (bad := placed & scan.failed).any():
        style = {"facecolor": _FAILED_PALE, "edgecolor": FAILED_COLOR, "linewidth": max(line, 0.3)}
        ax.add_artist(PathPatch(compound(frame.corners[bad]), zorder=1.5, **style))
        lines = hatching(frame.corners[bad], 5 if len(counts) < 500 else 2)
        style = {"fill": False, "edgecolor": FAILED_COLOR, "linewidth": 0.7}
        ax.add_artist(PathPatch(lines, zorder=1.6, **style))
    if scan.failed.any():
        handles.append(_failed_handle())
    return handles


def _failed_handle() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker=_hatched_square(), markersize=10,
                  markeredgecolor=FAILED_COLOR, markeredgewidth=0.8, label="failed",
                  markerfacecolor=_FAILED_PALE)  # fmt: skip


def count_classes(counts: FloatArray) -> list[float]:
    """Lower ends 0, 1, 2, 4, 8 ... of at most six classes of counts, and infinity."""
    most = float(np.nanmax(counts, initial=0.0))
    edges = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    return [e for e in edges if e <= max(most, 1.0)] + [np.inf]


def count_text(start: float, end: float) -> str:
    """Name of a class of counts: ``0``, ``2–3``, ``16 or more``."""
    if not np.isfinite(end):
        return f"{start:.0f} or more"
    return f"{start:.0f}" if end == start + 1 else f"{start:.0f}–{end - 1:.0f}"


def _hatched_square() -> Any:
    from matplotlib.path import Path

    square = np.array([[[-1, -1], [1, -1], [1, 1], [-1, 1]]], float)
    return Path.make_compound_path(compound(square), hatching(square))


def _tile_handle(text: str, color: Any) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=color, edgecolor="#b9c4cc", linewidth=0.5, label=text)


def _heading(text: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=text)


def _draw_sites(ax: Any, shown: Any, frame: Frame, scan: Scan) -> list[Any]:
    if not len(shown):
        return []
    given = answers(shown)
    circle = np.nan_to_num(numbers(shown, "inscribed_circle_diameter_um" if scan.scaled
                                   else "inscribed_circle_diameter_px"))  # fmt: skip
    scale = dot_scale(circle)
    places = _site_places(shown) * frame.factor
    handles = [_heading(""), _heading(_HEADINGS[1])]
    order = answer_order(given)
    for answer in reversed(order):  # thin ones on top
        rows = np.array([a == answer for a in given], bool)
        style = _dot_style(answer)
        ax.scatter(*places[rows].T, s=_dot_size(circle[rows], scale), zorder=3, **style)
    for text, answer in _classes(order):
        handles.append(_dot_handle(text, 6.0, _dot_style(answer)))
    handles += [_heading(""), _heading(_HEADINGS[2 + (not scan.scaled)])]
    for size in _round_sizes(circle):
        side = float(np.sqrt(_dot_size(np.array([size]), scale)[0]))
        handles.append(_dot_handle(f"{size:g}", side, {"color": "white", "edgecolor": INK}))
    return handles


def _classes(order: Sequence[str]) -> list[tuple[str, str]]:
    """Names of the colours that are present, and an answer that has each."""
    few = [(answer_text(a), a) for a in order if not a.isdigit() or int(a) < _MANY]
    many = [a for a in order if a.isdigit() and int(a) >= _MANY]
    if not many:
        return few
    span = many[0] if len(many) == 1 else f"{many[0]}–{many[-1]}"
    place = sum(a.isdigit() for _, a in few)
    return [*few[:place], (f"{span} layers", many[0]), *few[place:]]


def _dot_style(answer: str) -> dict[str, Any]:
    if answer.isdigit():
        return {"color": layer_color(answer), "edgecolor": INK, "linewidth": 0.5}
    return {"color": layer_color(answer), "edgecolor": "white", "linewidth": 0.3}


def dot_scale(circle: FloatArray) -> float:
    """Points of dot diameter per unit of circle: the largest 1 % reach 11 points."""
    top = float(np.quantile(circle, 0.99)) if len(circle) else 0.0
    return 9.0 / top if top > 0 else 1.0


def _dot_size(circle: FloatArray, scale: float) -> FloatArray:
    """Area in square points, as matplotlib wants it."""
    return np.asarray((2.0 + np.minimum(circle * scale, 9.0)) ** 2)


def _round_sizes(circle: FloatArray) -> list[float]:
    """Two or three round sizes between the 20 % quantile and the largest."""
    if not len(circle) or circle.max() <= 0:
        return []
    low, high = np.quantile(circle, [0.2, 0.99])
    steps = [s * 10.0**d for d in range(-2, 6) for s in (1, 1.5, 2, 3, 5, 7)]
    inside = [s for s in steps if low <= s <= high]
    return inside[:: max(1, len(inside) // 2)][:3] if inside else [float(f"{high:.1g}")]


def _dot_handle(text: str, size: float, style: dict[str, Any]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker="o", markersize=size, label=text,
                  markerfacecolor=style["color"], markeredgecolor=style["edgecolor"],
                  markeredgewidth=0.5)  # fmt: skip


def _number_best(figure: Any, ax: Any, scan: Scan, frame: Frame) -> None:
    """Numbers 1 to 10 beside the best flakes, moved until none covers another."""
    places = best_places(scan, frame)
    figure.canvas.draw()  # settles the layout, which the places in points depend on
    points = np.asarray(ax.transData.transform(places), float) * 72 / figure.dpi
    box = ax.get_window_extent().extents * 72 / figure.dpi
    for rank, (place, at) in enumerate(zip(places, _free_places(points, box), strict=True), 1):
        ax.annotate(
            str(rank), place, at, textcoords="offset points", ha="center", va="center",
            fontsize=8.5, fontweight="bold", zorder=6,
            bbox={"boxstyle": "circle,pad=0.22", "facecolor": "white", "edgecolor": INK,
                  "linewidth": 0.8},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkA": 6,
                        "shrinkB": 2},
        )  # fmt: skip


def best_places(scan: Scan, frame: Frame) -> FloatArray:
    """Where the best ten stand in drawn units (k, 2): their own place, else that of their image."""
    best = scan.best.head(N_BEST)
    if not len(best):
        return np.zeros((0, 2))
    rows = [scan.place.get(name, -1) for name in words(best, "image")]
    of_image = np.array([frame.centres[r] if r >= 0 else (np.nan, np.nan) for r in rows], float)
    own = _site_places(best) * frame.factor if frame.factor else np.full((len(best), 2), np.nan)
    places = np.where(np.isfinite(own), own, of_image)
    return places[np.isfinite(places).all(axis=1)]


def _free_places(points: FloatArray, box: Sequence[float]) -> list[tuple[float, float]]:
    """Offset in points for each number: the nearest free place inside `box`, else the first."""
    angles = np.deg2rad([45, 135, 315, 225, 90, 0, 180, 270])
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    offsets = np.concatenate([r * ring for r in (17, 30, 45)])
    inner = np.array(box) + np.array([9, 9, -9, -9])
    taken = list(points)  # the flakes themselves
    found = []
    for point in points:
        spots = point + offsets
        inside = (spots >= inner[:2]).all(axis=1) & (spots <= inner[2:]).all(axis=1)
        gap = np.min(np.hypot(*(spots[:, None] - np.array(taken)[None]).transpose(2, 0, 1)), axis=1)
        free: BoolArray = inside & (gap > 14)
        choice = int(np.argmax(free)) if free.any() else int(np.argmax(np.where(inside, gap, -1)))
        taken.append(spots[choice])
        found.append((float(offsets[choice][0]), float(offsets[choice][1])))
    return found


def _caption(scan: Scan, frame: Frame, shown: Any) -> str:
    failed = int(scan.failed.sum())
    parts = ["Each tile is an image, darker with more flakes."]
    if failed:
        parts.append(f"Hatched: {failed} failed, which is not the same as empty.")
    if frame.factor:
        parts.append(_dots_said(scan, shown))
        parts.append(_orientation(scan, frame))
        if nowhere := int((~frame.placed).sum()):
            parts.append(f"{nowhere} images have no stage position and are not drawn.")
    parts.append(frame.assumed)
    if len(scan.best):
        parts.append(f"Numbers: the best {min(N_BEST, len(scan.best))}, as listed below.")
    return " ".join(p for p in parts if p)


def _dots_said(scan: Scan, shown: Any) -> str:
    if not len(shown):
        return "No flake has a place on the stage."
    if len(shown) == len(scan.sites):
        return "Dots are regions of one thickness, larger with their largest inscribed circle."
    return (
        f"Dots: {whole(len(shown))} of {whole(len(scan.sites))} regions, the most promising of "
        "each colour, so how many there are of a colour says nothing; larger with the largest "
        "inscribed circle."
    )


def _orientation(scan: Scan, frame: Frame) -> str:
    if scan.affine is None:
        return ""
    matrix = scan.affine.matrix
    if abs(matrix[0, 0]) < abs(matrix[0, 1]):
        return "The camera is turned by about 90° against the stage, and so are images and map."
    turned = [axis for axis, flip in zip("xy", frame.flips, strict=True) if flip]
    if not turned:
        return "The map is seen as the images are."
    s = "s" if len(turned) == 1 else ""
    return f"The map is seen as the images are: stage {' and '.join(turned)} run{s} backwards."
