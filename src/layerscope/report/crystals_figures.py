"""Figures of a crystals run: shapes by area, sizes, directions of the facets."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerscope.core.crystals import SHAPE_NAMES
from layerscope.core.results import FloatArray
from layerscope.report.crystals_pictures import COLOURS
from layerscope.report.figures import ACCENT, GREY, as_hex, new_figure, styled, weighted_histogram


@styled
def shape_figure(names: list[str], area: FloatArray) -> Any:
    """Draw the share of the crystals' area that each shape has.

    Parameters
    ----------
    names : list of str
        Shape of each crystal.
    area : ndarray, (n,)
    """
    figure, (ax,) = new_figure(4.3, 3.1)
    shown = [s for s in SHAPE_NAMES if s in names]
    share = [100 * area[np.array(names) == s].sum() / area.sum() for s in shown]
    inks = [as_hex(COLOURS[s]) for s in shown]
    place = np.arange(len(shown))
    ax.barh(place, share, 0.68, color=inks, edgecolor=GREY, linewidth=0.6)
    labels = ["cut by the border" if s == "unknown" else s for s in shown]
    ax.set_yticks(place, [f"{t} ({names.count(s)})" for t, s in zip(labels, shown, strict=True)])
    ax.invert_yaxis()
    ax.set(xlabel="share of the crystals' area (%)", xlim=(0, 1.08 * max(share)))
    ax.grid(visible=False, axis="y")
    return figure


@styled
def size_figure(sizes: FloatArray, weights: FloatArray, *, unit: str) -> Any:
    """Draw the diameters of whole crystals, weighted for those that the border cuts.

    Parameters
    ----------
    sizes, weights : ndarray, (n,)
        At least one positive size with a positive weight.
    unit : str
    """
    used = (weights > 0) & (sizes > 0)
    figure, (ax,) = new_figure(4.3, 3.1)
    weighted_histogram(ax, sizes[used], weights[used])
    ax.set(xlabel=f"diameter of equal area ({unit})", ylabel="crystals (%)")
    return figure


@styled
def direction_figure(turn_deg: FloatArray) -> Any:
    """Draw how far facets are turned from the main direction of their image.

    Parameters
    ----------
    turn_deg : ndarray, (n,)
        -30 to 30 degrees.
    """
    figure, (ax,) = new_figure(6.6, 2.8)
    ax.hist(turn_deg, np.arange(-30, 31, 2), color=ACCENT, edgecolor="white", linewidth=0.8)
    ax.set(xlabel="turn from the main direction (degrees)", ylabel="crystals", xlim=(-30, 30))
    ax.set_xticks(np.arange(-30, 31, 10))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.grid(visible=False, axis="x")
    return figure
