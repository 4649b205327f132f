"""Rows matched to common levels: heights of all rows at once, by dynamic programming.

Two things are known of a row's height. Pixels without a step between them say how far it is from
the row before (but where a crystal's edge runs along the row, most pixels have a step). And the
heights in it fall on the levels of the whole map (but a row that is all film could lie a layer
lower). The most probable heights of all rows under both are found exactly, for given levels; levels
are the density of heights of the whole map, sharpened in turns, together with the background along
rows. Whole stretches that might lie a layer off are tried there too, and the likeliest map is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_fit import spread
from layerscope.ops.surface_thin import TERMS, Correction, ThinMap

_BIN_NM = 0.04
_WIDTHS_NM = (0.15, 0.12, 0.1, 0.08, 0.07)
"""Blur of the density of heights, each time round: wide enough to pull, then to tell."""
_REACH_NM = 0.8
"""Furthest that a row is moved each time: more than a layer of any layered material."""
_SHARE_APART = 0.1
"""Of the pixels, those with a step to the next row, taken for equally likely at any height."""
_INDEPENDENT = 0.5
"""Of the pixels of a thin map, which overlap."""
_COST_PER_NM = 40.0
"""A move costs something: where scars leave nothing known of a row, it follows the others."""
_LEAST_SPREAD_NM = 0.03
_SMALLEST = 8
_FLOOR = 0.02
_LEAST_FLIP_NM = 0.25
_SIDES = ((0, 0), (1, 1))
_FLIP_ROUNDS = 2
_MOST_FLIPS = 2
_STRETCH_ROWS = 9
_HELD_NM = 0.2
_APART_ROWS = 4


@dataclass(frozen=True, eq=False)
class Density:
    """Probability per nm of heights, on a grid from `low_nm`."""

    low_nm: float
    of: FloatArray

    def grid(self, reach: int) -> FloatArray:
        """Heights of the bins, and of `reach` more on each side."""
        return np.asarray(self.low_nm + _BIN_NM * np.arange(-reach, len(self.of) + reach), float)

    def log_at(self, heights: FloatArray) -> FloatArray:
        """Logarithm with a floor: dust is improbable, not impossible."""
        at = np.rint((heights - self.low_nm) / _BIN_NM).astype(np.intp)
        table = np.log(self.of + _FLOOR * self.of.max())
        return np.asarray(table.take(at, mode="clip"))


def match_rows(thin: ThinMap) -> Correction:
    """Find what to take off a thin map for its heights to fall on common levels.

    A map of fewer than 8 x 8 pixels, or with few of them known, is left as it is.
    """
    if min(thin.heights.shape) < _SMALLEST or np.count_nonzero(thin.known) < _SMALLEST**2:
        return Correction(np.zeros(len(thin.heights)), np.zeros(len(TERMS)))
    best = _settle(thin)
    most = likelihood(thin.less(best))
    for _ in range(_FLIP_ROUNDS):
        before = most
        for flip in _flips(thin.less(best)):
            start = best.plus(flip)
            other = start.plus(_settle(thin.less(start)))
            score = likelihood(thin.less(other))
            if score > most:
                best, most = other, score
        if most == before:
            break
    return best


def likelihood(thin: ThinMap) -> float:
    """Logarithm of how probable a map is, per pixel: on its levels, and flat from row to row.

    Less where most of a row steps at once: crystals seldom have edges along scan rows.
    """
    alone = float(np.mean(_density(thin, _WIDTHS_NM[-1]).log_at(thin.heights[thin.known])))
    down, both = thin.heights[1:] - thin.heights[:-1], thin.known[1:] & thin.known[:-1]
    right = thin.heights[:, 1:] - thin.heights[:, :-1]
    wide = max(spread(right[thin.known[:, 1:] & thin.known[:, :-1]]), _LEAST_SPREAD_NM)
    apart = ((np.abs(down) > 3 * wide) & both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    edges = float(np.mean(np.maximum(apart - _USUAL_EDGE, 0.0)))
    return alone + float(np.mean(_log_step(down[both], wide))) - _EDGE_COST * edges


_USUAL_EDGE = 0.4  # of a row: islands of synthetic scans seldom step over more
_EDGE_COST = 20.0


def _settle(thin: ThinMap) -> Correction:
    total = Correction(np.zeros(len(thin.heights)), np.zeros(len(TERMS)))
    for width in _WIDTHS_NM:
        rest = thin.less(total)
        rows = _best_rows(rest, _density(rest, width))
        total = total.plus(Correction(rows - np.median(rows), np.zeros(len(TERMS))))
        rest = thin.less(total)
        total = total.plus(Correction(np.zeros(len(rows)), _pull(rest, width)))
    return total


def _density(thin: ThinMap, width_nm: float) -> Density:
    values = thin.heights[thin.known]
    first, last = np.percentile(values, (0.2, 99.5))
    low, high = first - _REACH_NM, last + _REACH_NM
    at = np.rint((values - low) / _BIN_NM).astype(np.intp)
    n = int((high - low) / _BIN_NM) + 1
    counts = np.bincount(np.clip(at, 0, n - 1), minlength=n).astype(float)
    smooth = cv2.GaussianBlur(counts[None], (0, 0), width_nm / _BIN_NM)[0]
    return Density(float(low), smooth / smooth.sum() / _BIN_NM)


def _best_rows(thin: ThinMap, density: Density) -> FloatArray:
    """Heights of rows (h,) that are most probable under levels and neighbours (Viterbi)."""
    reach = round(_REACH_NM / _BIN_NM)
    moves = _BIN_NM * np.arange(-reach, reach + 1)
    grid = density.grid(reach)
    alone = _row_histogram(thin.heights, thin.known, grid) @ density.log_at(grid[:, None] - moves)
    return np.asarray(moves[_viterbi(_INDEPENDENT * alone, _pair_scores(thin, len(moves)))])


def _pair_scores(thin: ThinMap, n_moves: int) -> FloatArray:
    """Score of each jump from one row to the next, (h - 1, 2 n_moves - 1)."""
    steps = thin.heights[1:] - thin.heights[:-1]
    both = thin.known[1:] & thin.known[:-1]
    wide = max(spread(steps[both]), _LEAST_SPREAD_NM)
    jumps = _BIN_NM * np.arange(1 - n_moves, n_moves)
    # Further off no step is any likelier; finer bins than a third of the spread change nothing.
    furthest = jumps[-1] + 6 * wide
    grid = np.arange(-furthest, furthest, _LEAST_SPREAD_NM / 3)
    scores = _log_step(grid[:, None] - jumps, wide)
    return _INDEPENDENT * _row_histogram(steps, both, grid) @ scores - _COST_PER_NM * np.abs(jumps)


def _row_histogram(values: FloatArray, known: BoolArray, grid: FloatArray) -> FloatArray:
    """Known values of each row at the nearest points of an even grid, (h, g).

    A score that depends on a value and a move is then a product of matrices, not a sum over pixels
    for each move: five times faster on 64 x 64 pixels.
    """
    at = np.rint((values - grid[0]) / (grid[1] - grid[0])).astype(np.intp)
    at = np.clip(at, 0, len(grid) - 1) + len(grid) * np.arange(len(values))[:, None]
    counts = np.bincount(at[known], minlength=len(values) * len(grid))
    return counts.reshape(len(values), len(grid)).astype(float)


def _log_step(steps: FloatArray, wide: float) -> FloatArray:
    apart = _SHARE_APART**2
    return np.asarray(np.log((1 - _SHARE_APART) * np.exp(-0.5 * (steps / wide) ** 2) + apart))


def _viterbi(alone: FloatArray, pairs: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    n_rows, n_moves = alone.shape
    jumps = np.lib.stride_tricks.sliding_window_view(pairs, n_moves, axis=1)[..., ::-1]
    came = np.zeros((n_rows, n_moves), np.intp)
    score = alone[0]
    for row in range(1, n_rows):
        ways = score + jumps[row - 1]
        came[row] = ways.argmax(axis=1)
        score = ways.max(axis=1) + alone[row]
    path = np.zeros(n_rows, np.intp)
    path[-1] = score.argmax()
    for row in range(n_rows - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def _pull(thin: ThinMap, width_nm: float, rounds: int = 4) -> FloatArray:
    """Coefficients of the background that moves heights towards their levels (mean shift)."""
    columns = np.concatenate([thin.basis, np.ones((1, *thin.heights.shape))])
    columns = columns[:, thin.known]
    rest, found = thin.heights[thin.known], np.zeros(len(TERMS))
    grid = np.arange(rest.min() - 4 * width_nm, rest.max() + 4 * width_nm, _BIN_NM / 2)
    for _ in range(rounds):
        pull, weight = _mean_shift(rest, grid, width_nm)
        weighted = columns * weight
        step = np.linalg.lstsq(weighted @ columns.T, weighted @ pull, rcond=1e-9)[0][:-1]
        found = found - _OVERRELAXED * step
        rest = rest + _OVERRELAXED * (step @ columns[:-1])
    return found


_OVERRELAXED = 2.0  # a mean shift goes part of the way: half as many rounds


def _mean_shift(
    values: FloatArray, grid: FloatArray, width_nm: float
) -> tuple[FloatArray, FloatArray]:
    """Way to the mean of the heights around each, and how many those are."""
    spacing = grid[1] - grid[0]
    at = np.clip(np.rint((values - grid[0]) / spacing).astype(np.intp), 0, len(grid) - 1)
    counts = np.bincount(at, minlength=len(grid)).astype(float)
    mass, moment = (
        cv2.GaussianBlur(c[None], (0, 0), width_nm / spacing)[0] for c in (counts, counts * grid)
    )
    pull = np.where(mass > 1e-9, moment / np.maximum(mass, 1e-9) - grid, 0.0)
    return pull[at], mass[at] / mass.max()


def _flips(thin: ThinMap) -> list[Correction]:
    """Other ways that the rows may lie, tried from the most probable on.

    Either all rows from one on are lifted, where a second jump is nearly as probable (a crystal's
    edge along the row); or a stretch of rows is moved as its pixels say, where the levels held it.
    """
    scores = _pair_scores(thin, round(_REACH_NM / _BIN_NM))
    jumps = _BIN_NM * (np.arange(scores.shape[1]) - scores.shape[1] // 2)
    return [*_second_jumps(scores, jumps), *_held_stretches(scores, jumps, _unit(thin))]


def _second_jumps(scores: FloatArray, jumps: FloatArray) -> list[Correction]:
    here = scores[:, scores.shape[1] // 2]
    peak = np.pad((scores[:, 1:-1] >= scores[:, :-2]) & (scores[:, 1:-1] > scores[:, 2:]), _SIDES)
    second = np.where(peak & (np.abs(jumps) > _LEAST_FLIP_NM), scores, -np.inf)
    gain = second.max(axis=1) - here
    rows = [r for r in _best_apart(gain, _APART_ROWS) if np.isfinite(gain[r])]
    return [_moved(_only(len(gain), row, float(jumps[second[row].argmax()]))) for row in rows]


def _unit(thin: ThinMap) -> float:
    """Typical distance of levels: the shift at which the density of heights is most like itself."""
    density = _density(thin, _WIDTHS_NM[-1]).of
    alike = np.correlate(density, density, "full")[len(density) - 1 :]
    first = round(_LEAST_FLIP_NM / _BIN_NM)
    inner = alike[first:-1]
    peaks = (inner > alike[first - 1 : -2]) & (inner >= alike[first + 1 :])
    return _BIN_NM * (first + int(np.where(peaks, inner, 0.0).argmax()))


def _held_stretches(scores: FloatArray, jumps: FloatArray, unit_nm: float) -> list[Correction]:
    wanted = jumps[scores.argmax(axis=1)]
    summed = np.convolve(wanted, np.ones(_STRETCH_ROWS), "same")
    rows = [r for r in _best_apart(np.abs(summed), _STRETCH_ROWS) if abs(summed[r]) > _HELD_NM]
    at, half = np.arange(len(wanted)), _STRETCH_ROWS // 2
    return [
        _moved(np.where(np.abs(at - row) <= half, wanted, 0.0) * unit_nm / abs(summed[row]))
        for row in rows
    ]


def _best_apart(gain: FloatArray, apart: int) -> list[int]:
    chosen: list[int] = []
    for row in np.argsort(-gain, kind="stable"):
        if len(chosen) < _MOST_FLIPS and all(abs(row - other) >= apart for other in chosen):
            chosen.append(int(row))
    return chosen


def _only(n: int, at: int, value: float) -> FloatArray:
    return np.where(np.arange(n) == at, value, 0.0)


def _moved(jumps: FloatArray) -> Correction:
    """Rows of which each lies a jump above the one before."""
    return Correction(np.concatenate([[0.0], np.cumsum(jumps)]), np.zeros(len(TERMS)))
