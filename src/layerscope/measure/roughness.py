"""Roughness of a surface or of a part of it, as ISO 25178-2 (2021) defines it.

Heights are counted from the mean of the part, so level first. Sdr sums the triangles between
neighbouring pixels: it grows as pixels shrink and with noise, so compare scans of one pixel size.
"""

from __future__ import annotations

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.measure.population import Estimate, bootstrap

MEANINGS = {
    "Sq": "Root mean square height from the mean (ISO 25178-2, 4.1.1).",
    "Sq_corrected": "Sq without the noise: root of Sq squared less noise squared, 0 at least.",
    "Sa": "Mean absolute height from the mean (ISO 25178-2, 4.1.7).",
    "Ssk": "Skewness: mean cube of the heights over Sq cubed (ISO 25178-2, 4.1.2).",
    "Sku": "Kurtosis: mean fourth power over Sq to the fourth, 3 for a normal surface (4.1.3).",
    "Sdr": "Developed area: how much larger the surface is than its plan, in percent (4.2.2).",
}
UNITS = {"Sq": "nm", "Sq_corrected": "nm", "Sa": "nm", "Ssk": "", "Sku": "", "Sdr": "%"}

_TILE_PX = 32
_FEWEST_PX = 16
_DRAWS = 500


def roughness(
    heights_nm: FloatArray,
    part: BoolArray,
    *,
    pixel_nm: tuple[float, float] | None,
    noise_nm: float | None = None,
) -> dict[str, Estimate]:
    """Roughness of the pixels in `part`.

    Parameters
    ----------
    heights_nm : ndarray, (H, W)
        NaN where there is no value.
    part : ndarray of bool, (H, W)
    pixel_nm : tuple of float or None
        Height and width of a pixel; None leaves Sdr empty.
    noise_nm : float, optional
        Standard deviation of the instrument's noise, for ``Sq_corrected``.

    Returns
    -------
    dict of str to Estimate
        By the names in `MEANINGS`; intervals from a bootstrap over tiles of 32 x 32 px, as
        neighbouring pixels are not independent.

    Raises
    ------
    InputError
        If the shapes differ or the noise is negative.
    """
    if heights_nm.shape != part.shape or heights_nm.ndim != 2:
        raise InputError(f"heights {heights_nm.shape} but part {part.shape}")
    if noise_nm is not None and not noise_nm >= 0:
        raise InputError(f"noise {noise_nm} nm: expected 0 or more")
    used = part & np.isfinite(heights_nm)
    n = int(np.count_nonzero(used))
    if n < _FEWEST_PX:
        reason = f"none: {n} px, fewer than {_FEWEST_PX}"
        return {name: Estimate(np.nan, np.nan, np.nan, reason) for name in MEANINGS}
    heights = np.asarray(heights_nm, float)
    sums = _tile_sums(heights, used, float(heights[used].mean()))
    out = {
        name: bootstrap(sums, _Moment(name, noise_nm), unit="tiles of 32 px", draws=_DRAWS)
        for name in ("Sq", "Sa", "Ssk", "Sku")
    }
    out["Sq_corrected"] = _corrected(sums, noise_nm)
    out["Sdr"] = _developed(heights, used, pixel_nm)
    return {name: out[name] for name in MEANINGS}


class _Moment:
    """Statistic of `bootstrap` on rows (n, 6): number, sums of powers 1 to 4, sum of absolutes."""

    def __init__(self, name: str, noise_nm: float | None):
        self.name = name
        self.noise_nm = noise_nm or 0.0

    def __call__(self, rows: FloatArray, weights: FloatArray) -> FloatArray:
        total = weights @ rows
        mean = total[:, 1:] / total[:, :1]
        m1, m2, m3, m4, absolute = mean.T
        variance = np.maximum(m2 - m1**2, 0.0)
        if self.name == "Sa":
            return np.asarray(absolute)
        if self.name in ("Sq", "Sq_corrected"):
            noise2 = self.noise_nm**2 if self.name == "Sq_corrected" else 0.0
            return np.asarray(np.sqrt(np.maximum(variance - noise2, 0.0)))
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.name == "Ssk":
                return np.asarray((m3 - 3 * m1 * m2 + 2 * m1**3) / variance**1.5)
            return np.asarray((m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4) / variance**2)


def _tile_sums(heights: FloatArray, used: BoolArray, mean: float) -> list[FloatArray]:
    off = heights[used] - mean
    powers = [np.ones_like(off), off, off**2, off**3, off**4, np.abs(off)]
    return _per_tile(used, powers)


def _per_tile(used: BoolArray, values: list[FloatArray]) -> list[FloatArray]:
    """Sum each of `values`, given for the used pixels, per tile that has any: (1, m) each."""
    rows, columns = np.nonzero(used)
    across = -(-used.shape[1] // _TILE_PX)
    tile = rows // _TILE_PX * across + columns // _TILE_PX
    sums = np.stack([np.bincount(tile, v) for v in values], axis=1)
    return [row[None] for row in sums[np.bincount(tile) > 0]]


def _corrected(sums: list[FloatArray], noise_nm: float | None) -> Estimate:
    if noise_nm is None:
        return Estimate(np.nan, np.nan, np.nan, "none: the instrument's noise is not known")
    return bootstrap(sums, _Moment("Sq_corrected", noise_nm), unit="tiles of 32 px", draws=_DRAWS)


def _developed(
    heights: FloatArray, used: BoolArray, pixel_nm: tuple[float, float] | None
) -> Estimate:
    if pixel_nm is None:
        return Estimate(np.nan, np.nan, np.nan, "none: no pixel size")
    corners = used[:-1, :-1] & used[:-1, 1:] & used[1:, :-1] & used[1:, 1:]
    if not corners.any():
        return Estimate(np.nan, np.nan, np.nan, "none: no four neighbouring pixels")
    a, b, c, d = (
        heights[:-1, :-1][corners],
        heights[:-1, 1:][corners],
        heights[1:, :-1][corners],
        heights[1:, 1:][corners],
    )
    dy, dx = pixel_nm
    # Both ways to cut a square in two triangles, so that a mirrored scan gives the same.
    slopes = [(b - a, c - a), (d - c, d - b), (b - a, d - b), (d - c, c - a)]
    grown = [np.sqrt(1 + (x / dx) ** 2 + (y / dy) ** 2) for x, y in slopes]
    excess = np.mean(grown, axis=0) - 1
    groups = _per_tile(corners, [np.ones_like(excess), excess])
    return bootstrap(groups, _mean_percent, unit="tiles of 32 px", draws=_DRAWS)


def _mean_percent(rows: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights @ rows
    return np.asarray(100 * total[:, 1] / total[:, 0])
