"""Grown crystals of an image whose noise is as strong as their contrast.

Regions that stand out of the noise (`ops.noisy_film`) are parted as everywhere else. Then outlines
of crystals are fitted to the image around each, the surest first (`measure.crystal_fitting`): a
faint crystal that noise has torn apart is found whole so, and its shape is told by likelihood.
Regions that no such outline explains stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.measure.crystal_fitting import Fit, fit_outlines
from layerscope.measure.crystal_parts import film_domains
from layerscope.measure.crystal_shapes import SHAPES, UNKNOWN, Shapes, classify_shapes
from layerscope.measure.domains import Domains
from layerscope.ops.channels import FloatImage
from layerscope.ops.instances import LabelArray
from layerscope.ops.noisy_film import deviation_of, find_film
from layerscope.ops.optical import Background

_UNEXPLAINED = 0.13
_SURE = 25.0
"""Of a region of this strength a fit that misses more of its square is no crystal's outline. Of
crystals with a template 3 % miss so much, of 23 irregular ones more than half."""

_FREE_KINDS = np.array([0.0, 4.0, 0.0, 6.0, 6.0])
"""What a family must be better by, in squares, as more of its templates fit any noise: shapes of
360 crystals are right in 0.86 with it, in 0.80 without."""

_SMALLEST_PIECE_PX = 30
"""Half of the smallest crystal may be seen of one at first: recall 0.932 instead of 0.924."""

_REACH = 3.2
_HELD = 0.6
"""A region that lies within another's outline by this share is a piece of it."""

_ROUGH = 0.05
"""Share of a crystal's strength by which a template misses it on its own."""

_WEAKEST = 5.0
_SCORE_SCALE = 10.0
_DUST_PX = 600.0
_ALONE = 0.3
_SAME_DIRECTION = 0.95
"""Of what stands out and is small or has a colour of its own, much is dust. AP50 of the twenty even
images of those seeds is 0.960 by strength alone, 0.968 with size, 0.970 with both; of the odd ones,
whose cameras show crystals fainter, 0.824, 0.840 and 0.853."""


@dataclass(frozen=True, eq=False)
class NoisyCrystals:
    """What is found; see `tasks.crystals.Crystals`."""

    domains: Domains
    shapes: Shapes
    background: Background


