"""Figures of a growth study: quantities over conditions, and how strongly they go together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.report.figures import ACCENT, GREY, INK, PALE, new_figure, styled
from layerscope.tasks.growth import GrowthStudy

_OFF = "#b34700"
_UNITS = {"um2": "µm²", "um": "µm", "nm2": "nm²", "C": "°C", "degC": "°C", "percent": "%"}
_PER = re.compile(r"^(?P<name>.+?)_per_(?P<unit>[^_]+)$")
_PER_UNIT = re.compile(r"^(?P<name>.+)_(?P<unit>[^_]+)_per_(?P<by>[^_]+)$")
_LENGTHS = frozenset({"um", "um2", "nm", "nm2", "mm", "cm", "m"})
_FURNACE = frozenset({"C", "degC", "K", "Pa", "kPa", "hPa", "mbar", "Torr", "min", "s", "h"})
_SUPPLY = frozenset({"sccm", "slm", "mg", "g", "mol", "percent", "W", "V", "A", "deg"})
_PLAIN_UNITS = _LENGTHS | _FURNACE | _SUPPLY


def axis_label(column: str) -> str:
    """Text of an axis from a column's name: ``density_per_um2`` is ``density (1/µm²)``."""
    both, per = _PER_UNIT.match(column), _PER.match(column)
    if both and both["unit"] in _PLAIN_UNITS:
        unit = f"{_unit(both['unit'])}/{_unit(both['by'])}"
        return f"{both['name'].replace('_', ' ')} ({unit})"
    if per:
        return f"{per['name'].replace('_', ' ')} (1/{_unit(per['unit'])})"
    name, _, unit = column.rpartition("_")
    if name and unit in _PLAIN_UNITS:
        return f"{name.replace('_', ' ')} ({_unit(unit)})"
    return column.replace("_", " ")


@styled
def growth_trends(study: GrowthStudy, condition: str) -> Any:
    """One panel per quantity over one condition: samples with 95 % intervals, images behind.

    The dashed line is that of Theil and Sen; it is drawn where the interval of the rank correlation
    leaves out zero. Samples off the trend are open and named.

    Raises
    ------
    InputError
        If there is no such condition.
    """
    if condition not in study.conditions:
        names = ", ".join(study.conditions)
        raise InputError(f"no condition {condition!r} in this study: expected one of {names}")
    columns = len(study.quantities)
    figure, axes = new_figure(max(3.4 * columns, 4.2), 3.6, columns=columns)
    for ax, quantity in zip(axes, study.quantities, strict=True):
        _draw_trend(ax, study, condition, quantity)
    figure.get_layout_engine().set(w_pad=0.08)
    _draw_key(figure, study, condition)
    return figure


@styled
def correlation_chart(study: GrowthStudy) -> Any:
    """Rank correlation of every quantity with every condition, with its 95 % interval."""
    rows = study.trends[study.trends["rank_correlation"].notna()]
    if not len(rows):
        raise InputError("no rank correlation to draw: five samples or more are needed")
    figure, (ax,) = new_figure(6.4, 1.2 + 0.3 * len(rows))
    place = np.arange(len(rows))[::-1]
    value = rows["rank_correlation"].to_numpy(float)
    low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
    sure = (low > 0) | (high < 0)
    ax.axvline(0, color=INK, linewidth=0.9)
    for mask, color in ((sure, ACCENT), (~sure, GREY)):
        spread = np.maximum([value[mask] - low[mask], high[mask] - value[mask]], 0.0)
        ax.errorbar(value[mask], place[mask], xerr=spread, fmt="o", color=color, markersize=5.5,
                    elinewidth=1.6, capsize=2.5)  # fmt: skip
    labels = [f"{_name(q)} · {_name(c)}" for q, c in zip(rows["quantity"], rows["condition"],
                                                         strict=True)]  # fmt: skip
    ax.set_yticks(place, labels)
    ax.set(xlim=(-1.05, 1.05), ylim=(-0.7, len(rows) - 0.3), xlabel="rank correlation")
    n = rows["n_samples"]
    count = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
    ax.set_title(f"What goes with what, {count} samples")
    ax.grid(visible=False, axis="y")
    return figure


def _draw_trend(ax: Any, study: GrowthStudy, condition: str, quantity: str) -> None:
    points = study.points(condition, quantity)
    images = study.images
    far = [quantity in text.split("|") for text in images["outlier"]]
    ax.plot(images[condition], images[quantity], "o", color=PALE, markersize=3.5, zorder=1)
    ax.plot(images[condition][far], images[quantity][far], "x", color=INK, markersize=5, zorder=3)
    off = points["off_trend"].to_numpy(bool)
    x, value = points["x"].to_numpy(float), points["value"].to_numpy(float)
    low, high = points["low"].fillna(points["value"]), points["high"].fillna(points["value"])
    for mask, color, face in ((~off, ACCENT, ACCENT), (off, _OFF, "white")):
        around = np.maximum([(value - low)[mask], (high - value)[mask]], 0.0)
        ax.errorbar(x[mask], value[mask], around, fmt="o", color=color, markerfacecolor=face,
                    markersize=5.5, elinewidth=1.2, capsize=2.5, zorder=4)  # fmt: skip
    for i in np.flatnonzero(off).tolist():
        ax.annotate(points["sample"].iloc[i], (x[i], value[i]), (6, 4), fontsize=8, color=_OFF,
                    textcoords="offset points", zorder=5)  # fmt: skip
    _draw_line(ax, study, condition, quantity, x)
    ax.set(xlabel=axis_label(condition), ylabel=axis_label(quantity))
    ax.margins(x=0.08, y=0.1)
    if (images[quantity].dropna() >= 0).all():
        ax.set_ylim(bottom=0)


def _draw_key(figure: Any, study: GrowthStudy, condition: str) -> None:
    from matplotlib.lines import Line2D

    off = [condition in text.split("|") for text in study.samples["off_trend"]]
    signs: list[tuple[bool, str, dict[str, Any]]] = [
        (True, "sample, 95 % interval", {"marker": "o", "color": ACCENT, "linewidth": 1.2}),
        (True, "image", {"marker": "o", "color": PALE, "linestyle": "", "markersize": 4}),
        (any(study.images["outlier"] != ""), "outlying image",
         {"marker": "x", "color": INK, "linestyle": ""}),
        (any(off), "sample off the trend",
         {"marker": "o", "color": _OFF, "markerfacecolor": "white", "linestyle": ""}),
    ]  # fmt: skip
    shown = [Line2D([], [], label=text, **style) for used, text, style in signs if used]
    columns = len(shown) if len(study.quantities) > 1 else 2
    figure.legend(handles=shown, loc="outside lower center", ncols=columns)


def _draw_line(
    ax: Any, study: GrowthStudy, condition: str, quantity: str, x: np.ndarray[Any, Any]
) -> None:
    rows = study.trends
    row = rows[(rows["condition"] == condition) & (rows["quantity"] == quantity)].iloc[0]
    if not np.isfinite(row["rank_correlation"]):
        ax.set_title(row["interval"].replace("none: ", ""), fontsize=8.5, fontweight="normal")
        return
    text = f"rank correlation {row['rank_correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    ax.set_title(text.replace("-", "−"), fontsize=8.5, fontweight="normal")
    if row["low"] > 0 or row["high"] < 0:
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, row["slope"] * ends + row["intercept"], color=INK, linewidth=1.1,
                linestyle=(0, (4, 2)), zorder=2)  # fmt: skip


def _name(column: str) -> str:
    return axis_label(column).partition(" (")[0]


def _unit(text: str) -> str:
    return _UNITS.get(text, text)
