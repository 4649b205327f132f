"""Particles of a picture without a model of the specimen: outlines, ranked, the best of them kept.

Every outline of the picture at many levels is a candidate (`ops.outlines`). A small forest, taught
by pictures of many laboratories, says how much of a particle each is likely to be
(`models.particle_ranker`). The most likely is kept, then the next that does not lie on it, and so
on.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.models.particle_ranker import Ranker, shipped_ranker
from layerscope.ops.outline_features import outline_features
from layerscope.ops.outline_rims import with_true_rims
from layerscope.ops.outlines import Grey, Outlines, find_outlines
from layerscope.ops.working_copy import WorkingCopy, make_working_copy

SMALLEST_SHARE, SMALLEST_PX = 2e-5, 30.0
"""Least area of a particle: of the picture, and in pixels of the working copy (6 px across)."""


@dataclass(frozen=True)
class SearchSettings:
    """How particles are searched for.

    Attributes
    ----------
    side_px : int
        Larger pictures are shrunk to it for the search; outlines are brought back.
    least_score : float
        Expected overlap from which an outline counts as a particle, 0 to 1.
    most_overlap : float
        Share of a particle that may lie on a more likely one.
    """

    side_px: int = 1024
    least_score: float = 0.5
    most_overlap: float = 0.3

    def __post_init__(self) -> None:
        if self.side_px < 64 or not 0 <= self.least_score <= 1 or not 0 <= self.most_overlap <= 1:
            raise InputError(f"{self}: expected 64 px or more, a score and an overlap from 0 to 1")


@dataclass(frozen=True, eq=False)
class View:
    """The grey picture that particles are searched on.

    Attributes
    ----------
    grey : ndarray of float32, (h, w)
        0 to 1.
    counted : ndarray of bool, (h, w)
    copy : WorkingCopy
    """

    grey: Grey
    counted: BoolArray
    copy: WorkingCopy

    @property
    def smallest_px(self) -> float:
        """Least area of an outline."""
        return max(SMALLEST_PX, SMALLEST_SHARE * self.grey.size)


def view_of(image: Micrograph, side_px: int) -> View | None:
    """Grey copy of `image`, without what is burnt in; None where nothing is left to look at."""
    counted = counted_pixels(image)
    if not counted.any():
        return None
    copy = make_working_copy(grey_of(image), counted, side_px)
    return View(copy.values, copy.valid, copy) if min(copy.values.shape) >= 16 else None


def counted_pixels(image: Micrograph) -> BoolArray:
    """Pixels (H, W) of the specimen: nothing burnt in, every value known."""
    counted = np.ones(image.shape, bool) if image.excluded is None else ~image.excluded
    if image.data.dtype.kind == "f":
        finite = np.isfinite(image.data)
        counted = counted & (finite if finite.ndim == 2 else finite.all(axis=2))
    return counted


def grey_of(image: Micrograph) -> Grey:
    """Grey value of each pixel (H, W), 0 to 1 over the middle 99.8 % of the values."""
    data = np.nan_to_num(image.data.astype(np.float32))
    grey = (
        data if data.ndim == 2 else np.asarray(cv2.cvtColor(data, cv2.COLOR_RGB2GRAY), np.float32)
    )
    if image.data.dtype == np.uint8:
        return np.asarray(grey / 255, np.float32)
    values = grey[counted_pixels(image)][::5]
    if not len(values):
        raise InputError("no pixel has a value; export the image again")
    low, high = np.quantile(values, (0.001, 0.999))
    return np.clip((grey - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)


def segment_particles(
    image: Micrograph, settings: SearchSettings | None = None, ranker: Ranker | None = None
) -> tuple[CropMasks, FloatArray, IntArray]:
    """Find the particles of a picture.

    Parameters
    ----------
    image : Micrograph
        Burnt-in bars and text that it excludes hold no particle.
    settings : SearchSettings, optional
    ranker : Ranker, optional
        The one that comes with the package by default.

    Returns
    -------
    masks : CropMasks
        Largest score first; holes inside are filled, none overlaps another.
    score : ndarray, (n,)
        Expected overlap with the true particle, 0 to 1.
    polarity : ndarray of int, (n,)
        1 brighter than around, -1 darker.
    """
    settings, ranker = settings or SearchSettings(), ranker or shipped_ranker()
    view = view_of(image, settings.side_px)
    if view is None:
        return _nothing(image)
    outlines = find_outlines(view.grey, view.counted, smallest_px=view.smallest_px)
    if not len(outlines):
        return _nothing(image)
    score = ranker.score(outline_features(view.grey, view.counted, outlines))
    kept = choose_outlines(
        outlines, score, view.grey.shape, settings.least_score, settings.most_overlap
    )
    return _brought_back(with_true_rims(outlines.take(kept), view.grey), view, score[kept])


def _nothing(image: Micrograph) -> tuple[CropMasks, FloatArray, IntArray]:
    return CropMasks.empty(image.shape), np.zeros(0), np.zeros(0, np.int64)


def choose_outlines(
    outlines: Outlines,
    score: FloatArray,
    shape: tuple[int, ...],
    least: float = 0.0,
    most_overlap: float = 0.3,
) -> IntArray:
    """Positions of outlines that do not lie on a more likely one, the most likely first.

    Parameters
    ----------
    outlines : Outlines
    score : ndarray, (n,)
    shape : tuple of int
        Of the picture.
    least : float
        Lower scores are left out.
    most_overlap : float
        Share of the smaller of two that both may cover.
    """
    owner = np.zeros(shape, np.int32)
    areas, kept = [0], []
    order = [i for i in np.argsort(-score, kind="stable").tolist() if score[i] >= least]
    masks = outlines.take(np.array(order, np.int64)).masks((shape[0], shape[1]))
    for i, (where, crop) in zip(order, masks, strict=True):
        there, area = owner[where], int(np.count_nonzero(crop))
        common = np.bincount(there[crop], minlength=len(areas)).astype(float)
        common[0] = 0
        if (common > most_overlap * np.minimum(areas, area)).any():
            continue
        there[crop & (there == 0)] = len(areas)
        areas.append(area)
        kept.append(i)
    return np.array(kept, np.int64)


def _brought_back(
    outlines: Outlines, view: View, score: FloatArray
) -> tuple[CropMasks, FloatArray, IntArray]:
    """Masks at the picture's own size, a pixel to the more likely one; none is empty."""
    top, left, bottom, right = view.copy.box
    shape, here = view.copy.shape, view.grey.shape
    zoom = np.array([(right - left) / here[1], (bottom - top) / here[0]])
    labels = np.zeros(shape, np.int32)
    for k, chain in reversed(list(enumerate(outlines.chains, start=1))):
        moved = (chain + 0.5) * zoom - 0.5 + (left, top)
        cv2.fillPoly(labels, [np.rint(moved * 16).astype(np.int32)], k, cv2.LINE_8, 4)
    labels[~_counted(view)] = 0
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(score) + 1)[1:])
    return CropMasks.from_labels(labels), score[present], outlines.polarity[present]


def _counted(view: View) -> BoolArray:
    return view.copy.full_size(view.counted)
