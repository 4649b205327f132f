"""The contrast cloud: every region in colour space, with the ladder that physics predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.report.columns import answer_order, answer_text
from layerscope.report.figures import GREY, INK, layer_color, layer_marker, new_figure, styled

MAX_POINTS = 400
"""Regions drawn per cloud, spread evenly over the table; more only fatten the file."""
_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Cloud:
    """What one contrast cloud shows.

    Attributes
    ----------
    contrast, error : ndarray, (n, 3)
        Linear-light contrast per region, R, G, B, and its standard error.
    answers : sequence of str, (n,)
    ladder, ladder_sd : ndarray, (N, 3)
        Expected contrast of 1..N layers; N may be 0.
    """

    contrast: FloatArray
    error: FloatArray
    answers: Sequence[str]
    ladder: FloatArray
    ladder_sd: FloatArray

    def sampled(self) -> Cloud:
        """At most `MAX_POINTS` regions, evenly spread over the rows, all finite."""
        finite = np.flatnonzero(np.isfinite(self.contrast).all(axis=1))
        step = max(1, -(-len(finite) // MAX_POINTS))
        keep = finite[::step]
        names = [self.answers[i] for i in keep]
        return Cloud(self.contrast[keep], self.error[keep], names, self.ladder, self.ladder_sd)


@styled
def contrast_cloud(cloud: Cloud, *, title: str) -> Any:
    """Panels red over green and blue over green; points by layer, ladder with numbered dots.

    The axes hold the ladder and 98 % of the regions that have a layer number; a triangle at the
    edge of a panel would lie, so what falls outside is counted in the corner.
    """
    cloud = cloud.sampled()
    figure, axes = new_figure(8.6, 4.4, columns=2)
    for ax, channel in zip(axes, (0, 2), strict=True):
        _draw_points(ax, cloud, channel)
        ax.set_xlabel("contrast, green")
        ax.set_ylabel(f"contrast, {_CHANNELS[channel]}")
        outside = _set_limits(ax, cloud, channel)
        _draw_ladder(ax, cloud, channel)
        if outside:
            _corner_note(ax, f"{outside} outside the axes")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold", color=INK)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return figure


def _draw_points(ax: Any, cloud: Cloud, channel: int) -> None:
    for answer in answer_order(cloud.answers):
        rows = np.array([a == answer for a in cloud.answers], bool)
        value, error = cloud.contrast[rows], np.nan_to_num(cloud.error[rows])
        faint = not answer.isdigit()
        ax.errorbar(
            value[:, 1], value[:, channel], error[:, channel], error[:, 1],
            fmt=layer_marker(answer), color=layer_color(answer), markersize=5 if faint else 5.5,
            markeredgecolor="none" if faint else INK, markeredgewidth=0.5,
            elinewidth=0.7, ecolor=GREY, alpha=0.6 if faint else 0.9, zorder=2 if faint else 3,
            label=f"{answer_text(answer)} ({rows.sum()})",
        )  # fmt: skip
    ax.axhline(0, color=GREY, linewidth=0.7, zorder=1)
    ax.axvline(0, color=GREY, linewidth=0.7, zorder=1)


def _set_limits(ax: Any, cloud: Cloud, channel: int) -> int:
    """Set both axes; return the number of regions outside."""
    numbered = np.array([a.isdigit() for a in cloud.answers], bool)
    core = cloud.contrast[numbered] if numbered.any() or len(cloud.ladder) else cloud.contrast
    points = cloud.contrast[:, [1, channel]]
    inside = np.ones(len(points), bool)
    for axis, (column, setter) in enumerate(((1, ax.set_xlim), (channel, ax.set_ylim))):
        ends = np.concatenate([[0.0], cloud.ladder[:, column]])
        if len(core):
            ends = np.concatenate([ends, np.quantile(core[:, column], [0.01, 0.99])])
        room = max(0.11 * (ends.max() - ends.min()), 0.01)
        low, high = ends.min() - room, ends.max() + room
        setter(low, high)
        inside &= (points[:, axis] >= low) & (points[:, axis] <= high)
    return int((~inside).sum())


def _draw_ladder(ax: Any, cloud: Cloud, channel: int) -> None:
    from matplotlib.patches import Ellipse

    if not len(cloud.ladder):
        return
    steps = np.vstack([np.zeros(3), cloud.ladder])[:, [1, channel]]
    spread = np.vstack([np.zeros(3), cloud.ladder_sd])[:, [1, channel]]
    ax.plot(*steps.T, color=INK, linewidth=1.1, zorder=4)
    shown = _apart(ax, steps)
    for layers, (place, sd) in enumerate(zip(steps, spread, strict=True)):
        ax.add_patch(Ellipse(place, *(2 * sd), facecolor=INK, alpha=0.18, linewidth=0, zorder=4))
        if not shown[layers]:
            ax.plot(*place, "o", color=INK, markersize=2.5, zorder=5)
            continue
        ax.plot(*place, "o", color="white", markeredgecolor=INK, markersize=4, zorder=5)
        ax.annotate(
            str(layers), place, _beside(ax, steps), textcoords="offset points", ha="center",
            va="center_baseline", fontsize=9, fontweight="bold", zorder=6, annotation_clip=True,
        )  # fmt: skip


def _beside(ax: Any, steps: FloatArray) -> tuple[float, float]:
    """Offset in points, across the ladder and upwards, so that numbers do not hide the points."""
    size = np.array([np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]])
    along = (steps[-1] - steps[0]) / size
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
    across = across if across[1] >= 0 else -across
    return float(17 * across[0]), float(17 * across[1])


def _apart(ax: Any, steps: FloatArray) -> list[bool]:
    """Which numbered dots fit without touching one that is already there."""
    size = np.array([np.diff(ax.get_xlim())[0], np.diff(ax.get_ylim())[0]])
    kept: list[FloatArray] = []
    shown = []
    for place in steps / size:
        free = all(np.hypot(*(place - other)) > 0.05 for other in kept)
        shown.append(free)
        if free:
            kept.append(place)
    return shown


def _corner_note(ax: Any, text: str) -> None:
    ax.text(0.98, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=8.5,
            color=GREY)  # fmt: skip
