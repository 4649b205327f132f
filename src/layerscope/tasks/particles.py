"""From classes of pixels to particles that a hole of the support cannot fake or cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.particles import Particles, PixelClasses
from layerscope.core.results import BoolArray, CropMasks, Flag, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.ops.instances import label_islands, split_touching

Grey = npt.NDArray[np.float32]

MIN_AREA_PX = 50
_ENCLOSED = 0.95
_TOUCH_PX = 2
_LEAST_LEVEL_PX = 50
_TOLD_APART = 3.0


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
    """

    min_area_px: int = MIN_AREA_PX
    split: bool = False
    fill_holes: bool = True

    def __post_init__(self) -> None:
        if self.min_area_px < 1:
            raise InputError(f"min_area_px {self.min_area_px}: expected 1 or more")


def separate_particles(
    pixels: PixelClasses,
    grey: Grey | None = None,
    separation: Separation | None = None,
    *,
    probability: npt.NDArray[Any] | None = None,
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
    probability : ndarray, (H, W), optional
        Of the particle; its mean inside is the score.
    provenance : mapping, optional

    Returns
    -------
    Particles
        In the order of the topmost, then leftmost pixel.
    """
    separation = separation or Separation()
    objects = pixels.objects & pixels.valid
    if separation.fill_holes:
        objects = objects | covered_holes(replace(pixels, objects=objects), grey)
    labels = split_touching(objects) if separation.split else label_islands(objects)
    masks = CropMasks.from_labels(labels)
    masks = masks.take(np.flatnonzero(masks.area_px >= separation.min_area_px))
    score = np.ones(len(masks)) if probability is None else _means(masks, probability)
    kept = replace(pixels, objects=masks.labels() > 0)
    return gather_particles(masks, score, kept, provenance)


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
    the holes elsewhere, where the flake would have made it darker.

    Parameters
    ----------
    pixels : PixelClasses
    grey : ndarray of float32, (H, W), optional
    """
    bare = pixels.holes & ~pixels.objects & pixels.valid
    count, labels = cv2.connectedComponents(bare.view(np.uint8), connectivity=8)
    enclosed = [
        k for k, where in enumerate(_frames(labels, count), start=1)
        if _is_enclosed(labels[where] == k, pixels.objects[where])
    ]  # fmt: skip
    if not enclosed:
        return np.zeros(bare.shape, bool)
    if grey is not None:
        vacuum = _level_of(grey, bare & ~np.isin(labels, enclosed))
        behind = _transmission(pixels, grey)
        enclosed = [k for k in enclosed if not _is_empty(grey[labels == k], vacuum, behind)]
    return np.asarray(np.isin(labels, enclosed))


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
    """Box around each of the labels 1.., a pixel wider."""
    from scipy import ndimage

    found = ndimage.find_objects(labels, max_label=count - 1) if count > 1 else []
    wide = [
        tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in where) for where in found if where
    ]
    return [(rows, columns) for rows, columns in wide]


def _is_enclosed(hole: BoolArray, objects: BoolArray) -> bool:
    """Whether nearly all pixels around `hole` are objects; at the picture's border nobody knows."""
    grown = cv2.dilate(hole.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rim = grown & ~hole
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    inner = rows[0] > 0 and columns[0] > 0
    inner = inner and rows[-1] < hole.shape[0] - 1 and columns[-1] < hole.shape[1] - 1
    return bool(inner and rim.any() and objects[rim].mean() >= _ENCLOSED)


def _level_of(grey: Grey, where: BoolArray) -> tuple[float, float] | None:
    """Median over `where` and its standard error; None where there are too few pixels."""
    values = grey[where]
    if len(values) < _LEAST_LEVEL_PX:
        return None
    # Noise of neighbours goes together: a quarter of the pixels count.
    return float(np.median(values)), 1.2533 * float(values.std()) / np.sqrt(len(values) / 4)


def _transmission(pixels: PixelClasses, grey: Grey) -> float | None:
    """Share of the beam that a typical particle lets through, from those over bare support."""
    body, support = _level_of(grey, pixels.objects & ~pixels.holes), _level_of(grey, pixels.support)
    if body is None or support is None or support[0] <= 0:
        return None
    return body[0] / support[0]


def _is_empty(
    values: npt.NDArray[np.float32], vacuum: tuple[float, float] | None, through: float | None
) -> bool:
    """Whether an enclosed hole is as bright as vacuum, where a particle would have been seen."""
    here = _level_of(values, np.ones(len(values), bool))
    if here is None or vacuum is None or through is None:
        return False
    error = float(np.hypot(here[1], vacuum[1]))
    covered = vacuum[0] * through
    if abs(vacuum[0] - covered) < _TOLD_APART * error:
        return False
    return abs(here[0] - vacuum[0]) < abs(here[0] - covered)
