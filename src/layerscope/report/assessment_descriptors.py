"""Descriptors of a sample: figures of the runs with intervals, linked to what they matter for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.measure.particle_population import wilson
from layerscope.measure.population import Estimate, bootstrap
from layerscope.report.assessment_quantities import OF_KEY, QUANTITIES, Quantity
from layerscope.report.assessment_runs import ImageSet, RunFolder
from layerscope.report.columns import figures_of, numbers, words
from layerscope.report.scan_text import whole

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"um": "µm", "um2": "µm²", "1/um2": "1/µm²", "px": "px", "1/px2": "1/px²", "px2": "px²"}
_SMALL_UM = 0.1


@dataclass(frozen=True)
class Descriptor:
    """One figure of a sample.

    Attributes
    ----------
    quantity : Quantity
    value, low, high : float
        NaN where it was not measured, or has no interval.
    unit : str
    n : int
        Particles, or images, that it rests on.
    of : str
        What `n` counts.
    how : str
        How the interval was made, or why there is none.
    source : str
        Run and table.
    """

    quantity: Quantity
    value: float
    low: float
    high: float
    unit: str
    n: int
    of: str
    how: str
    source: str

    @property
    def text(self) -> str:
        """Value, and its interval in brackets."""
        return text_of(self.value, self.low, self.high, self.quantity)

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


def text_of(value: float, low: float, high: float, quantity: Quantity | None = None) -> str:
    """``0.66 [0.64–0.68]``, counts without decimals, shares in percent; – where not measured."""
    if quantity is not None and quantity.share:
        return share_text(value, low, high)
    if not np.isfinite(value):
        return "–"
    if quantity is not None and quantity.whole:
        return whole(value)
    if not (np.isfinite(low) and np.isfinite(high)):
        return figures_of(value)
    return f"{figures_of(value)} [{figures_of(low)}–{figures_of(high)}]"


def share_text(value: float, low: float, high: float) -> str:
    """Share with its interval in percent: ``40.0 % [39.3–40.4]``."""
    if not np.isfinite(value):
        return "–"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{100 * value:.1f} %"
    return f"{100 * value:.1f} % [{100 * low:.1f}–{100 * high:.1f}]"


def describe(data: ImageSet) -> tuple[Descriptor, ...]:
    """Every descriptor that the runs give, in the order of `QUANTITIES`; none without particles."""
    run = data.of_kind("particles")
    if run is None:
        return ()
    found = {d.quantity.key: d for d in (*_population(run), *_made(run))}
    return tuple(found[q.key] for q in QUANTITIES if q.key in found)


def _population(run: RunFolder) -> Iterator[Descriptor]:
    """Figures of all images, as the run made them."""
    table = whole_population(run)
    inside = int(np.count_nonzero(numbers(run.tables["particles"], "border_weight") > 0))
    every = len(run.tables["particles"])
    for row in table.to_dict("records"):
        quantity = OF_KEY.get(str(row["quantity"]))
        if quantity is None:
            continue
        by_image = quantity.key in ("coverage", "porosity")
        n = len(run.tables["images"]) if by_image else inside
        n = every if quantity.key in ("count", "count_at_border", *_CLASSES) else n
        yield Descriptor(
            quantity, float(row["value"]), float(row["low"]), float(row["high"]),
            UNITS.get(str(row["unit"]), str(row["unit"])), n,
            "images" if by_image else "particles", str(row["interval"]),
            f"{run.path.name}/population.csv",
        )  # fmt: skip


_CLASSES = ("share_thin", "share_medium", "share_thick", "share_unknown")


def whole_population(run: RunFolder) -> pd.DataFrame:
    """Rows of the population table that are of all images together."""
    table = run.tables["population"]
    names = words(table, "image")
    return table[table["image"] == ("all" if "all" in names else (names or [""])[0])]


def _made(run: RunFolder) -> Iterator[Descriptor]:
    """Figures that are made here from the particles table."""
    table = run.tables["particles"]
    kept = table[numbers(table, "border_weight") > 0]
    sizes = numbers(kept, "lateral_size_um")
    source = f"{run.path.name}/particles.csv"
    images = words(run.tables["images"], "image")
    if np.isfinite(sizes).all() and len(kept):
        yield _share("below_100_nm", sizes < _SMALL_UM, kept, images, source)
    if len(kept) and np.isfinite(numbers(kept, "fold_share")).all():
        yield _share("with_folds", numbers(kept, "folds") > 0, kept, images, source)
    groups = table[table["aggregate_size"] > 1].drop_duplicates(["image", "aggregate_id"])
    yield Descriptor(
        OF_KEY["aggregates"], float(len(groups)), np.nan, np.nan, "", len(table), "particles",
        "none: the count itself", source,
    )  # fmt: skip


def _share(
    key: str, yes: BoolArray, kept: pd.DataFrame, images: Sequence[str], source: str
) -> Descriptor:
    """Share of whole particles, weighted for those that the border hides.

    Images are drawn where there are five or more, as particles of one image are not independent;
    else, and where every draw is the same, Wilson's interval on the particles.
    """
    weights, names = numbers(kept, "border_weight"), np.array(words(kept, "image"))
    pairs = np.column_stack([yes * weights, weights])
    groups = [pairs[names == image] for image in images]
    drawn = bootstrap(groups, _ratio, unit="images")
    value, low, high, how = drawn
    # Where all or none are, every draw says the same, which is no certainty.
    if not low < high:
        counted = wilson(int(np.count_nonzero(yes)), len(kept))
        low, high = min(counted.low, value), max(counted.high, value)
        how = f"{counted.interval} particles"
    return Descriptor(OF_KEY[key], value, low, high, "", len(kept), "particles", how, source)


def _ratio(rows: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights @ rows
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total[:, 0] / total[:, 1])


def class_shares(run: RunFolder) -> list[tuple[str, int, Estimate]]:
    """Name, number of images and mean share of each class of a phases run.

    Images are drawn for the interval; fewer than five give none, and the reason.
    """
    table, found = run.tables["areas"], []
    for name in dict.fromkeys(words(table, "class")):
        share = numbers(table[table["class"] == name], "fraction")
        share = share[np.isfinite(share)]
        pairs = [np.array([[v, 1.0]]) for v in share.tolist()]
        estimate = (
            bootstrap(pairs, _ratio, unit="images")
            if pairs
            else Estimate(np.nan, np.nan, np.nan, "none: no image")
        )
        found.append((name, len(share), estimate))
    return found
