"""Terraces: levels apart from each other, one background under all of them.

A film of 98 % is levelled as well as one of 2 %: background and row offsets are fitted together
with one free height per terrace, so that a row which is all film needs not look like one which is
all substrate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_differences import slow_error
from layerscope.ops.surface_fit import (
    Levelled,
    bridge,
    evaluate,
    fit_polynomial,
    legendre,
    row_medians,
    spread,
)
from layerscope.ops.surface_match import match_rows
from layerscope.ops.surface_rows import offsets_by_differences
from layerscope.ops.surface_thin import enlarge, make_thin

Labels = npt.NDArray[np.int16]

UNKNOWN = -1
MOST_TERRACES = 8
_SMALLEST_SHARE = 0.004
_PER_WIDTH = 0.1
_KERNEL_BINS = 3.0
_VALLEY = 0.85
_ROUNDS = 2
_LAG_SHARES = (24, 48, 96)
_COLUMNS = 128
_BLOCK = 16
_GATE = 3.5
_WILDEST_NM = 0.15
_LASTING_ROWS = 9
_FINEST_NM = 1e-5

_TERMS = ((0, 1), (1, 1), (0, 2), (2, 1), (1, 2), (0, 3))
"""Background along x up to degree 3 in all; what depends on y alone is in the row offsets."""


@dataclass(frozen=True, eq=False)
class Terraces:
    """Levels of a height map.

    Attributes
    ----------
    labels : ndarray of int16, (H, W)
        0 is the lowest; `UNKNOWN` at edges, on particles and where nothing is used.
    heights_nm : ndarray, (n,)
        Median of each.
    widths_nm : ndarray, (n,)
        Standard deviation of each, robust.
    shares : ndarray, (n,)
        Of the used pixels.
    """

    labels: Labels
    heights_nm: FloatArray
    widths_nm: FloatArray
    shares: FloatArray

    def __len__(self) -> int:
        return len(self.heights_nm)


def level_terraces(
    heights: FloatArray, use: BoolArray, *, rows: bool = True, rounds: int = _ROUNDS
) -> Levelled:
    """Find terraces and level them with one common background, in turns.

    Parameters
    ----------
    heights : ndarray, (H, W)
    use : ndarray of bool, (H, W)
    rows : bool
        Whether each row has an offset of its own; else a polynomial of degree 3 is all.
    rounds : int
        Each finds terraces on the last answer, then fits background, rows and terraces at once.

    Returns
    -------
    Levelled
        The lowest terrace is at 0. Facts: terraces, their heights and shares.
    """
    return above_lowest(*refine(heights, use, align(heights, use), rows=rows, rounds=rounds))


def align(heights: FloatArray, use: BoolArray) -> FloatArray:
    """Level without knowing terraces: slopes along rows, then differences between rows."""
    flat = heights - slope_background(heights, use)
    return flat - offsets_by_differences(flat, use)[:, None]


def refine(
    heights: FloatArray,
    use: BoolArray,
    flat: FloatArray,
    *,
    rows: bool = True,
    rounds: int = _ROUNDS,
) -> tuple[FloatArray, Terraces]:
    """Levelled heights and their terraces, from a first answer `flat`; as `level_terraces`."""
    flat = match(flat, use)
    terraces = find_terraces(flat, use)
    # Rows without any known terrace keep the offset of the first answer.
    start = flat if rows else heights
    for _ in range(rounds):
        if rows and len(terraces) < 2:
            break  # the mean of a row that holds film and substrate is neither's
        flat = start - fit_background(start, terraces, rows=rows)
        terraces = find_terraces(flat, use)
    return flat, terraces


def above_lowest(flat: FloatArray, terraces: Terraces) -> Levelled:
    """Heights above the lowest terrace, with what is known of all of them."""
    zero = float(terraces.heights_nm[0]) if len(terraces) else 0.0
    facts = {
        "terraces": len(terraces),
        "heights_nm": [round(float(h) - zero, 4) for h in terraces.heights_nm],
        "shares": [round(float(s), 4) for s in terraces.shares],
    }
    return Levelled(flat - zero, facts)


def match(flat: FloatArray, use: BoolArray) -> FloatArray:
    """Nearly level map (H, W) with its rows on common levels; see `surface_match`."""
    thin = make_thin(flat, use)
    slow = slow_error(thin)
    return flat - enlarge(slow.plus(match_rows(thin.less(slow))), thin)


def slope_background(heights: FloatArray, use: BoolArray) -> FloatArray:
    """Background that changes along x (H, W), from differences along rows.

    No row offset and no island changes the typical difference of two pixels of one row: median in
    blocks, a polynomial of degree 1 through them, integrated along x. The mean over several
    distances: noise spoils the short ones, islands the long ones.
    """
    width = heights.shape[1]
    lags = sorted({max(1, width // share) for share in _LAG_SHARES})
    slopes = [_slope(heights, use, lag) for lag in lags]
    return np.asarray(np.cumsum(sum(slopes, np.zeros_like(heights)) / len(slopes), axis=1))


def _slope(heights: FloatArray, use: BoolArray, lag: int) -> FloatArray:
    """Slope along x (H, W) per pixel, a plane, from differences `lag` apart."""
    steps = heights[:, lag:] - heights[:, :-lag]
    slope, known = _block_medians(steps, use[:, lag:] & use[:, :-lag])
    if np.count_nonzero(known) < 4:
        return np.zeros_like(heights)
    plane = ((0, 0), (1, 0), (0, 1))
    away = np.abs(fit_polynomial(slope, known, plane) - slope)
    near = known & (away <= 3 * 1.4826 * np.median(away[known]) + 1e-12)
    fit = _extend(fit_polynomial(slope, near, plane))
    wide = (steps.shape[1], steps.shape[0])
    per_px = cv2.resize(fit, wide, interpolation=cv2.INTER_LINEAR) / lag
    beside = ((0, 0), (lag // 2, lag - lag // 2))
    return np.pad(per_px, beside, mode="reflect", reflect_type="odd")


def _extend(fit: FloatArray) -> FloatArray:
    """Plane through the fitted blocks; `cv2.resize` would clamp half a block at each side."""
    corners = fit[np.ix_([0, -1], [0, -1])]
    n_y, n_x = fit.shape
    y = (np.arange(8 * n_y) + 0.5) / 8 - 0.5
    x = (np.arange(8 * n_x) + 0.5) / 8 - 0.5
    v, u = y / max(n_y - 1, 1), x / max(n_x - 1, 1)
    rise_y, rise_x = corners[1, 0] - corners[0, 0], corners[0, 1] - corners[0, 0]
    return np.asarray(corners[0, 0] + v[:, None] * rise_y + u * rise_x)


def _block_medians(values: FloatArray, use: BoolArray) -> tuple[FloatArray, BoolArray]:
    n_y, n_x = (max(1, min(_BLOCK, n // 4)) for n in values.shape)
    high, wide = values.shape[0] // n_y, values.shape[1] // n_x
    cut = np.s_[: n_y * high, : n_x * wide]

    def blocks(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return array[cut].reshape(n_y, high, n_x, wide).swapaxes(1, 2).reshape(n_y * n_x, -1)

    medians = row_medians(np.asarray(blocks(values), float), np.asarray(blocks(use), bool))
    grid = medians.reshape(n_y, n_x)
    return np.nan_to_num(grid), np.isfinite(grid)


def find_terraces(flat: FloatArray, use: BoolArray) -> Terraces:
    """Terraces of a nearly level map: peaks of its histogram, cut at the valleys between.

    The map is smoothed until its roughness is below a third of the lowest layer, or else as much as
    parts the peaks best; pixels on edges and those far from every peak stay unknown.
    """
    smooth, known, sigma_px, cuts = _smooth_enough(flat, use)
    if np.count_nonzero(known) < _FEWEST:
        return Terraces(np.full(flat.shape, UNKNOWN, np.int16), *(np.zeros(0),) * 3)
    labels = sum((smooth > cut for cut in cuts), np.zeros(flat.shape, np.int16))
    labels[~known] = UNKNOWN
    return _measure(flat, use, labels, len(cuts) + 1, round(sigma_px))


def _smooth_enough(
    flat: FloatArray, use: BoolArray
) -> tuple[FloatArray, BoolArray, float, FloatArray]:
    """Smooth map, where it is known, standard deviation of the kernel, heights between peaks."""
    best, deepest = None, np.inf
    for sigma_px in _SIGMAS_PX:
        smooth, weight = _smooth(flat, use, sigma_px)
        known = use & (weight > 0.5)
        if np.count_nonzero(known) < _FEWEST:
            return smooth, known, sigma_px, np.zeros(0)
        cuts, depth = _valleys(smooth[known])
        if depth < deepest:
            best, deepest = (smooth, known, sigma_px, cuts), depth
        if _is_smooth(smooth, known, min(round(4 * sigma_px), flat.shape[1] - 1)):
            return smooth, known, sigma_px, cuts
    return best or (smooth, known, sigma_px, cuts)


def _is_smooth(smooth: FloatArray, known: BoolArray, lag: int) -> bool:
    both = known[:, lag:] & known[:, :-lag]
    low = np.abs(smooth[:, lag:] - smooth[:, :-lag]) < _QUARTER * _ROUGH_NM
    return bool(np.count_nonzero(low & both) > 0.25 * np.count_nonzero(both))


_FEWEST = 16
_SIGMAS_PX = (1.0, 2.0, 3.0)
_ROUGH_NM = 0.1
_QUARTER = 0.4506
"""Lower quartile of the difference of two Gaussian values of standard deviation 1: rims, which lie
between fewer than half of the pairs, hardly change it."""


def _smooth(flat: FloatArray, use: BoolArray, sigma_px: float) -> tuple[FloatArray, FloatArray]:
    """Mean of the used pixels around each, after a median that takes single outliers out."""
    whole = np.where(use, flat.astype(np.float32), np.float32(0))
    if use.all():
        blurred = cv2.GaussianBlur(cv2.medianBlur(whole, 5), (0, 0), sigma_px)
        return blurred, np.ones(flat.shape)
    weight = cv2.GaussianBlur(use.astype(np.float32), (0, 0), 1.2 * sigma_px)
    total = cv2.GaussianBlur(whole, (0, 0), 1.2 * sigma_px)
    return total / np.maximum(weight, 1e-6), weight


def _valleys(values: FloatArray) -> tuple[FloatArray, float]:
    """Heights that part the peaks of the distribution of `values`, and the deepest valley.

    A valley's depth is its lowest point over the lower of its peaks; 1 without any.
    """
    some = np.sort(values[:: max(1, len(values) // _MANY)])
    bin_nm = _PER_WIDTH * _narrowest(some)
    low, high = (float(some[round(share * (len(some) - 1))]) for share in _ENDS)
    if bin_nm < _FINEST_NM or high - low < bin_nm:
        return np.zeros(0), 1.0
    n_bins = int(min((high - low) / bin_nm, 4096)) + 1
    counts = cv2.calcHist([values], [0], None, [n_bins], [low, high]).astype(float).T
    curve = cv2.GaussianBlur(counts, (0, 0), _KERNEL_BINS)[0] / len(values)
    centres = low + (high - low) * (np.arange(n_bins) + 0.5) / n_bins
    peaks = _peaks(curve)
    cut = [p + int(np.argmin(curve[p:q])) for p, q in pairwise(peaks)]
    depths = [curve[p:q].min() / min(curve[p], curve[q]) for p, q in pairwise(peaks)]
    return (np.asarray(centres[cut]) if cut else np.zeros(0)), float(min(depths, default=1.0))


_MANY = 32768
_ENDS = 0.0005, 0.998  # of the values: scars and dust are beyond


def _narrowest(ordered: FloatArray) -> float:
    """Return the standard deviation of a Gaussian as dense as the densest 20 % of the values."""
    n = max(2, len(ordered) // 5)
    return float((ordered[n:] - ordered[:-n]).min() / 0.507)


def _peaks(curve: FloatArray) -> list[int]:
    """Maxima that stand out: enough pixels, and a valley well under the lower of two peaks."""
    inner = (curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:])
    found = [int(p) + 1 for p in np.flatnonzero(inner)] or [int(np.argmax(curve))]
    least = _SMALLEST_SHARE * _PER_WIDTH / 2.5
    found = [p for p in found if curve[p] > least] or [int(np.argmax(curve))]
    while len(found) > 1:
        depth = [curve[p : q + 1].min() / min(curve[p], curve[q]) for p, q in pairwise(found)]
        worst = int(np.argmax(depth))
        if depth[worst] < _VALLEY and len(found) <= MOST_TERRACES:
            break
        lower = worst if curve[found[worst]] < curve[found[worst + 1]] else worst + 1
        del found[lower]
    return found


def _measure(flat: FloatArray, use: BoolArray, labels: Labels, n: int, reach_px: int) -> Terraces:
    """Leave edges and outliers unknown; heights, widths and shares of what is left."""
    inside = _same_around(labels, reach_px)
    heights, widths, shares = np.zeros(n), np.zeros(n), np.zeros(n)
    out = np.full(labels.shape, UNKNOWN, np.int16)
    held = np.zeros(n, bool)
    for k in range(n):
        at = np.flatnonzero(inside & (labels == k))
        if at.size == 0:
            continue
        values = flat.take(at)
        some = values[:: max(1, values.size // _MANY)]
        heights[k], widths[k] = np.median(some), spread(some)
        near = np.abs(values - heights[k]) <= _GATE * widths[k] + _FINEST_NM
        out.ravel()[at[near]] = k
        held[k] = near.any()
        shares[k] = np.count_nonzero((labels == k) & use) / np.count_nonzero(use)
    kept = np.flatnonzero(held)
    renumber = np.full(n + 1, UNKNOWN, np.int16)
    renumber[kept] = np.arange(len(kept))
    return Terraces(renumber[out], heights[kept], widths[kept], shares[kept])


def _same_around(labels: Labels, reach_px: int) -> BoolArray:
    box = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    return np.asarray((cv2.erode(labels, box) == cv2.dilate(labels, box)) & (labels >= 0))


def fit_background(heights: FloatArray, terraces: Terraces, *, rows: bool = True) -> FloatArray:
    """Background (H, W) under the terraces: one free height for each, all fitted at once.

    Row offsets are eliminated exactly (every column of the problem loses its mean of each row), and
    the remaining problem has one unknown for each terrace but one and six for the background.
    Rows without any known terrace take the offset of their neighbours.
    """
    use = terraces.labels >= 0
    if not use.any():
        return np.zeros_like(heights)
    if not rows:
        return _smooth_background(heights, terraces, use)
    found = _solve(heights, terraces)
    surface = evaluate(heights.shape, _TERMS, found[: len(_TERMS)])
    steps = np.concatenate([[0.0], found[len(_TERMS) :], [0.0]])  # the last one is UNKNOWN's
    rest = heights - surface - steps[terraces.labels]
    offsets = rest.sum(axis=1, where=use) / np.maximum(np.count_nonzero(use, axis=1), 1)
    offsets = _without_jumps(bridge(np.where(use.any(1), offsets, np.nan)))
    return np.asarray(surface + offsets[:, None])


def _without_jumps(offsets: FloatArray) -> FloatArray:
    """Undo steps of the row offsets that are far out of the ordinary.

    Rows were aligned before, to some 0.02 nm from one row to the next. A step of half a layer means
    that all pixels of some rows were taken for the wrong terrace.
    """
    lasting = median_filter(offsets, size=_LASTING_ROWS, mode="nearest")
    steps = np.diff(lasting)
    wild = np.abs(steps) > max(_WILDEST_NM, 8 * spread(np.diff(offsets)))
    jumps = np.concatenate([[0.0], np.cumsum(np.where(wild, steps, 0.0))])
    return np.asarray(offsets - jumps + np.median(jumps))


def _solve(heights: FloatArray, terraces: Terraces) -> FloatArray:
    """Coefficients of `_TERMS`, then heights of the terraces above the first.

    Some 128 columns will do for so few unknowns where there are more.
    """
    some = np.s_[:: max(1, heights.shape[1] // _COLUMNS)]
    heights, labels = heights[:, some], terraces.labels[:, some]
    use = labels >= 0
    n = np.maximum(np.count_nonzero(use, axis=1), 1)[:, None]
    along_y, along_x = legendre(len(labels), 3), legendre(terraces.labels.shape[1], 3)[some]
    columns = [np.outer(along_y[:, i], along_x[:, j]) for i, j in _TERMS]
    columns += [(labels == k).astype(float) for k in range(1, len(terraces))]
    matrix = np.stack([_centred(c, use, n).ravel() for c in columns])
    right = matrix @ _centred(heights, use, n).ravel()
    return np.asarray(np.linalg.lstsq(matrix @ matrix.T, right, rcond=1e-10)[0])


def _centred(column: FloatArray, use: BoolArray, n: npt.NDArray[np.intp]) -> FloatArray:
    mean = np.where(use, column, 0.0).sum(axis=1, keepdims=True) / n
    return np.where(use, column - mean, 0.0)


def _smooth_background(heights: FloatArray, terraces: Terraces, use: BoolArray) -> FloatArray:
    terms = ((0, 0), (1, 0), (2, 0), (3, 0), *_TERMS)
    level = np.zeros(len(terraces) + 1)
    for _ in range(20):  # terraces and background in turns: the polynomial is stiff
        surface = fit_polynomial(np.where(use, heights - level[terraces.labels], 0.0), use, terms)
        rest = heights - surface
        level[:-1] = [rest[terraces.labels == k].mean() for k in range(len(terraces))]
        level[:-1] -= level[0]
    return surface
