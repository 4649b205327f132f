"""Levels of a height map: which pixel lies on which, and how high each is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.contour_step import Rims
from layerscope.ops.terrace_steps import (
    Labels,
    StepHeights,
    Values,
    find_boundaries,
    heights_of,
    label_levels,
    levels_between,
    measure_steps,
    typical,
)

_SKIP_PX = 3


@dataclass(frozen=True, eq=False)
class Ladder:
    """Levels of one map.

    Attributes
    ----------
    level : ndarray of uint8, (H, W)
    relative : ndarray of float32, (H, W)
        Height above the substrate around each pixel, nm.
    above_nm : ndarray, (K + 1,)
    steps : StepHeights
    rim_score : float
        Sum over all rims of the step across them above the least, nm.
    weak_rim : float
        Share of all rims with less than half of the least step across them.
    films : tuple of float
        Share of the film by every start that was tried.
    """

    level: Labels
    relative: Values
    above_nm: FloatArray
    steps: StepHeights
    rim_score: float = 0.0
    weak_rim: float = 1.0
    films: tuple[float, ...] = ()


@dataclass(frozen=True)
class LayerRule:
    """What may be a layer."""

    layer_nm: float | None
    least_nm: float
    max_layers: int

    @property
    def highest_nm(self) -> float:
        """Above the substrate; what is higher is dust or no film."""
        return (self.max_layers + 1.5) * (self.layer_nm or _USUAL_LAYER_NM)


_USUAL_LAYER_NM = 0.8


def find_ladder(heights: Values, valid: BoolArray, rule: LayerRule) -> Ladder | None:
    """Climb from several starts and keep the labels whose rims have the most step across them.

    What levelling left behind can shift a whole region by a level; the rim of such a region then
    runs where there is no step. And it can hide a level; a step is then left in the heights less
    what the labels explain. The first start is nearly always right, and then the only one.
    """
    best: Ladder | None = None
    films: list[float] = []
    rims = Rims(heights, valid)
    for smooth_px, rough, around in _STARTS:
        copy = cv2.GaussianBlur(heights, (0, 0), smooth_px) if smooth_px else heights
        boundaries = find_boundaries(copy, valid, rule.least_nm, rule.max_layers, rough=rough)
        spare = np.diff(boundaries, prepend=boundaries[:1] - 2 * rule.least_nm)
        ladder = _climb(rims, (levels_between(copy, boundaries), spare), rule, around)
        if ladder is None:
            continue
        more = _more_levels(ladder, heights, valid, rule)
        if more is not None:
            ladder = _better(ladder, _climb(rims, more, rule, around))
        films.append(float(np.mean(ladder.level[valid] > 0)))
        best = ladder if best is None else _better(best, ladder)
        if best.weak_rim < _FEW_WEAK:
            break
    return None if best is None else replace(best, films=tuple(films))


def _better(one: Ladder, other: Ladder | None) -> Ladder:
    return one if other is None or other.rim_score <= one.rim_score else other


def _more_levels(
    ladder: Ladder, heights: Values, valid: BoolArray, rule: LayerRule
) -> tuple[Labels, FloatArray] | None:
    """Levels with those added whose steps the labels do not explain; None: nothing is left."""
    rest = heights - heights_of(ladder.level, ladder.above_nm)
    left = find_boundaries(rest, valid, rule.least_nm, rule.max_layers)
    if not len(left):
        return None
    level = ladder.level + levels_between(rest, left)
    spare = np.diff(ladder.above_nm)
    return level, np.append(spare, np.full(len(left), spare.mean()))


_STARTS = (
    (0.0, False, 0.05),
    (0.0, False, 0.15),
    (1.5, True, 0.05),
    (1.5, True, 0.15),
    (3.0, True, 0.15),
)
"""Smoothing of the copy on which levels are looked for, px; whether its roughness is let alone;
reach of the background, long sides."""
_FEW_WEAK = 0.04


def _check_rims(ladder: Ladder, rims: Rims, least_nm: float) -> Ladder:
    """Add how well the rims of the labels lie on steps of the heights."""
    score, weak, length = 0.0, 0, 0
    for k in range(1, len(ladder.above_nm)):
        _, across = rims.steps(ladder.level >= k)
        score += float(np.sum(across - least_nm))
        weak, length = weak + int(np.sum(across < least_nm / 2)), length + len(across)
    return replace(ladder, rim_score=score, weak_rim=weak / max(1, length))


def _climb(
    rims: Rims, start: tuple[Labels, FloatArray], rule: LayerRule, around: float
) -> Ladder | None:
    """Measure the steps and label the levels until every level and step is real."""
    heights, valid = rims.values, rims.valid
    level, spare = start
    ladder: Ladder | None = None
    voted: Ladder | None = None
    complete = False
    for _ in range(_MOST_ROUNDS):
        level, spare = _drop_levels(level, valid, spare, rule)
        if not len(spare):
            return None
        steps = measure_steps(heights, valid, level, len(spare) + 1, _SKIP_PX)
        spare = np.where(np.isfinite(steps.heights_nm), steps.heights_nm, spare)
        above = np.concatenate([[0.0], np.cumsum(spare)])
        weak = np.flatnonzero(spare < rule.least_nm)
        if not len(weak):
            level, base = label_levels(heights, valid, level, above, around * max(heights.shape))
            ladder = Ladder(level, heights - base, above, steps)
            voted = _without_speckle(ladder, valid)
            weak = _weak_levels(voted, rims, rule.least_nm)
        if len(weak):
            level, spare = _merge(level, spare, int(weak[0]))
            ladder, voted, complete = None, None, True  # what was taken out is not put in again
        elif complete:
            break
        elif ladder is not None:
            level, spare, added = _add_level(ladder, valid, spare, rule)
            complete = not added
    return None if voted is None else _check_rims(voted, rims, rule.least_nm)


def _weak_levels(ladder: Ladder, rims: Rims, least_nm: float) -> npt.NDArray[np.int64]:
    """Find the steps whose rim has less than the least step across most of it: texture."""
    weak = []
    for k in range(1, len(ladder.above_nm)):
        _, across = rims.steps(ladder.level >= k)
        weak.append(len(across) > 0 and float(np.median(across)) < _OF_LEAST * least_nm)
    return np.flatnonzero(weak)


_OF_LEAST = 0.95  # local means reach over the rim's slope; real steps keep far more than the least


def _without_speckle(ladder: Ladder, valid: BoolArray) -> Ladder:
    """Let neighbours vote where roughness reaches far towards the next level."""
    off = np.abs(ladder.relative - heights_of(ladder.level, ladder.above_nm))
    ratio = 1.4826 * typical(off, valid) / float(np.diff(ladder.above_nm).min())
    if ratio < _ROUGH:
        return ladder
    return replace(ladder, level=cv2.medianBlur(ladder.level, 5 if ratio < _ROUGHER else 7))


_ROUGH, _ROUGHER = 0.12, 0.2  # of a step: 0.5 / 0.12 is 4 standard deviations
_MOST_ROUNDS = 8


def _add_level(
    ladder: Ladder, valid: BoolArray, spare: FloatArray, rule: LayerRule
) -> tuple[Labels, FloatArray, bool]:
    """Insert a level in a step of two layers, or where a patch stands a layer lower or higher."""
    gaps = np.flatnonzero(spare[1:] > 1.5 * (rule.layer_nm or np.inf)) + 1
    if len(gaps) and len(spare) < rule.max_layers:
        return _split(ladder, spare, int(gaps[0]))
    unit = rule.layer_nm or float(spare[1:].min() if len(spare) > 1 else spare[0])
    lower = valid & (ladder.relative < -0.6 * unit)
    if len(spare) < rule.max_layers and _is_solid(lower):
        level = np.where(lower, 0, ladder.level + 1).astype(np.uint8)
        return level, np.insert(spare, 0, unit), True
    higher = valid & (ladder.relative > ladder.above_nm[-1] + 0.6 * unit)
    if len(spare) >= rule.max_layers or not _is_solid(higher):
        return ladder.level, spare, False
    level = np.where(higher, np.uint8(len(spare) + 1), ladder.level).astype(np.uint8)
    return level, np.append(spare, unit), True


def _split(ladder: Ladder, spare: FloatArray, k: int) -> tuple[Labels, FloatArray, bool]:
    """Put a level in the middle of step `k`."""
    spare = np.insert(spare, k, spare[k] / 2)
    spare[k + 1] /= 2
    above = np.concatenate([[0.0], np.cumsum(spare)])
    return levels_between(ladder.relative, (above[1:] + above[:-1]) / 2), spare, True


def _drop_levels(
    level: Labels, valid: BoolArray, spare: FloatArray, rule: LayerRule
) -> tuple[Labels, FloatArray]:
    """Merge levels that no patch of a few pixels has (scars, rims of dust), and dust itself."""
    for k in range(len(spare), -1, -1):
        dust = k > 0 and spare[:k].sum() > rule.highest_nm
        if len(spare) and (dust or not _is_solid((level == k) & valid)):
            level, spare = _merge(level, spare, max(0, k - 1))
    return level, spare


def _is_solid(mask: BoolArray) -> bool:
    # Nothing lies beyond the border: a scar on the first rows is as thin as one inside.
    inner = cv2.erode(
        mask.astype(np.uint8), np.ones(_SOLID_PX, np.uint8),
        borderType=cv2.BORDER_CONSTANT, borderValue=0,
    )  # fmt: skip
    return bool(np.count_nonzero(inner) >= _LEAST_SOLID * mask.size)


_LEAST_SOLID = 2e-4
_SOLID_PX = (7, 5)  # rows, columns: scars and rows levelled wrongly are lower than that


def _merge(level: Labels, spare: FloatArray, k: int) -> tuple[Labels, FloatArray]:
    """Take step `k` out: its two levels become one."""
    return np.where(level > k, level - 1, level).astype(np.uint8), np.delete(spare, k)
