"""What a whole run found: counts, areas and sizes per layer number, each with its interval.

Intervals are 95 % percentile bootstraps (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, ch. 13). Whole images are drawn, not regions: flakes of one image share a tape, a place and an
exposure, so they are not independent. With a single image flakes are drawn, which says how certain
the figure is for that place alone; the table names the way. Fewer than five units give no interval,
and a reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_UNITS = 5
_DRAWS = 2000
_PART = 1 << 20

Statistic = Callable[[FloatArray, FloatArray], FloatArray]


class Estimate(NamedTuple):
    """A figure, its 95 % interval, and how the interval was made or why there is none."""

    value: float
    low: float
    high: float
    interval: str


def summarise_population(
    objects: pd.DataFrame,
    *,
    image_names: tuple[str, ...],
    imaged_area_um2: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Summarise a run's objects table per layer number.

    Parameters
    ----------
    objects : pandas.DataFrame
        Rows of `measure`, of any number of images.
    image_names : tuple of str
        Every image that was analysed, also those where nothing was found.
    imaged_area_um2 : mapping of str to float, optional
        Area of each image. Without it, or without a pixel size, there are no densities.

    Returns
    -------
    pandas.DataFrame
        One row per class and figure: ``n_layers`` (``all`` for every region), ``quantity``,
        ``unit``, ``value``, ``low``, ``high`` and ``interval``. Quantities are the region count,
        total and median area, and density per mm2 where the imaged area is known.

    Raises
    ------
    InputError
        If the table names an image that is not in `image_names`.
    """
    import pandas as pd

    strange = sorted(set(objects["image"]) - set(image_names))
    if strange:
        raise InputError(f"the table names {strange[0]!r}, which is not among the images given")
    rows = []
    for name in ("all", *_present_classes(objects)):
        part = objects if name == "all" else objects[objects["n_layers"] == name]
        for quantity, unit, estimate in _figures(part, image_names, imaged_area_um2):
            rows.append((name, quantity, unit, *estimate))
    columns = ["n_layers", "quantity", "unit", "value", "low", "high", "interval"]
    frame = pd.DataFrame(rows, columns=columns)
    texts = dict.fromkeys(("n_layers", "quantity", "unit", "interval"), "str")
    return frame.astype(texts | dict.fromkeys(("value", "low", "high"), "float64"))


def bootstrap(
    groups: list[FloatArray],
    statistic: Statistic,
    *,
    unit: str,
    draws: int = _DRAWS,
) -> Estimate:
    """Figure with a 95 % percentile interval from drawing whole groups with replacement.

    Parameters
    ----------
    groups : list of ndarray, (m, ...)
        Values of each independent unit, such as the flakes of one image; may be empty.
    statistic : callable
        ``(values (n, ...), weights (k, n)) -> figures (k,)``: how often each value was drawn.
    unit : str
        What a group is, in the plural, for the text: ``images`` or ``flakes``.
    draws : int
        Number of resamples.

    Returns
    -------
    Estimate
        The same values give the same interval, whatever their order and that of the groups.
    """
    inside = [np.sort(g) if g.ndim == 1 else g for g in groups]
    ordered = sorted(inside, key=lambda g: (len(g), g.tobytes()))
    values = np.concatenate(ordered) if ordered else np.zeros(0)
    value = float(statistic(values, np.ones((1, len(values))))[0])
    if len(ordered) < _FEWEST_UNITS:
        reason = f"none: {len(ordered)} {unit}, fewer than {_FEWEST_UNITS}"
        return Estimate(value, np.nan, np.nan, reason)
    if not np.isfinite(value):
        return Estimate(value, np.nan, np.nan, "none: no value")
    rng = np.random.default_rng(_seed(ordered))
    times = rng.multinomial(len(ordered), np.full(len(ordered), 1 / len(ordered)), draws)
    lengths = [len(group) for group in ordered]
    # In parts, so that a run of thousands of flakes needs megabytes.
    parts = np.array_split(times, max(1, draws * len(values) // _PART))
    resampled = np.concatenate([statistic(values, np.repeat(t, lengths, axis=1)) for t in parts])
    # A draw may hold no region at all; its figure does not exist and is left out.
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high), f"95 %, bootstrap over {len(ordered)} {unit}")


