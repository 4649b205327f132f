"""One image's film in figures, each with its interval or the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from layerscope.core.coverage import Coverage
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.measure.domains import Domains
from layerscope.measure.number_density import (
    BORDER,
    clark_evans,
    edge_length_density,
    weighted_count,
)
from layerscope.measure.population import Estimate, bootstrap
from layerscope.measure.roughness import MEANINGS, UNITS, roughness

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, str, str, Estimate]
"""Layer or ``substrate`` or ``all``; quantity; unit; figure."""

COLUMNS = ("image", "layer", "quantity", "unit", "value", "low", "high", "interval")
_OFF_EDGE_PX = 3
_DRAWS = 500
_SIZES = (
    ("area", 2, "mean_area"),
    ("equivalent_diameter", 1, "mean_diameter"),
    ("feret_max", 1, "mean_feret"),
)
_SHAPES = ("triangularity", "hexagonality", "facetting")


def summarise_film(
    table: pd.DataFrame,
    domains: Domains,
    coverage: Coverage,
    heights_nm: FloatArray | None = None,
    *,
    pixel_size: PixelSize | None,
    image: str = "",
    border: str = "weighted",
    noise_nm: float | None = None,
) -> pd.DataFrame:
    """Summarise the film of one image.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure_domains`, with the same `border`.
    domains : Domains
    coverage : Coverage
    heights_nm : ndarray, (H, W), optional
        Levelled heights; without them there is no roughness.
    pixel_size : PixelSize or None
        None gives lengths in pixels.
    image : str
    border : str
        How the table treats domains that the border cuts, for the text.
    noise_nm : float, optional
        Standard deviation of the instrument's noise.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`; ``layer`` is ``all`` (the film), ``substrate`` or a number of layers.
        Quantities: coverage, count, density, mean_area, mean_diameter, mean_feret, triangularity,
        hexagonality, facetting, alignment_60 (1: all facets parallel), edge_density, edge_length,
        clark_evans, step_height, and roughness (Sq, Sq_corrected, Sa, Ssk, Sku, Sdr) of substrate
        and layers apart, 3 px off their edges.

    Raises
    ------
    InputError
        If the table is not of these domains or `border` is not known.
    """
    import pandas as pd

    if len(table) != len(domains):
        raise InputError(f"a table of {len(table)} rows but {len(domains)} domains")
    if border not in BORDER:
        raise InputError(f"border {border!r}: expected one of {', '.join(BORDER)}")
    rows: list[Row] = [("all", "coverage", "", _coverage(coverage))]
    for k, number in enumerate(domains.layer_numbers):
        if k:
            name = str(number)
            part = table[domains.level == k]
            rows.append((name, "coverage", "", _share(domains, k)))
            rows += _numbers(part, name, domains, pixel_size, border)
            rows += _edges(name, domains, k, pixel_size)
        if heights_nm is not None:
            rows += _rough("substrate" if not k else str(number), domains, k, heights_nm,
                           pixel_size, noise_nm)  # fmt: skip
    data = [(image, layer, quantity, unit, *figure) for layer, quantity, unit, figure in rows]
    frame = pd.DataFrame(data, columns=list(COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high"), "float64")
    return frame.astype({c: numbers.get(c, "str") for c in COLUMNS})


def _coverage(coverage: Coverage) -> Estimate:
    how = "95 %, " + coverage.method if np.isfinite(coverage.low) else "none: coverage not known"
    return Estimate(coverage.fraction, coverage.low, coverage.high, how)


def _share(domains: Domains, k: int) -> Estimate:
    """Share of the area with the layers of level `k` or more; interval from tiles."""
    height, width = domains.valid.shape
    side = max(16, min(height, width) // 8)
    groups = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            where = np.s_[top : top + side, left : left + side]
            of = np.count_nonzero(domains.valid[where])
            covered = np.count_nonzero((domains.levels[where] >= k) & domains.valid[where])
            if of:
                groups.append(np.array([[covered, of]], float))
    return bootstrap(groups, _ratio, unit=f"tiles of {side} px", draws=_DRAWS)


def _numbers(
    part: pd.DataFrame, name: str, domains: Domains, pixel_size: PixelSize | None, border: str
) -> list[Row]:
    """Count, density, sizes, shape and places of the domains of one layer."""
    weights = part["border_weight"].to_numpy(float)
    height, width = _extent(domains, pixel_size)
    unit = "px" if pixel_size is None else "um"
    count = weighted_count(weights)
    area = height * width
    how = f"{count.interval}; {BORDER[border]}"
    seen = Estimate(float(len(part)), np.nan, np.nan, "none: the count itself; see density")
    density = _scaled(count, 1 / area if area else np.nan, how)
    rows: list[Row] = [
        (name, "count", "", seen),
        (name, "density", f"1/{unit}2", density),
    ]
    used = part[weights > 0]
    w = weights[weights > 0]
    for stem, power, quantity in _SIZES:
        suffix = unit if power == 1 or unit == "px" else f"{unit}{power}"
        rows.append((name, quantity, suffix, _mean(used[f"{stem}_{suffix}"].to_numpy(float), w)))
    rows += [(name, s, "", _mean(used[s].to_numpy(float), w)) for s in _SHAPES]
    rows.append((name, "step_height", "nm", _mean(used["step_height_nm"].to_numpy(float), w)))
    angles = used["facet_direction_mod60_deg"].to_numpy(float)
    rows.append((name, "alignment_60", "", _alignment(angles, w)))
    nearest = part[f"nearest_centre_{unit}"].dropna().to_numpy(float)
    rows.append((name, "clark_evans", "", clark_evans(nearest, area, 2 * (height + width))))
    return rows


def _extent(domains: Domains, pixel_size: PixelSize | None) -> tuple[float, float]:
    """Height and width of the frame, in um or in pixels."""
    top, left, bottom, right = domains.frame
    if pixel_size is None:
        return float(bottom - top), float(right - left)
    return (bottom - top) * pixel_size.y_nm * 1e-3, (right - left) * pixel_size.x_nm * 1e-3


def _edges(name: str, domains: Domains, k: int, pixel_size: PixelSize | None) -> list[Row]:
    spacing = (1.0, 1.0)
    unit = "px"
    if pixel_size is not None:
        spacing, unit = (pixel_size.y_nm * 1e-3, pixel_size.x_nm * 1e-3), "um"
    value, error = edge_length_density(domains.levels >= k, domains.valid, spacing).tolist()
    area = np.count_nonzero(domains.valid) * spacing[0] * spacing[1]
    how = "95 %, crossings of test lines"
    if not np.isfinite(value):
        how = "none: no value"
    half = 1.96 * error
    density = Estimate(value, max(value - half, 0.0), value + half, how)
    length = _scaled(density, area, how)
    return [(name, "edge_density", f"{unit}/{unit}2" if unit == "um" else "1/px", density),
            (name, "edge_length", unit, length)]  # fmt: skip


def _rough(
    name: str,
    domains: Domains,
    k: int,
    heights_nm: FloatArray,
    pixel_size: PixelSize | None,
    noise_nm: float | None,
) -> list[Row]:
    part = _inside((domains.levels == k) & domains.valid)
    pixel_nm = None if pixel_size is None else (pixel_size.y_nm, pixel_size.x_nm)
    figures = roughness(heights_nm, part, pixel_nm=pixel_nm, noise_nm=noise_nm)
    return [(name, quantity, UNITS[quantity], figures[quantity]) for quantity in MEANINGS]


def _inside(part: BoolArray) -> BoolArray:
    size = 2 * _OFF_EDGE_PX + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.erode(part.astype(np.uint8), disc, borderValue=1) > 0)


def _mean(values: FloatArray, weights: FloatArray) -> Estimate:
    """Weighted mean with a bootstrap over domains."""
    known = np.isfinite(values)
    groups = [np.array([[v * w, w]]) for v, w in zip(values[known], weights[known], strict=True)]
    if not groups:
        return Estimate(np.nan, np.nan, np.nan, "none: no domain")
    return bootstrap(groups, _ratio, unit="domains", draws=_DRAWS)


def _alignment(angles_deg: FloatArray, weights: FloatArray) -> Estimate:
    """Length of the mean vector of six times the angle: 1 parallel, near 0 for any direction."""
    turn = np.radians(6 * angles_deg)
    vectors = np.stack([weights * np.cos(turn), weights * np.sin(turn), weights], axis=1)
    groups = [row[None] for row in vectors]
    if not groups:
        return Estimate(np.nan, np.nan, np.nan, "none: no domain")
    return bootstrap(groups, _resultant, unit="domains", draws=_DRAWS)


def _scaled(figure: Estimate, factor: float, how: str) -> Estimate:
    return Estimate(figure.value * factor, figure.low * factor, figure.high * factor, how)


def _ratio(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """First over second column of the weighted sums."""
    total = weights @ rows
    return np.asarray(total[:, 0] / total[:, 1])


def _resultant(rows: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights @ rows
    return np.asarray(np.hypot(total[:, 0], total[:, 1]) / total[:, 2])