def find_noisy_crystals(micrograph: Micrograph, min_area_px: int, *, split: bool) -> NoisyCrystals:
    """Find the grown crystals of a noisy image.

    Parameters
    ----------
    micrograph : Micrograph
        Grey or RGB, 64 px or more a side.
    min_area_px : int
    split : bool
        Part crystals that touch; without it no outline is fitted.

    Returns
    -------
    NoisyCrystals
    """
    deviation, background = deviation_of(micrograph)
    valid = np.ones(micrograph.shape, bool)
    if micrograph.excluded is not None:
        valid = ~micrograph.excluded
    least = max(min_area_px // 2, _SMALLEST_PIECE_PX)
    seen = film_domains(find_film(deviation) & valid, valid, least, split=split)
    fitted = _Fitting(deviation.value, seen.detections.masks, valid)
    if split:
        fitted.fit_all()
    else:
        fitted.take_all()

    def as_fitted(mask: BoolArray, smallest_px: int) -> LabelArray:
        return np.where(mask, fitted.labels, 0).astype(np.int32)

    domains = film_domains(fitted.labels > 0, valid, min_area_px, split=as_fitted)
    masks = domains.detections.masks
    own = [fitted.answers[int(fitted.labels[where][crop][0]) - 1] for where, crop in masks]
    score = _scores(np.array([a.strength for a in own], float), masks, deviation.value)
    domains = replace(domains, detections=replace(domains.detections, score=score))
    return NoisyCrystals(domains, _shapes(domains, own), background)


@dataclass(frozen=True, eq=False)
class _Answer:
    """Strength of a crystal, and how probable each of `SHAPES` is; None: ask its outline."""

    strength: float
    probabilities: FloatArray | None


class _Fitting:
    """Regions turned into crystals one after the other, the surest first."""

    def __init__(self, value: FloatImage, masks: CropMasks, valid: BoolArray):
        self.value, self.masks, self.valid = value, masks, valid
        self.left = masks.labels().astype(np.int32)
        self.labels = np.zeros(valid.shape, np.int32)
        self.answers: list[_Answer] = []

    def fit_all(self) -> None:
        """Fit an outline to every region that is not a piece of one before it."""
        strengths = [self._strength(w, c) for w, c in self.masks]
        for i in np.argsort(-np.array(strengths), kind="stable").tolist():
            window = self._window(i)
            start = self.left[window] == i + 1
            if start.any():
                self._fit(window, start, i + 1)

    def take_all(self) -> None:
        """Keep every region as it is."""
        self.labels = self.left
        self.answers = [_Answer(self._strength(w, c), None) for w, c in self.masks]

    def _strength(self, where: tuple[slice, slice], crop: BoolArray) -> float:
        mean = self.value[where][crop].mean(axis=0)
        return float(np.linalg.norm(mean) * np.sqrt(np.count_nonzero(crop)))

    def _window(self, i: int) -> tuple[slice, slice]:
        """Room around a region for outlines larger than it."""
        radius = np.sqrt(self.masks.area_px[i] / np.pi)
        top, left, bottom, right = self.masks.boxes[i].tolist()
        reach = int(_REACH * radius) + 4
        middle = (top + bottom) // 2, (left + right) // 2
        low = [max(min(m - reach, edge), 0) for m, edge in zip(middle, (top, left), strict=True)]
        high = [max(m + reach, edge) for m, edge in zip(middle, (bottom, right), strict=True)]
        return slice(low[0], high[0]), slice(low[1], high[1])

    def _fit(self, window: tuple[slice, slice], start: BoolArray, number: int) -> None:
        value, left = self.value[window], self.left[window]
        others = (self.labels[window] > 0) | ((left > 0) & ~start)
        mean = value[start].mean(axis=0)
        image = np.asarray(value @ (mean / np.linalg.norm(mean)), np.float32)
        fits = fit_outlines(image, ~others & self.valid[window], start)
        strength = float(image[start].sum() / np.sqrt(np.count_nonzero(start)))
        best = max(fits, key=lambda fit: fit.strength)
        missed = strength**2 - best.strength**2
        outline = best.mask(start.shape)
        if (best.strength > _SURE and missed > _UNEXPLAINED * strength**2) or not outline.any():
            self._keep(window, start, _Answer(strength, None))
            return
        self._absorb(window, outline, number)
        free = (self.labels[window] == 0) & ((left == 0) | (left == number))
        self._keep(window, outline & free, _Answer(best.strength, _probabilities(fits)))

    def _absorb(self, window: tuple[slice, slice], outline: BoolArray, number: int) -> None:
        """Take the regions that are pieces of the crystal out of those left."""
        left = self.left[window]
        inside = np.bincount(left[outline], minlength=len(self.masks) + 1)
        pieces = inside[1:] > _HELD * self.masks.area_px
        pieces[number - 1] = False
        left[np.isin(left, np.flatnonzero(pieces) + 1)] = 0

    def _keep(self, window: tuple[slice, slice], mask: BoolArray, answer: _Answer) -> None:
        self.answers.append(answer)
        self.labels[window][mask & self.valid[window]] = len(self.answers)


def _scores(strength: FloatArray, masks: CropMasks, value: FloatImage) -> FloatArray:
    """How sure crystals are: by how far they stand out of the noise, their size, and their kin."""
    seen = 1 - np.exp((_WEAKEST - strength) / _SCORE_SCALE)
    size = 1 - np.exp(-masks.area_px / _DUST_PX)
    return np.clip(seen * size * (_ALONE + (1 - _ALONE) * _kin(masks, value)), 0.01, 0.99)


def _kin(masks: CropMasks, value: FloatImage) -> FloatArray:
    """Whether a third of the other crystals' area differs from the substrate as each does (n,).

    What grew is of few materials, whose contrasts point one way each; bubbles and dust are of any
    colour. 1 where there is no other crystal to compare with.
    """
    if len(masks) < 2:
        return np.ones(len(masks))
    mean = np.stack([value[where][crop].mean(axis=0) for where, crop in masks])
    mean = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
    alike = mean @ mean.T > _SAME_DIRECTION
    np.fill_diagonal(alike, False)
    area = masks.area_px.astype(float)
    return np.minimum(1, 3 * (alike @ area) / (area.sum() - area))


def _probabilities(fits: tuple[Fit, ...]) -> FloatArray:
    """Of `SHAPES`, by the likelihoods of the fits; what no template explains is not among them."""
    square = np.array([fit.strength for fit in fits]) ** 2 - _FREE_KINDS
    # Real facets are no template's: what is far above the noise says less than it seems to.
    doubt = 1 + square.max() * _ROUGH**2
    weight = np.exp((square - square.max()) / (2 * doubt))
    return np.append(weight / weight.sum(), 0.0)


def _shapes(domains: Domains, answers: list[_Answer]) -> Shapes:
    by_outline = classify_shapes(domains.detections.masks, domains.cut)
    table = by_outline.probabilities.copy()
    for i, answer in enumerate(answers):
        if answer.probabilities is not None:
            table[i] = answer.probabilities
    names = [
        UNKNOWN if cut else SHAPES[int(row.argmax())]
        for row, cut in zip(table, domains.cut, strict=True)
    ]
    scores = np.where(domains.cut, np.nan, table.max(axis=1, initial=0.0))
    return Shapes(tuple(names), scores, table)
