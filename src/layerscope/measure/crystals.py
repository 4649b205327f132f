"""One row per grown crystal, and the figures of an image: shapes, alignment, coalescence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.coverage import Coverage
from layerscope.core.crystals import CRYSTAL_COLUMNS, SHAPE_NAMES, share_column
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import FloatArray
from layerscope.measure.crystal_shapes import Shapes
from layerscope.measure.domain_summary import summarise_film
from layerscope.measure.domains import Domains, measure_domains
from layerscope.measure.particle_population import weighted_quantiles, wilson
from layerscope.measure.population import Estimate, bootstrap
from layerscope.measure.region import Scene
from layerscope.ops.tone import tone_curve

if TYPE_CHECKING:
    import pandas as pd

FACETTED = ("triangle", "truncated triangle", "hexagon")
"""Shapes with facets in six directions, whose lengths mean something."""

_LATTICE = (*FACETTED, "star")
"""Shapes that show the direction of the lattice."""

_DRAWS = 500


@dataclass(frozen=True)
class Alignment:
    """How far the lattices of crystals are parallel, modulo 60 degrees.

    Attributes
    ----------
    direction_deg : float
        Mean direction, 0 to 60; NaN without crystals.
    order : Estimate
        Length of the mean vector of six times the angle. Of n random ones it is about
        ``0.89 / sqrt(n)``, not 0.
    p : float
        Chance of an order as large among random directions (Rayleigh: ``exp(-n order^2)``, first
        term; Mardia and Jupp, Directional Statistics (2000), ch. 6).
    """

    direction_deg: float
    order: Estimate
    p: float


def measure_crystals(
    domains: Domains,
    shapes: Shapes,
    *,
    pixel_size: PixelSize | None,
    image: str = "",
    border: str = "weighted",
) -> pd.DataFrame:
    """Measure every crystal; what needs colours (materials, cores) is left empty.

    Parameters
    ----------
    domains : Domains
        One per crystal.
    shapes : Shapes
        Of the same crystals.
    pixel_size : PixelSize or None
        None leaves the columns in micrometres empty.
    image : str
    border : str
        A name in `number_density.BORDER`.

    Returns
    -------
    pandas.DataFrame
        `core.crystals.CRYSTAL_COLUMNS`.
    """
    import pandas as pd

    table = measure_domains(domains, None, pixel_size=pixel_size, image=image, border=border)
    columns: dict[str, Any] = {c: table[c] for c in table.columns}
    columns["crystal_id"] = table["domain_id"]
    columns["shape"], columns["shape_score"] = list(shapes.names), shapes.scores
    columns["score"] = domains.detections.score
    island = table["island_id"].to_numpy()
    columns["touching"] = np.bincount(island, minlength=1)[island] > 1
    columns |= _facets(domains, shapes, pixel_size)
    turned = np.isin(shapes.names, _LATTICE)
    for stem in ("facet_direction_mod60_deg", "facet_direction_mod120_deg"):
        columns[stem] = np.where(turned, table[stem].to_numpy(float), np.nan)
    turn = columns["facet_direction_mod60_deg"]
    away = turn - alignment(turn).direction_deg
    columns["misalignment_deg"] = (away + 30) % 60 - 30
    empty: dict[str, Any] = {"str": "", "Int64": None, "bool": True, "float64": np.nan}
    return pd.DataFrame({
        c.name: pd.Series(
            columns.get(c.name, [empty.get(c.dtype)] * len(table)), dtype=c.dtype
        ).reset_index(drop=True)
        for c in CRYSTAL_COLUMNS
    })  # fmt: skip


def _facets(
    domains: Domains, shapes: Shapes, pixel_size: PixelSize | None
) -> dict[str, FloatArray]:
    """Mean long and short facet of each crystal that has such."""
    out: dict[str, FloatArray] = {}
    for unit in ("px", "um"):
        lengths = np.full((len(domains), 2), np.nan)
        if unit == "px" or pixel_size is not None:
            spacing = (1.0, 1.0)
            if unit == "um" and pixel_size is not None:
                spacing = pixel_size.y_nm * 1e-3, pixel_size.x_nm * 1e-3
            scene = Scene(domains.detections, spacing, tone_curve("linear"))
            for i, name in enumerate(shapes.names):
                if name in FACETTED:
                    lengths[i] = np.array(scene.regions[i].hexagon.facets) / 3
        out[f"long_facet_{unit}"], out[f"short_facet_{unit}"] = lengths.T
    return out


def alignment(directions_deg: FloatArray) -> Alignment:
    """How far directions modulo 60 degrees agree; NaN among them count nothing.

    Parameters
    ----------
    directions_deg : ndarray, (n,)
    """
    known = np.asarray(directions_deg, float)
    known = known[np.isfinite(known)]
    if not len(known):
        none = Estimate(np.nan, np.nan, np.nan, "none: no facetted crystal")
        return Alignment(np.nan, none, np.nan)
    turn = np.radians(6 * known)
    rows = [np.array([[np.cos(a), np.sin(a)]]) for a in turn]
    order = bootstrap(rows, _resultant, unit="crystals", draws=_DRAWS)
    # Draws with repeats are more parallel than what they are drawn from, where that is hardly so.
    low, high = min(order.low, order.value), max(order.high, order.value)
    order = order._replace(low=low, high=high)
    direction = np.degrees(np.arctan2(np.sin(turn).sum(), np.cos(turn).sum())) / 6 % 60
    return Alignment(float(direction), order, float(np.exp(-len(known) * order.value**2)))


def _resultant(rows: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights @ rows
    return np.asarray(np.hypot(total[:, 0], total[:, 1]) / np.sum(weights, axis=1))


def summarise_crystals(
    table: pd.DataFrame, domains: Domains, *, pixel_size: PixelSize | None, border: str
) -> dict[str, Any]:
    """Figures of one image, by the names of the images table.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `measure_crystals`.
    domains : Domains
    pixel_size : PixelSize or None
    border : str
        As the table was made with.
    """
    film = _film_figures(domains, pixel_size, border)
    weights = table["border_weight"].to_numpy(float)
    area = table["area_um2"].to_numpy(float)
    used = (weights > 0) & np.isfinite(area)
    median = weighted_quantiles(area[used], weights[used], (0.5,))[0] if used.any() else np.nan
    meet = wilson(int(table["touching"].sum()), len(table))
    turn = alignment(table["facet_direction_mod60_deg"].to_numpy(float))
    scaled = pixel_size is not None
    density = [1e6 * v if scaled else np.nan for v in film["density"][:3]]
    return {
        "crystals": len(table),
        "at_border": int(domains.cut.sum()),
        **dict(zip(_ends("coverage"), film["coverage"][:3], strict=True)),
        "nucleation_per_mm2": density[0],
        "nucleation_low_per_mm2": density[1],
        "nucleation_high_per_mm2": density[2],
        "border": border,
        "median_area_um2": float(median),
        "edge_density_per_um": film["edge_density"][0] if scaled else np.nan,
        **dict(zip(_ends("coalescence"), meet[:3], strict=True)),
        **_shape_shares(table),
        "main_direction_deg": turn.direction_deg,
        **dict(zip(_ends("alignment"), turn.order[:3], strict=True)),
        "alignment_p": turn.p,
        "heterostructures": int(table["core_share"].notna().sum()),
    }


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _film_figures(
    domains: Domains, pixel_size: PixelSize | None, border: str
) -> dict[str, tuple[float, float, float]]:
    """Coverage, density and edge density of the film; 0 and NaN where there is no crystal."""
    covered = domains.levels[domains.valid] > 0
    share = float(covered.mean()) if covered.size else float("nan")
    nothing = {"coverage": (share,) * 3, "density": (0.0, np.nan, np.nan),
               "edge_density": (0.0, np.nan, np.nan)}  # fmt: skip
    if not len(domains):
        return nothing
    from layerscope.core.coverage import LabelMap

    film = LabelMap(domains.levels, ("substrate", "film"), domains.valid)
    coverage = Coverage(share, 0.0, 1.0, "crystals", film)
    table = measure_domains(domains, None, pixel_size=pixel_size, border=border)
    figures = summarise_film(table, domains, coverage, pixel_size=pixel_size, border=border)
    rows = figures[figures["layer"] == "1"].to_dict("records")
    return nothing | {
        r["quantity"]: (r["value"], r["low"], r["high"]) for r in rows if r["quantity"] in nothing
    }


def _shape_shares(table: pd.DataFrame) -> dict[str, float]:
    area, names = table["area_px"].to_numpy(float), np.array(table["shape"].tolist(), str)
    whole = area.sum()
    return {
        share_column(s): float(area[names == s].sum() / whole) if whole else float("nan")
        for s in SHAPE_NAMES
    }
