"""Figures of a particles run: sizes with their log-normal, thickness, elongation."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.measure.particle_population import wilson
from layerscope.measure.particle_signal import THICKNESS_CLASSES
from layerscope.report.figures import (
    ACCENT,
    GREY,
    INK,
    as_hex,
    new_figure,
    styled,
    weighted_histogram,
)
from layerscope.report.particles_pictures import COLOURS

_VERMILLION = "#b34700"


@styled
def size_distribution_figure(
    sizes: FloatArray, weights: FloatArray, mu: float, sigma: float, *, unit: str
) -> Any:
    """Draw the sizes of whole particles, weighted for the border, and the log-normal through them.

    Parameters
    ----------
    sizes, weights : ndarray, (n,)
        At least one positive size with a positive weight.
    mu, sigma : float
        Of the logarithms; NaN draws no curve.
    unit : str
    """
    used = (weights > 0) & (sizes > 0)
    sizes, weights = sizes[used], weights[used]
    figure, (ax,) = new_figure(6.6, 3.4)
    shares, edges = weighted_histogram(ax, sizes, weights)
    most = float(shares.max())
    ax.plot(sizes, np.full(len(sizes), -0.03 * most), "|", color=GREY, markersize=6)
    ax.set(xlabel=f"lateral size ({unit})", ylabel="particles (%)",
           ylim=(-0.06 * most, 1.25 * most))  # fmt: skip
    if np.isfinite([mu, sigma]).all():
        _draw_lognormal(ax, mu, sigma, edges)
        ax.legend(loc="upper right")
    return figure


def _draw_lognormal(ax: Any, mu: float, sigma: float, edges: FloatArray) -> None:
    x = np.geomspace(edges[0], edges[-1], 200)
    step = np.log(edges[1] / edges[0])
    density = np.exp(-0.5 * ((np.log(x) - mu) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    text = f"log-normal: median {np.exp(mu):.3g}, geometric sd {np.exp(sigma):.2f}"
    ax.plot(x, 100 * step * density, color=_VERMILLION, linewidth=1.8, label=text)


@styled
def thickness_figure(names: list[str]) -> Any:
    """Draw the number of particles per thickness class with its 95 % interval."""
    figure, (ax,) = new_figure(4.3, 3.1)
    shares = [wilson(names.count(name), len(names)) for name in THICKNESS_CLASSES]
    value, low, high = (100 * np.array([s[k] for s in shares]) for k in range(3))
    place = np.arange(len(shares))
    inks = [as_hex(COLOURS[name]) for name in THICKNESS_CLASSES]
    ax.bar(place, value, 0.68, color=inks, edgecolor=GREY, linewidth=0.6)
    ax.errorbar(place, (low + high) / 2, (high - low) / 2, fmt="none", ecolor=INK,
                elinewidth=1.2, capsize=3)  # fmt: skip
    ax.set_xticks(place, list(THICKNESS_CLASSES))
    ax.set(title="Thickness", ylabel="particles (%)", ylim=(0, 1.12 * max(float(high.max()), 1.0)))
    ax.grid(visible=False, axis="x")
    return figure


@styled
def shape_figure(aspect: FloatArray, solidity: FloatArray) -> Any:
    """Draw elongation against solidity, a dot per particle."""
    figure, (ax,) = new_figure(4.3, 3.1)
    ax.plot(aspect, solidity, "o", color=ACCENT, markersize=4, alpha=0.7, markeredgewidth=0)
    top = max(float(np.nanmax(aspect)) * 1.05, 2.0)
    ax.set(title="Shape", xlabel="length / width", ylabel="solidity", xlim=(0.95, top),
           ylim=(min(0.5, float(np.nanmin(solidity)) - 0.03), 1.02))  # fmt: skip
    return figure