def size_distribution(
    objects: pd.DataFrame, *, column: str = "area_um2", bins: int = 12
) -> pd.DataFrame:
    """Histogram of a size on logarithmic bins, per layer number.

    Parameters
    ----------
    objects : pandas.DataFrame
        Rows of `measure`.
    column : str
        A positive size; use ``area_px`` where there is no pixel size.
    bins : int
        Number of bins between the smallest and the largest value.

    Returns
    -------
    pandas.DataFrame
        ``n_layers``, ``low``, ``high`` and ``count``; rows that are not positive are left out.

    Raises
    ------
    InputError
        If there is no such column.
    """
    import pandas as pd

    if column not in objects:
        raise InputError(f"no column {column!r} in the objects table")
    used = objects[objects[column] > 0]
    rows = []
    if len(used):
        least, most = used[column].min(), used[column].max()
        edges = np.geomspace(least, most if most > least else least * 2, bins + 1)
        edges[0], edges[-1] = least, max(most, edges[-1])
        for name in _present_classes(used):
            count, _ = np.histogram(used.loc[used["n_layers"] == name, column], edges)
            rows += [(name, *row) for row in zip(edges[:-1], edges[1:], count, strict=True)]
    frame = pd.DataFrame(rows, columns=["n_layers", "low", "high", "count"])
    return frame.astype({"n_layers": "str", "low": float, "high": float, "count": "int64"})


def _present_classes(objects: pd.DataFrame) -> list[str]:
    """Classes in the table: numbers rising, then thick, then unknown."""
    last = {"thick": (1, 0), "unknown": (1, 1)}
    return sorted(set(objects["n_layers"]), key=lambda n: last.get(n) or (0, int(n)))


def _figures(
    part: pd.DataFrame, image_names: tuple[str, ...], imaged_area_um2: Mapping[str, float] | None
) -> list[tuple[str, str, Estimate]]:
    scaled = bool(len(part)) and bool(part["area_um2"].notna().all())
    column, unit = ("area_um2", "um2") if scaled else ("area_px", "px")
    groups, drawn = _groups(part, column, image_names)
    figures = [
        ("count", "", bootstrap(groups, _count, unit=drawn)),
        ("total_area", unit, bootstrap(groups, _total, unit=drawn)),
        ("median_area", unit, bootstrap(groups, _median, unit=drawn)),
    ]
    if imaged_area_um2 is not None and len(image_names):
        figures.append(("density", "1/mm2", _density(part, image_names, imaged_area_um2)))
    return figures


def _groups(
    part: pd.DataFrame, column: str, image_names: tuple[str, ...]
) -> tuple[list[FloatArray], str]:
    """Values per independent unit: per image, or per flake where there is one image only."""
    by, drawn = ("image", "images") if len(image_names) > 1 else ("flake_id", "flakes")
    found = {key: rows[column].to_numpy(float) for key, rows in part.groupby(by, sort=True)}
    if drawn == "flakes":
        return list(found.values()), drawn
    return [found.get(name, np.zeros(0)) for name in image_names], drawn


def _density(
    part: pd.DataFrame, image_names: tuple[str, ...], imaged_area_um2: Mapping[str, float]
) -> Estimate:
    missing = [name for name in image_names if name not in imaged_area_um2]
    if missing:
        reason = f"none: area of {missing[0]} unknown, no pixel size"
        return Estimate(np.nan, np.nan, np.nan, reason)
    count = part["image"].value_counts()
    pairs = [np.array([[count.get(n, 0), imaged_area_um2[n]]], float) for n in image_names]
    return bootstrap(pairs, _per_mm2, unit="images")


def _per_mm2(pairs: FloatArray, weights: FloatArray) -> FloatArray:
    count, area_um2 = (weights @ pairs).T
    return np.asarray(count / area_um2 * 1e6)


def _count(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights.sum(axis=1), float)


def _total(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ values)


def _median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Median of `values`, each counted `weights` times; NaN where nothing was drawn."""
    if len(values) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    total = reached[:, -1:]
    # The two middle values of an even number, twice the same one of an odd number.
    lower = (reached >= np.floor((total + 1) / 2)).argmax(axis=1)
    upper = (reached >= np.floor(total / 2) + 1).argmax(axis=1)
    middle = (values[order[lower]] + values[order[upper]]) / 2
    return np.where(total[:, 0] > 0, middle, np.nan)


def _seed(groups: list[FloatArray]) -> int:
    """Seed from the values themselves: no clock, no global state."""
    digest = hashlib.sha256()
    for group in groups:
        digest.update(len(group).to_bytes(8, "little") + np.ascontiguousarray(group).tobytes())
    return int.from_bytes(digest.digest()[:8], "little")
