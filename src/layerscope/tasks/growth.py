"""Growth study: how coverage, density and size follow the conditions under which films grew.

Images of one sample share its growth, so they are not independent: a sample's value is the mean of
its images, and every trend counts samples, not images.

>>> study = summarise_growth(images, read_conditions("growth.csv"))  # doctest: +SKIP
>>> study.trends                                                     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.population import Estimate
from layerscope.tasks.growth_conditions import Conditions, GrowthRow, Matches, read_conditions
from layerscope.tasks.growth_statistics import (
    FEWEST_SAMPLES,
    mean_interval,
    rank_correlation,
    robust_scale,
    robust_z,
    sen_line,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GrowthStudy", "image_quantities", "read_conditions", "split_by_sample",
           "summarise_growth"]  # fmt: skip

QUANTITIES = ("coverage", "density_per_um2", "mean_diameter_um")
"""What a study looks at first."""

_FAR = 3.5
_FEWEST_IMAGES = 5
_FEWEST_ON_TREND = 6


@dataclass(frozen=True, eq=False)
class GrowthStudy:
    """Tables of a growth study; each is ready to plot or to save.

    Attributes
    ----------
    images : pandas.DataFrame
        One row per matched image: ``image``, ``sample``, conditions, quantities, ``outlier`` (the
        quantities whose robust z within the sample is over 3.5, joined by |).
    samples : pandas.DataFrame
        One row per sample and quantity: ``sample``, ``quantity``, ``n_images``, ``value`` (mean),
        ``low``, ``high``, ``interval``, conditions, ``off_trend`` (conditions whose trend it
        leaves, joined by |).
    trends : pandas.DataFrame
        One row per condition and quantity: ``n_samples``, ``rank_correlation`` (Spearman), ``low``,
        ``high``, ``interval``, ``slope`` and ``intercept`` (Theil and Sen).
    conditions, quantities : tuple of str
    matches : Matches
    notes : tuple of str
        What a reader must know, one line each.
    """

    images: pd.DataFrame
    samples: pd.DataFrame
    trends: pd.DataFrame
    conditions: tuple[str, ...]
    quantities: tuple[str, ...]
    matches: Matches
    notes: tuple[str, ...]

    def points(self, condition: str, quantity: str) -> pd.DataFrame:
        """Take the samples for a plot of `quantity` over `condition`, which is column ``x``.

        Raises
        ------
        InputError
            If there is no such condition or quantity.
        """
        for name, known in ((condition, self.conditions), (quantity, self.quantities)):
            if name not in known:
                raise InputError(f"no {name!r} in this study: expected one of {', '.join(known)}")
        rows = self.samples[self.samples["quantity"] == quantity]
        kept = rows[["sample", "n_images", "value", "low", "high"]].assign(
            x=rows[condition], off_trend=_lists(rows["off_trend"], condition)
        )
        return kept.dropna(subset=["x", "value"]).sort_values(["x", "sample"], ignore_index=True)


def image_quantities(summary: pd.DataFrame, *, layer: str = "1") -> pd.DataFrame:
    """One row per image from the long tables of `measure.domain_summary.summarise_film`.

    Parameters
    ----------
    summary : pandas.DataFrame
        Of one or more images, below each other.
    layer : str
        Layer whose domains count; coverage is that of the whole film, roughness of the substrate
        gets the suffix ``_substrate``.

    Returns
    -------
    pandas.DataFrame
        ``image`` and one column per quantity with its unit, e.g. ``density_per_um2``. An image
        without that layer has no size, and a coverage and density of 0.

    Raises
    ------
    InputError
        If a figure comes twice for one image.
    """
    film = (summary["layer"] == "all") & (summary["quantity"] == "coverage")
    own = (summary["layer"] == layer) & (summary["quantity"] != "coverage")
    bare = summary["layer"] == "substrate"
    rows = summary[film | own | bare]
    unit = rows["unit"].map(_suffix)
    names = rows["quantity"] + unit + np.where(rows["layer"] == "substrate", "_substrate", "")
    long = rows.assign(column=names)
    if long.duplicated(["image", "column"]).any():
        image = long.loc[long.duplicated(["image", "column"]), "image"].iloc[0]
        raise InputError(f"{image!r} comes twice in the summary: give each image its own name")
    wide = long.pivot_table(index="image", columns="column", values="value", dropna=False)
    wide = wide.reindex(columns=list(dict.fromkeys(names)))
    for column in wide.columns.intersection(["count", "density_per_um2"]):
        wide[column] = wide[column].fillna(0.0)
    wide.columns.name = None
    return wide.sort_index().reset_index()


def summarise_growth(
    image_table: pd.DataFrame,
    conditions: Conditions,
    *,
    quantities: Sequence[str] | None = None,
) -> GrowthStudy:
    """Relate what the images show to how the samples were grown.

    Parameters
    ----------
    image_table : pandas.DataFrame
        One row per image with a column ``image``; `image_quantities` makes it.
    conditions : Conditions
    quantities : sequence of str, optional
        Columns to study; those of `QUANTITIES` that the table has by default.

    Returns
    -------
    GrowthStudy
        Means with t intervals over images; outliers by Iglewicz and Hoaglin, How to Detect and
        Handle Outliers (1993), from five images on; rank correlation with the interval of Bonett
        and Wright, Psychometrika 65, 23 (2000), from five samples on; samples off the trend by the
        same z of their distance from the line of Sen, J. Am. Stat. Assoc. 63, 1379 (1968).

    Raises
    ------
    InputError
        If an image comes twice, a quantity is no column, or no image has a row of conditions.
    """
    chosen = _chosen(image_table, quantities)
    matches = conditions.match(image_table["image"])
    if not matches.rows:
        raise InputError(
            "no image has a row in the table of conditions: its names are "
            f"{', '.join((r.image or r.sample) for r in conditions.rows[:3])} ..., the images' "
            f"{', '.join(image_table['image'].iloc[:3])} ..."
        )
    images = _images(image_table, matches.rows, conditions.names, chosen)
    samples = _samples(images, conditions.names, chosen)
    trends = _trends(samples, conditions.names, chosen)
    samples["off_trend"] = _off_trend(samples, trends)
    notes = (*matches.report(), *_notes(images, samples, conditions.names), *_chance(trends))
    return GrowthStudy(images, samples, trends, conditions.names, chosen, matches, notes)


def split_by_sample(
    samples: Sequence[str], n_folds: int = 5, *, seed: int = 0
) -> list[tuple[IntArray, IntArray]]:
    """Folds for cross-validation in which no sample is in both parts.

    Parameters
    ----------
    samples : sequence of str
        Sample of each image.
    n_folds : int
        2 or more; as many as samples leaves one sample out each time.
    seed : int
        Another seed, other folds; the order of the images does not matter to which sample goes
        where.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Positions of images to train and to test on; folds hold about as many images each.

    Raises
    ------
    InputError
        If there are fewer samples than folds.
    """
    names, counts = np.unique(np.asarray(samples, object).astype(str), return_counts=True)
    if not 2 <= n_folds <= len(names):
        raise InputError(f"{n_folds} folds of {len(names)} samples: expected 2 to {len(names)}")
    shuffled = np.random.default_rng(seed).permutation(len(names))
    largest_first = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    fold: dict[str, int] = {}
    load = np.zeros(n_folds)
    for i in largest_first.tolist():
        lightest = int(np.argmin(load))
        fold[str(names[i])] = lightest
        load[lightest] += counts[i]
    own = np.array([fold[str(name)] for name in samples])
    return [(np.flatnonzero(own != k), np.flatnonzero(own == k)) for k in range(n_folds)]


def _chosen(table: pd.DataFrame, quantities: Sequence[str] | None) -> tuple[str, ...]:
    if "image" not in table:
        raise InputError("the image table has no column 'image'")
    double = table.loc[table["image"].duplicated(), "image"]
    if len(double):
        raise InputError(f"image {double.iloc[0]!r} comes twice in the image table")
    chosen = tuple(quantities or (q for q in QUANTITIES if q in table))
    missing = [q for q in chosen if q not in table]
    if missing or not chosen:
        raise InputError(
            f"no column {(missing or list(QUANTITIES))[0]!r} in the image table: it has "
            f"{', '.join(c for c in table.columns if c != 'image')}"
        )
    return chosen


def _images(
    table: pd.DataFrame,
    rows: Mapping[str, GrowthRow],
    names: tuple[str, ...],
    quantities: tuple[str, ...],
) -> pd.DataFrame:
    kept = table[table["image"].isin(list(rows))].sort_values("image", ignore_index=True)
    own = [rows[image] for image in kept["image"]]
    out = kept[["image"]].assign(sample=[row.sample for row in own])
    for name in names:
        out[name] = [row.conditions[name] for row in own]
    for quantity in quantities:
        out[quantity] = kept[quantity].astype(float)
    far = {q: _far_in_sample(out["sample"], out[q].to_numpy(float)) for q in quantities}
    out["outlier"] = ["|".join(q for q in quantities if far[q][i]) for i in range(len(out))]
    return out


def _far_in_sample(sample: pd.Series[str], values: FloatArray) -> BoolArray:
    """Which images are far from their sample's median.

    Images of all samples scatter alike for the same instrument and place to place; six alone give a
    scale so uncertain that 3 % of good images would be called outliers. So the scale is at least
    that of all samples together.
    """
    known = np.isfinite(values)
    groups = [np.flatnonzero((sample == name).to_numpy() & known) for name in sample.unique()]
    large = [own for own in groups if len(own) >= _FEWEST_IMAGES]
    far = np.zeros(len(values), bool)
    if not large:
        return far
    pooled = robust_scale(np.concatenate([values[g] - np.median(values[g]) for g in large]))
    for own in large:
        far[own] = np.abs(robust_z(values[own], pooled)) > _FAR
    return far


def _samples(
    images: pd.DataFrame, names: tuple[str, ...], quantities: tuple[str, ...]
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for sample, own in images.groupby("sample", sort=True):
        at = {name: float(own[name].mean()) for name in names}
        for quantity in quantities:
            figure = mean_interval(own[quantity].to_numpy(float))
            n = int(own[quantity].notna().sum())
            rows.append({"sample": sample, "quantity": quantity, "n_images": n}
                        | _bounded(figure, quantity)._asdict() | at)  # fmt: skip
    return pd.DataFrame(rows)


def _bounded(figure: Estimate, quantity: str) -> Estimate:
    """No coverage outside 0 to 1 and no size, count or density below 0."""
    most = 1.0 if quantity == "coverage" else np.inf
    if figure.value < 0 or not np.isfinite(figure.low):
        return figure
    return figure._replace(low=max(figure.low, 0.0), high=min(figure.high, most))


def _trends(
    samples: pd.DataFrame, names: tuple[str, ...], quantities: tuple[str, ...]
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name in names:
        for quantity in quantities:
            own = samples[samples["quantity"] == quantity].dropna(subset=[name, "value"])
            x, y = own[name].to_numpy(float), own["value"].to_numpy(float)
            figure = rank_correlation(x, y)
            slope, intercept = sen_line(x, y)
            row = {"condition": name, "quantity": quantity, "n_samples": len(x)}
            row |= {"rank_correlation": figure.value, "low": figure.low, "high": figure.high}
            row |= {"interval": figure.interval, "slope": slope, "intercept": intercept}
            rows.append(row)
    return pd.DataFrame(rows)


def _off_trend(samples: pd.DataFrame, trends: pd.DataFrame) -> list[str]:
    """Conditions whose line each sample leaves by more than a robust z of 3.5."""
    leaves: list[list[str]] = [[] for _ in range(len(samples))]
    values = samples["value"].to_numpy(float)
    for line in trends.to_dict("records"):
        name, quantity = str(line["condition"]), line["quantity"]
        x = samples[name].to_numpy(float)
        known = np.isfinite(x) & np.isfinite(values)
        own = np.flatnonzero((samples["quantity"] == quantity).to_numpy() & known)
        if len(own) < _FEWEST_ON_TREND or not np.isfinite(float(line["slope"])):
            continue
        off = values[own] - float(line["slope"]) * x[own] - float(line["intercept"])
        for i in own[np.abs(robust_z(off)) > _FAR].tolist():
            leaves[i].append(name)
    return ["|".join(names) for names in leaves]


def _notes(images: pd.DataFrame, samples: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    by_sample = images.groupby("sample")
    mixed = [n for n in names if (by_sample[n].max() > by_sample[n].min()).any()]
    if mixed:
        notes.append(f"{', '.join(mixed)} differs between images of one sample: their mean is used")
    single = int((samples.groupby("sample")["n_images"].max() < 2).sum())
    if single:
        notes.append(f"{single} samples have one image: no interval of their own")
    n = samples["sample"].nunique()
    if n < FEWEST_SAMPLES:
        notes.append(f"{n} samples, fewer than {FEWEST_SAMPLES}: no trend can be given")
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            values = by_sample[[one, other]].mean().dropna()
            r = rank_correlation(*values.to_numpy(float).T) if len(values) else None
            if r is not None and abs(r.value) > 0.8:
                notes.append(
                    f"{one} and {other} were changed together (rank correlation {r.value:.2f}): "
                    "their effects cannot be told apart"
                )
    return tuple(notes)


def _chance(trends: pd.DataFrame) -> tuple[str, ...]:
    """Warn that of many intervals some leave out zero by chance."""
    n = int(trends["low"].notna().sum())
    if n < 2:
        return ()
    return (f"{n} trends were looked at: one in twenty leaves out zero by chance alone",)


def _lists(texts: pd.Series[str], name: str) -> list[bool]:
    return [name in text.split("|") for text in texts]


def _suffix(unit: str) -> str:
    """Write a unit as the end of a column name: ``1/um2`` is ``_per_um2``."""
    words = unit.replace("1/", "per_").replace("/", "_per_").replace("%", "percent")
    return f"_{words}" if words else ""
