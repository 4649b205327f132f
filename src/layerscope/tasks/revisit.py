"""Which places on the wafer to go back to, best first, and in which order to drive there.

A site is worth what it is expected to give: the diameter of the largest circle inside it, times the
probability that it has the wanted layers, times the confidence that it is a crystal at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.core.scan import SITE_COLUMNS
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError, ScaleUnknown

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN, THICK = "unknown", "thick"
_RANKED = ("rank", "expected_diameter_um", "expected_diameter_px")
_MOST_SWEEPS = 100


@dataclass(frozen=True)
class _Limit:
    """A smallest value of a column; rows without a value fail it."""

    column: str
    least: float | None
    needs_scale: bool = False

    def passes(self, sites: pd.DataFrame) -> BoolArray:
        if self.least is None:
            return np.ones(len(sites), bool)
        values = _numbers(sites, self.column)
        if self.needs_scale and len(sites) and not np.isfinite(values).any():
            raise ScaleUnknown(
                f"a least {self.column} was asked for and no site has one: the scan had no pixel "
                "size; give it, or rank without this limit"
            )
        return np.asarray(np.nan_to_num(values, nan=-np.inf) >= self.least)


def rank_sites(
    sites: pd.DataFrame,
    *,
    best: int | None = None,
    layers: tuple[int, int] | None = None,
    min_inscribed_um: float | None = None,
    min_area_um2: float | None = None,
    min_score: float | None = None,
    min_probability: float | None = None,
    complete_only: bool = False,
    without_flags: Iterable[str] = (),
    one_per_flake: bool = True,
) -> pd.DataFrame:
    """Order the sites of a wafer by what each is expected to give.

    A site's worth is ``layers_probability * score * inscribed_circle_diameter``: the expected
    diameter of wanted crystal, in um (in px where no site has a pixel size). Multiplied, so that a
    site that fails at one is not saved by another. The probability is that of the answer given; an
    answer outside of `layers`, and ``unknown``, count as zero.

    Parameters
    ----------
    sites : pandas.DataFrame
        One row per site, with the columns of `core.scan.SITE_COLUMNS`.
    best : int, optional
        How many to keep; all by default.
    layers : tuple of int, optional
        Smallest and largest wanted number of layers. Other sites, ``thick`` and ``unknown`` are
        left out. Without it nothing is left out, and ``unknown`` comes last, larger first.
    min_inscribed_um, min_area_um2 : float, optional
        Least diameter of the largest circle inside, and least area.
    min_score, min_probability : float, optional
        Least confidence that it is a crystal, and least probability of the layer number, 0 to 1.
    complete_only : bool
        Leave out sites that the edge of the scan cuts.
    without_flags : iterable of str
        Leave out sites that carry one of these quality flags.
    one_per_flake : bool
        Keep the best site of each flake: touching regions are seen in one visit.

    Returns
    -------
    pandas.DataFrame
        Best first, with ``rank`` from 1 in front and the worth, ``expected_diameter_um`` or
        ``_px``, behind it; the index is that of `sites`. Equal sites are ordered by size, then by
        ``site_id``, whatever the order of `sites`.

    Raises
    ------
    InputError
        If a column is missing or a limit is impossible; `ScaleUnknown` if a limit in um is asked of
        sites without a pixel size.
    """
    _check(sites, best, layers)
    limits = (
        _Limit("inscribed_circle_diameter_um", min_inscribed_um, needs_scale=True),
        _Limit("area_um2", min_area_um2, needs_scale=True),
        _Limit("score", min_score),
        _Limit("layers_probability", min_probability),
    )
    keep = np.logical_and.reduce([limit.passes(sites) for limit in limits])
    keep &= _wanted(sites, layers) & _unflagged(sites, frozenset(without_flags))
    if complete_only:
        keep &= sites["complete"].to_numpy(bool)
    unit = _unit(sites)
    ranked = _sorted(sites[keep], unit)
    if one_per_flake:
        ranked = ranked.drop_duplicates("flake_id")
    ranked = ranked.head(best) if best is not None else ranked
    ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
    return ranked


def revisit_positions(ranked: pd.DataFrame, *, route: bool = False) -> list[StagePosition]:
    """Stage positions of ranked sites, labelled such as ``001_1L_12.3um``.

    Parameters
    ----------
    ranked : pandas.DataFrame
        From `rank_sites`.
    route : bool
        In the order of `along_route` instead of that of the table; the label still tells the rank.

    Returns
    -------
    list of StagePosition
        One per row, in the order of the rows unless `route`.

    Raises
    ------
    InputError
        If a site has no stage position.
    """
    if "rank" not in ranked:
        raise InputError("no column 'rank': rank the sites first (rank_sites)")
    visited = along_route(ranked) if route else ranked
    xy, z_um = _places(visited), _numbers(visited, "stage_z_um").tolist()
    return [
        StagePosition(x, y, z if np.isfinite(z) else None, label)
        for (x, y), z, label in zip(xy.tolist(), z_um, _labels(visited), strict=True)
    ]


def along_route(ranked: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of a short way to travel; for lists with further columns.

    Parameters
    ----------
    ranked : pandas.DataFrame
        From `rank_sites`.

    Raises
    ------
    InputError
        If a site has no stage position.
    """
    return ranked.iloc[short_route(_places(ranked))]


def short_route(xy_um: FloatArray) -> IntArray:
    """Order in which to visit points so that the way is short: nearest neighbour, then 2-opt.

    Parameters
    ----------
    xy_um : ndarray, (n, 2)

    Returns
    -------
    ndarray of int, (n,)
        Open path without crossings, the same for the same points. Not the shortest one, but no
        reversal of a stretch of it makes it shorter (Croes, Operations Research 6, 791 (1958)).
    """
    if len(xy_um) < 3:
        return np.arange(len(xy_um), dtype=np.int64)
    route = _nearest_neighbours(xy_um)
    for _ in range(_MOST_SWEEPS):
        if not _untangle(route, xy_um):
            break
    return route if route[0] <= route[-1] else route[::-1].copy()


