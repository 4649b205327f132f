"""From classes of pixels to particles that a hole of the support cannot fake or cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.particles import CountDraws, Particles, PixelClasses
from layerscope.core.results import BoolArray, CropMasks, Flag, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.ops.instances import label_islands, split_touching
from layerscope.tasks.particle_counts import SURE, IslandModel, island_features, sure_levels

Grey = npt.NDArray[np.float32]

MIN_AREA_PX = 50
_RATHER = 0.5
_ENCLOSED = 0.95
_TOUCH_PX = 2
_LEAST_LEVEL_PX = 50
_TOLD_APART = 3.0
_SMOOTHING_PX = 2.0
_BESIDE_PX, _RIM_PX = 12, 3


@dataclass(frozen=True)
class Separation:
    """How pixels become particles.

    Attributes
    ----------
    min_area_px : int
        Smaller ones are noise of the mask.
    split : bool
        Part bodies that touch at notches of their outline; for convex particles, not for flakes.
    fill_holes : bool
        Take a hole of the support that a particle encloses as lying under it, unless the beam says
        that nothing is there.
    sure : float or None
        Where probabilities are known, an island counts if `min_area_px` of its pixels, or half of a
        small one, are at least so probable. The class begins at a lower level, which is best for
        pixels: it lets in islands of film that are only somewhat like a particle. None: an island
        counts that is rather a particle than not, as the model's held-out images say; `SURE` if
        they say nothing.
    """

    min_area_px: int = MIN_AREA_PX
    split: bool = False
    fill_holes: bool = True
    sure: float | None = None

    def __post_init__(self) -> None:
        if self.min_area_px < 1 or not 0 <= (self.sure or 0) <= 1:
            raise InputError(
                f"min_area_px {self.min_area_px}, sure {self.sure}: expected 1 or more, 0 to 1"
            )


@dataclass(frozen=True, eq=False)
class Likely:
    """How probable the particle is in each pixel, and what is known of islands.

    Attributes
    ----------
    probability : ndarray, (H, W)
    islands : IslandModel or None
        What the model's held-out images say of islands of this class.
    """

    probability: npt.NDArray[Any]
    islands: IslandModel | None = None


def separate_particles(
    pixels: PixelClasses,
    grey: Grey | None = None,
    separation: Separation | None = None,
    *,
    likely: Likely | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Particles:
    """Tell the particles of one image apart.

    A pixel of a hole is never part of a particle for being dark or bright: particles are made of
    the pixels that are named so, and of enclosed holes that the beam does not show to be empty.

    Parameters
    ----------
    pixels : PixelClasses
        Objects and holes may overlap.
    grey : ndarray of float32, (H, W), optional
        Proportional to the beam: tells whether a flake lies over an enclosed hole.
    separation : Separation, optional
    likely : Likely, optional
        What is not sure to be a particle is left out. The score is the probability of each to be
        one; where no held-out images tell it, the mean probability of its pixels.
    provenance : mapping, optional

    Returns
    -------
    Particles
        In the order of the topmost, then leftmost pixel.
    """
    separation = separation or Separation()
    masks = islands_of(pixels, grey, separation)
    told, score, count = dict(provenance or {}), np.ones(len(masks)), None
    if likely is not None:
        score, sure, count = _judge(masks, likely, separation)
        kept = np.flatnonzero(sure)
        masks, score, told["unsure_left_out"] = masks.take(kept), score[kept], int((~sure).sum())
    found = replace(pixels, objects=masks.labels() > 0)
    return replace(gather_particles(masks, score, found, told), count=count)


def islands_of(
    pixels: PixelClasses, grey: Grey | None = None, separation: Separation | None = None
) -> CropMasks:
    """Bodies that may be particles, in the order of the topmost, then leftmost pixel.

    Parameters
    ----------
    pixels, grey, separation
        As in `separate_particles`.
    """
    separation = separation or Separation()
    objects = pixels.objects & pixels.valid
    if separation.fill_holes:
        objects = objects | covered_holes(replace(pixels, objects=objects), grey)
    labels = split_touching(objects) if separation.split else label_islands(objects)
    masks = CropMasks.from_labels(labels)
    return masks.take(np.flatnonzero(masks.area_px >= separation.min_area_px))


def _judge(
    masks: CropMasks, likely: Likely, separation: Separation
) -> tuple[FloatArray, BoolArray, CountDraws | None]:
    """Score of islands, which of them count, and the number that they stand for."""
    known, level = likely.islands, separation.sure
    reached = sure_levels(masks, likely.probability, separation.min_area_px)
    if known is None:
        sure = reached >= (SURE if level is None else level)
        return _means(masks, likely.probability), sure, None
    features = island_features(masks, likely.probability, separation.min_area_px)
    score = known.probability(features)
    sure = score >= _RATHER if level is None else reached >= level
    return score, sure, known.count(features)


def gather_particles(
    masks: CropMasks,
    score: FloatArray,
    pixels: PixelClasses,
    provenance: Mapping[str, Any] | None = None,
) -> Particles:
    """Add flags and aggregates to particles that are already told apart.

    Parameters
    ----------
    masks : CropMasks
    score : ndarray, (n,)
    pixels : PixelClasses
    provenance : mapping, optional
    """
    return Particles(
        masks, score, aggregates_of(masks), _flags(masks, pixels.valid), pixels, provenance or {}
    )


def covered_holes(pixels: PixelClasses, grey: Grey | None = None) -> BoolArray:
    """Holes of the support (H, W) that lie under a particle though nobody named them so.

    A hole is seen through a thin flake and is often labelled as a hole only. One whose rim is a
    particle's all round is taken as covered; with a picture, it is left bare if it is as bright as
    the holes elsewhere, where the flake would have made it darker. Of a hole that a particle covers
    in part, what is darker than vacuum and touches the particle is covered, if the picture is good
    enough to tell. Where classes overlap somewhere, somebody said what lies under what: then
    nothing is added.

    Parameters
    ----------
    pixels : PixelClasses
    grey : ndarray of float32, (H, W), optional
    """
    bare = pixels.holes & ~pixels.objects & pixels.valid
    if (pixels.holes & pixels.objects).any():
        return np.zeros(bare.shape, bool)
    count, labels = cv2.connectedComponents(bare.view(np.uint8), connectivity=8)
    out = np.zeros(bare.shape, bool)
    beam = None if grey is None else _Beam.of(pixels, labels, grey)
    for k, where in enumerate(_frames(labels, count), start=1):
        hole, objects = labels[where] == k, pixels.objects[where]
        if _is_enclosed(hole, objects):
            empty = beam is not None and beam.is_empty(where, hole)
            out[where] |= hole & (not empty)
        elif beam is not None and (_grown(hole) & objects).any():
            out[where] |= beam.covered_part(where, hole, objects)
    return out


@dataclass(frozen=True, eq=False)
class _Beam:
    """Levels that tell a covered hole from a bare one.

    Attributes
    ----------
    grey, smooth : ndarray of float32, (H, W)
    vacuum : float
        Level of bare holes.
    noise : float
        Standard deviation of a smoothed pixel there.
    support : float
    on_support : ndarray of bool, (H, W)
        Particles where no hole is named.
    """

    grey: Grey
    smooth: Grey
    vacuum: float
    noise: float
    support: float
    on_support: BoolArray

    @classmethod
    def of(cls, pixels: PixelClasses, labels: npt.NDArray[np.int32], grey: Grey) -> _Beam | None:
        """Measure the levels; None where there is no bare support or no hole to compare with."""
        smooth = cv2.GaussianBlur(grey, (0, 0), _SMOOTHING_PX, borderType=cv2.BORDER_REFLECT)
        touched = np.unique(labels[_grown(pixels.objects)])
        alone = (labels > 0) & ~np.isin(labels, touched)
        holes = alone if np.count_nonzero(alone) >= _LEAST_LEVEL_PX else labels > 0
        if min(np.count_nonzero(holes), np.count_nonzero(pixels.support)) < _LEAST_LEVEL_PX:
            return None
        # Without a hole that stands alone: vacuum is the brightest that there is.
        share = 0.5 if holes is alone else 0.9
        vacuum = float(np.quantile(smooth[holes], share))
        spread = np.abs(smooth[holes] - vacuum) if share == 0.5 else smooth[holes][:0]
        noise = 1.4826 * float(np.median(spread)) if len(spread) else 0.02 * vacuum
        support = float(np.median(grey[pixels.support]))
        on_support = pixels.objects & ~pixels.holes
        return cls(grey, np.asarray(smooth), vacuum, noise, support, on_support)

    def _covered(self, where: tuple[slice, slice], hole: BoolArray) -> float | None:
        """Level that the particle beside `hole` would give it, where it can be told from vacuum."""
        side = 2 * _BESIDE_PX + 1
        near = cv2.dilate(hole.view(np.uint8), np.ones((side, side), np.uint8)) > 0
        beside = self.grey[where][near & self.on_support[where]]
        if len(beside) < _LEAST_LEVEL_PX or self.support <= 0:
            return None
        covered = self.vacuum * float(np.median(beside)) / self.support
        return covered if self.vacuum - covered >= _TOLD_APART * self.noise else None

    def is_empty(self, where: tuple[slice, slice], hole: BoolArray) -> bool:
        """Whether an enclosed hole is as bright as vacuum, where a particle would have shown."""
        covered = self._covered(where, hole)
        here = float(np.median(self.grey[where][hole]))
        return covered is not None and here > (self.vacuum + covered) / 2

    def covered_part(
        self, where: tuple[slice, slice], hole: BoolArray, objects: BoolArray
    ) -> BoolArray:
        """Pixels of `hole` that are darker than vacuum and join the particle."""
        covered = self._covered(where, hole)
        if covered is None:
            return np.zeros(hole.shape, bool)
        dark = hole & (self.smooth[where] < (self.vacuum + covered) / 2)
        # The rim of a hole is blurred: a dark line along it is no particle.
        wide = np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)
        dark |= objects
        opened = cv2.morphologyEx(dark.view(np.uint8), cv2.MORPH_OPEN, wide).view(bool)
        _, pieces = cv2.connectedComponents((opened | objects).view(np.uint8))
        joined = np.isin(pieces, np.unique(pieces[objects])) & hole
        return np.asarray(joined & opened)


def aggregates_of(masks: CropMasks) -> IntArray:
    """Give masks within two pixels of each other the same number, (n,), from 1."""
    n = len(masks)
    parent = np.arange(n)
    boxes = masks.boxes
    for i in range(n):
        near = (boxes[i + 1 :, :2] <= boxes[i, 2:] + _TOUCH_PX).all(axis=1)
        near &= (boxes[i + 1 :, 2:] >= boxes[i, :2] - _TOUCH_PX).all(axis=1)
        for j in (np.flatnonzero(near) + i + 1).tolist():
            if _root(parent, i) != _root(parent, j) and _touch(masks, i, j):
                parent[_root(parent, j)] = _root(parent, i)
    roots = np.array([_root(parent, i) for i in range(n)], np.int64)
    _, first, back = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[back] if n else roots


def _root(parent: IntArray, i: int) -> int:
    while parent[i] != i:
        i = int(parent[i])
    return i


def _touch(masks: CropMasks, i: int, j: int) -> bool:
    """Whether mask j has a pixel within two of mask i."""
    low = np.minimum(masks.boxes[i, :2], masks.boxes[j, :2]) - _TOUCH_PX
    high = np.maximum(masks.boxes[i, 2:], masks.boxes[j, 2:]) + _TOUCH_PX
    both = np.zeros((2, *(high - low)), np.uint8)
    for plane, k in zip(both, (i, j), strict=True):
        top, left = masks.boxes[k, :2] - low
        crop = masks.crops[k]
        plane[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    side = 2 * _TOUCH_PX + 1
    grown = cv2.dilate(both[0], np.ones((side, side), np.uint8))
    return bool((grown & both[1]).any())


def _means(masks: CropMasks, probability: npt.NDArray[Any]) -> FloatArray:
    return np.array([probability[w][c].mean(dtype=np.float64) for w, c in masks], float)


def _flags(masks: CropMasks, valid: BoolArray) -> IntArray:
    boxes, (height, width) = masks.boxes, masks.shape
    cut = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2] >= height) | (boxes[:, 3] >= width)
    beside = cv2.dilate((~valid).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    at_gap = np.array([bool(beside[where][crop].any()) for where, crop in masks], bool)
    return np.asarray(
        np.where(cut, int(Flag.TOUCHES_BORDER), 0) | np.where(at_gap, int(Flag.TOUCHES_EXCLUDED), 0)
    )


def _frames(labels: npt.NDArray[np.int32], count: int) -> list[tuple[slice, slice]]:
    """Box around each of the labels 1.., wide enough to see what is beside them."""
    from scipy import ndimage

    found = ndimage.find_objects(labels, max_label=count - 1) if count > 1 else []
    wide = [
        tuple(slice(max(s.start - _BESIDE_PX, 0), s.stop + _BESIDE_PX) for s in where)
        for where in found
        if where
    ]
    return [(rows, columns) for rows, columns in wide]


def _is_enclosed(hole: BoolArray, objects: BoolArray) -> bool:
    """Whether nearly all pixels around `hole` are objects; at the picture's border nobody knows."""
    rim = _grown(hole) & ~hole
    # A frame reaches beyond its hole unless the picture ends there.
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    inner = rows[0] > 0 and columns[0] > 0
    inner = inner and rows[-1] < hole.shape[0] - 1 and columns[-1] < hole.shape[1] - 1
    return bool(inner and rim.any() and objects[rim].mean() >= _ENCLOSED)


def _grown(mask: BoolArray) -> BoolArray:
    """`mask` and the pixels beside it."""
    return np.asarray(cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)) > 0)
