"""Many particles in few figures: sizes, their distribution, number per area, coverage, porosity.

Sizes are those of whole particles, each counted as often as the border hides such ones
(`number_density`); so that a small frame does not make the particles small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.micrograph import PixelSize
from layerscope.core.particles import POPULATION_COLUMNS, CountDraws, Particles
from layerscope.core.results import BoolArray, FloatArray
from layerscope.measure.number_density import BORDER, weighted_count
from layerscope.measure.population import Estimate, bootstrap

if TYPE_CHECKING:
    import pandas as pd

Row = tuple[str, str, Estimate]
"""Quantity, unit, figure."""

_DRAWS = 1000
_FEWEST_FOR_FIT = 8
_MOST_FOR_TEST = 5000
_SHAPES = ("circularity", "solidity", "lateral_aspect", "edge_roughness", "edge_dimension")


@dataclass(frozen=True)
class Field:
    """One imaged frame, for what is counted per area.

    Attributes
    ----------
    image : str
    area : float
        Counted area, um2 or px2.
    objects, holes : ndarray, (t, 2)
        Pixels taken and pixels that could be, of every tile: for coverage and porosity.
    count : CountDraws or None
        How many particles there are, where held-out images of a model tell.
    """

    image: str
    area: float
    objects: FloatArray
    holes: FloatArray
    count: CountDraws | None = None

    @classmethod
    def of(cls, particles: Particles, pixel_size: PixelSize | None, image: str) -> Field:
        """Count the pixels of one image in tiles of an eighth of its side."""
        pixels = particles.pixels
        taken = (particles.masks.labels() > 0) & pixels.valid
        # What lies under a particle is hidden, or seen through it only if it is thin.
        free = pixels.valid & ~taken
        side = max(16, min(free.shape) // 8)
        area = float(np.count_nonzero(pixels.valid))
        scale = 1.0 if pixel_size is None else pixel_size.x_nm * pixel_size.y_nm * 1e-6
        return cls(
            image, area * scale, _tiles(taken, pixels.valid, side),
            _tiles(pixels.holes, free, side), particles.count,
        )  # fmt: skip


def summarise_particles(
    table: pd.DataFrame, fields: Sequence[Field], *, image: str, border: str = "weighted"
) -> pd.DataFrame:
    """Summarise the particles of one image, or of many.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure_particles`, rows of these images only.
    fields : sequence of Field
        Every image that was analysed, also those without particles.
    image : str
        Name for the first column; ``all`` for many.
    border : str
        How the table treats particles that the border cuts.

    Returns
    -------
    pandas.DataFrame
        Columns `POPULATION_COLUMNS`. Quantities: count, count_at_border, count_expected (where
        held-out images tell it), density, coverage, porosity, aggregated_share; of the lateral
        size: median, quartiles, mean, and the mu, sigma, median and p-value of a log-normal;
        medians of shapes, of mass thickness and folds; shares of the thickness classes.
    """
    import pandas as pd

    unit = "um" if _scaled(table) else "px"
    rows = [*_numbers(table, fields, unit, border), *_sizes(table, fields, unit),
            *_shapes(table, fields), *_shares(table)]  # fmt: skip
    data = [(image, quantity, of, *figure) for quantity, of, figure in rows]
    frame = pd.DataFrame(data, columns=[c.name for c in POPULATION_COLUMNS])
    return frame.astype({c.name: c.dtype for c in POPULATION_COLUMNS})


def fit_lognormal(sizes: FloatArray, weights: FloatArray | None = None) -> dict[str, Estimate]:
    """Fit a log-normal distribution.

    Mean and standard deviation of the logarithms, with the intervals of Student and of chi-squared
    on the effective number of particles (Kish, Survey Sampling (1965)); the goodness is the p-value
    of Shapiro and Wilk, Biometrika 52, 591 (1965), for the logarithms: below 0.05 the sizes are not
    log-normal.

    Parameters
    ----------
    sizes : ndarray, (n,)
        Positive.
    weights : ndarray, (n,), optional
        Particles that each stands for.

    Returns
    -------
    dict of str to Estimate
        ``mu``, ``sigma``, ``median`` (``exp(mu)``) and ``p``; NaN below eight particles.
    """
    from scipy import stats

    used = np.ones(len(sizes)) if weights is None else np.asarray(weights, float)
    known = np.isfinite(sizes) & (sizes > 0) & (used > 0)
    logs, used = np.log(sizes[known]), used[known]
    if len(logs) < _FEWEST_FOR_FIT or not np.ptp(logs) > 0:
        reason = f"none: {len(logs)} whole particles, fewer than {_FEWEST_FOR_FIT}"
        if len(logs) >= _FEWEST_FOR_FIT:
            reason = "none: all sizes are the same"
        return dict.fromkeys(
            ("mu", "sigma", "median", "p"), Estimate(np.nan, np.nan, np.nan, reason)
        )
    mean = float(np.average(logs, weights=used))
    n = float(used.sum() ** 2 / (used**2).sum())
    sd = float(np.sqrt(np.average((logs - mean) ** 2, weights=used) * n / (n - 1)))
    half = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    low, high = (sd * np.sqrt((n - 1) / stats.chi2.ppf(q, n - 1)) for q in (0.975, 0.025))
    how = f"95 %, log-normal, {len(logs)} particles"
    test = (
        logs if len(logs) <= _MOST_FOR_TEST else np.sort(logs)[:: -(-len(logs) // _MOST_FOR_TEST)]
    )
    p = float(stats.shapiro(test).pvalue)
    return {
        "mu": Estimate(mean, mean - half, mean + half, how),
        "sigma": Estimate(sd, float(low), float(high), how),
        "median": Estimate(
            float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), how
        ),
        "p": Estimate(p, np.nan, np.nan, "none: a p-value (Shapiro and Wilk)"),
    }


def weighted_quantiles(
    values: FloatArray, weights: FloatArray, shares: Sequence[float]
) -> FloatArray:
    """Quantiles of `values` (n,), each counted `weights` times, on the middle of its step."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    middle = (np.cumsum(weights) - 0.5 * weights) / max(float(weights.sum()), 1e-300)
    return np.asarray(
        np.interp(shares, middle, values) if len(values) else np.full(len(shares), np.nan)
    )


def _scaled(table: pd.DataFrame) -> bool:
    return bool(table["lateral_size_um"].notna().all())


def _tiles(part: BoolArray, of: BoolArray, side: int) -> FloatArray:
    height, width = of.shape
    pairs = [
        (np.count_nonzero(part[where] & of[where]), np.count_nonzero(of[where]))
        for top in range(0, height, side) for left in range(0, width, side)
        for where in [np.s_[top : top + side, left : left + side]]
    ]  # fmt: skip
    found = np.array(pairs, float).reshape(-1, 2)
    return found[found[:, 1] > 0]


def _numbers(table: pd.DataFrame, fields: Sequence[Field], unit: str, border: str) -> list[Row]:
    weights = table["border_weight"].to_numpy(float)
    count = weighted_count(weights)
    area = sum(field.area for field in fields)
    rate = 1 / area if area else np.nan
    how = f"95 %, Poisson, {np.count_nonzero(weights)} whole particles; "
    how += BORDER[border].replace("domains", "particles")
    none = "none: the count itself; see density"
    cut = int(table["touches_border"].sum())
    together = np.asarray(table["aggregate_size"] > 1, float)
    return [
        ("count", "", Estimate(float(len(table)), np.nan, np.nan, none)),
        ("count_at_border", "", Estimate(float(cut), np.nan, np.nan, none)),
        *_expected(fields),
        ("density", f"1/{unit}2",
         Estimate(count.value * rate, count.low * rate, count.high * rate, how)),
        ("coverage", "", _area_share([f.objects for f in fields])),
        ("porosity", "", _area_share([f.holes for f in fields])),
        ("aggregated_share", "", _mean(together, table, fields)),
    ]  # fmt: skip


def _expected(fields: Sequence[Field]) -> list[Row]:
    """Particles that there are, found or not; none where nothing was held out to say so."""
    known = [field.count for field in fields if field.count is not None]
    if not known or len(known) < len(fields):
        return []
    how = "95 %, islands of held-out images; particles that the model merged or missed are in it"
    return [("count_expected", "", Estimate(*reduce(add, known).interval(), how))]


def _area_share(parts: list[FloatArray]) -> Estimate:
    """Share of the area, drawn by image where there are five or more, else by tile."""
    if len(parts) >= 5:
        groups, unit = [p.sum(axis=0, keepdims=True) for p in parts], "images"
    else:
        groups, unit = [row[None] for part in parts for row in part], "tiles"
    if not groups or not sum(float(g[:, 1].sum()) for g in groups):
        return Estimate(np.nan, np.nan, np.nan, "none: no pixel is counted")
    return bootstrap(groups, _ratio, unit=unit, draws=_DRAWS)


def _ratio(rows: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights @ rows
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total[:, 0] / total[:, 1])


def _groups(
    values: FloatArray, table: pd.DataFrame, fields: Sequence[Field]
) -> tuple[list[FloatArray], str]:
    """Rows of value and weight per independent unit: images, or particles of a few images."""
    weights = table["border_weight"].to_numpy(float)
    good = np.isfinite(values) & (weights > 0)
    pairs, names = np.column_stack([values, weights])[good], table["image"].to_numpy()[good]
    if len(fields) >= 5:
        return [pairs[names == field.image] for field in fields], "images"
    return [row[None] for row in pairs], "particles"


def _mean(values: FloatArray, table: pd.DataFrame, fields: Sequence[Field]) -> Estimate:
    groups, unit = _groups(values, table, fields)
    if not sum(map(len, groups)):
        return Estimate(np.nan, np.nan, np.nan, "none: no whole particle")
    moments = [np.column_stack([g[:, 0] * g[:, 1], g[:, 1]]) for g in groups]
    return bootstrap(moments, _ratio, unit=unit, draws=_DRAWS)


def _quantile(
    values: FloatArray, share: float, table: pd.DataFrame, fields: Sequence[Field]
) -> Estimate:
    groups, unit = _groups(values, table, fields)
    if not sum(map(len, groups)):
        return Estimate(np.nan, np.nan, np.nan, "none: no whole particle")

    def of(rows: FloatArray, times: FloatArray) -> FloatArray:
        # Percentile bootstrap: a row counts as often as it was drawn, times what it stands for.
        drawn = [weighted_quantiles(rows[t > 0, 0], (rows[:, 1] * t)[t > 0], [share])[0]
                 for t in times]  # fmt: skip
        return np.asarray(drawn)

    return bootstrap(groups, of, unit=unit, draws=_DRAWS // 2)


def _sizes(table: pd.DataFrame, fields: Sequence[Field], unit: str) -> list[Row]:
    sizes = table[f"lateral_size_{unit}"].to_numpy(float)
    weights = table["border_weight"].to_numpy(float)
    fit = fit_lognormal(sizes, weights)
    quartiles = [_quantile(sizes, q, table, fields) for q in (0.5, 0.25, 0.75)]
    width = Estimate(
        quartiles[2].value - quartiles[1].value, np.nan, np.nan, "none: see the quartiles"
    )
    return [
        ("lateral_size_median", unit, quartiles[0]),
        ("lateral_size_lower_quartile", unit, quartiles[1]),
        ("lateral_size_upper_quartile", unit, quartiles[2]),
        ("lateral_size_iqr", unit, width),
        ("lateral_size_mean", unit, _mean(sizes, table, fields)),
        ("lognormal_mu", f"ln({unit})", fit["mu"]),
        ("lognormal_sigma", "", fit["sigma"]),
        ("lognormal_median", unit, fit["median"]),
        ("lognormal_p", "", fit["p"]),
        ("area_median", f"{unit}2",
         _quantile(table[f"area_{'um2' if unit == 'um' else 'px'}"].to_numpy(float), 0.5, table,
                   fields)),
    ]  # fmt: skip


def _shapes(table: pd.DataFrame, fields: Sequence[Field]) -> list[Row]:
    quantities = (*_SHAPES, "mass_thickness", "texture_entropy", "fold_share")
    return [
        (f"{name}_median", "", _quantile(table[name].to_numpy(float), 0.5, table, fields))
        for name in quantities
    ]


def _shares(table: pd.DataFrame) -> list[Row]:
    """Share of each thickness class, with the interval of Wilson, J. Am. Stat. Assoc. 22, 209."""
    from layerscope.measure.particle_signal import THICKNESS_CLASSES

    n = len(table)
    found = []
    for name in THICKNESS_CLASSES:
        k = int((table["thickness_class"] == name).sum())
        found.append((f"share_{name}", "", wilson(k, n)))
    return found


def wilson(k: int, n: int) -> Estimate:
    """Share `k` of `n` with Wilson's 95 % interval."""
    if not n:
        return Estimate(np.nan, np.nan, np.nan, "none: no particle")
    z2, share = 1.959964**2, k / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low, high = min(middle - half, share), max(middle + half, share)
    return Estimate(share, max(float(low), 0.0), min(float(high), 1.0), f"95 %, Wilson, {n}")