def _check(sites: pd.DataFrame, best: int | None, layers: tuple[int, int] | None) -> None:
    missing = [c.name for c in SITE_COLUMNS if c.name not in sites]
    if missing:
        raise InputError(f"no table of sites: {', '.join(missing[:5])} missing")
    if best is not None and best < 1:
        raise InputError(f"best {best}: expected 1 or more")
    if layers is not None and not 1 <= layers[0] <= layers[1]:
        raise InputError("layers {}-{}: expected e.g. 1-3".format(*layers))


def _places(sites: pd.DataFrame) -> FloatArray:
    """Stage coordinates (n, 2) in um, all known."""
    xy = np.stack([_numbers(sites, f"stage_{axis}_um") for axis in "xy"], axis=1)
    lost = ~np.isfinite(xy).all(axis=1)
    if lost.any():
        first = sites["image"].astype(str).to_numpy()[lost][0]
        raise InputError(
            f"{lost.sum()} of {len(sites)} sites have no stage position, first on image {first}: "
            "scan again with a list of stage positions"
        )
    return xy


def _wanted(sites: pd.DataFrame, layers: tuple[int, int] | None) -> BoolArray:
    if layers is None:
        return np.ones(len(sites), bool)
    numbers = {str(n) for n in range(layers[0], layers[1] + 1)}
    return np.array([answer in numbers for answer in _answers(sites)], bool)


def _unflagged(sites: pd.DataFrame, unwanted: frozenset[str]) -> BoolArray:
    flags = sites["flags"].fillna("").astype(str).tolist()
    return np.array([unwanted.isdisjoint(f.split("|")) for f in flags], bool)


def _unit(sites: pd.DataFrame) -> str:
    """Return um, or px if no site has a pixel size."""
    scaled = np.isfinite(_numbers(sites, "inscribed_circle_diameter_um"))
    return "um" if scaled.any() or not len(sites) else "px"


def _sorted(sites: pd.DataFrame, unit: str) -> pd.DataFrame:
    known = np.array([answer != UNKNOWN for answer in _answers(sites)], bool)
    probability = np.where(known, _fractions(sites, "layers_probability"), 0.0)
    diameter = np.nan_to_num(_numbers(sites, f"inscribed_circle_diameter_{unit}"))
    size = _fractions(sites, "score") * np.maximum(diameter, 0.0)
    worth = probability * size
    order = np.lexsort((sites["site_id"].to_numpy(), -size, -worth))
    ranked = sites.drop(columns=[c for c in _RANKED if c in sites]).iloc[order].copy()
    ranked.insert(0, f"expected_diameter_{unit}", worth[order])
    return ranked


def _labels(ranked: pd.DataFrame) -> list[str]:
    um = _numbers(ranked, "inscribed_circle_diameter_um")
    px = _numbers(ranked, "inscribed_circle_diameter_px")
    sizes = [
        f"{u:.1f}um" if np.isfinite(u) else f"{p:.0f}px" if np.isfinite(p) else "nosize"
        for u, p in zip(um, px, strict=True)
    ]
    width = max(3, len(str(len(ranked))))
    named = [f"{a}L" if a.isdecimal() else a for a in _answers(ranked)]
    ranks = [f"{r:0{width}d}" for r in ranked["rank"].tolist()]
    return ["_".join(parts) for parts in zip(ranks, named, sizes, strict=True)]


def _answers(sites: pd.DataFrame) -> list[str]:
    return [str(a) for a in sites["n_layers"].fillna(UNKNOWN).tolist()]


def _fractions(sites: pd.DataFrame, name: str) -> FloatArray:
    """Column of values 0 to 1, 0 where empty."""
    return np.clip(np.nan_to_num(_numbers(sites, name)), 0.0, 1.0)


def _numbers(sites: pd.DataFrame, name: str) -> FloatArray:
    return sites[name].to_numpy(dtype=np.float64, na_value=np.nan)


def _nearest_neighbours(xy: FloatArray) -> IntArray:
    """From the leftmost point always to the nearest one left; ties to the earlier row."""
    at = int(np.lexsort((xy[:, 1], xy[:, 0]))[0])
    left = np.ones(len(xy), bool)
    route = [at]
    left[at] = False
    for _ in range(len(xy) - 1):
        gaps = np.where(left, np.hypot(*(xy - xy[at]).T), np.inf)
        at = int(gaps.argmin())
        left[at] = False
        route.append(at)
    return np.array(route, np.int64)


def _untangle(route: IntArray, xy: FloatArray) -> bool:
    """One sweep of 2-opt in place: reverse the stretch from i on that gains most, for every i.

    Both ends are free, so a stretch that reaches an end gains its one cut edge.
    """
    improved = False
    for i in range(len(route) - 1):
        path = xy[route]
        ends = path[i + 1 :]
        after = np.vstack([path[i + 2 :], path[-1:]])
        has_after = np.arange(i + 1, len(route)) < len(route) - 1
        gain = has_after * (_gap(ends, after) - _gap(path[i], after))
        if i > 0:
            gain = gain + _gap(path[i - 1], path[i]) - _gap(path[i - 1], ends)
        j = int(gain.argmax())
        if gain[j] > 1e-9:
            route[i : i + j + 2] = route[i : i + j + 2][::-1].copy()
            improved = True
    return improved


def _gap(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.hypot(other[..., 0] - one[..., 0], other[..., 1] - one[..., 1])
