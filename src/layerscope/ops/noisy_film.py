"""A film on its substrate in an image whose noise is as strong as the film's contrast.

No pixel tells film from substrate there; sums over many do. Averages at several scales are tested
against what noise alone would give anywhere in the image. What is left is outlined where a region's
own colour and the substrate's are equally probable, after as much smoothing as that region needs:
half of a Gaussian's edge stays where it was, while flattening by total variation takes the contrast
of small regions away (2 weights over the radius).

Constants were set on seeds 9000 to 9003 of synthetic growths through five cameras that are not
among those of `benchmarks/crystals.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.optical import LEVELS, Background, background_of
from layerscope.ops.substrate import SAME_COLOUR, polynomial_surface

Plane = npt.NDArray[np.float32]

_CELL_PX = 12
"""Averages of so many pixels a side show the substrate: noise of 0.2 of white is 0.017 there."""

_HALF_LEVEL = 0.002
"""Of 8 bits: no channel's cells are known better, not even where it is black throughout."""

_SCALES_PX = (2.0, 3.5, 6.0, 10.0)
_BINNED = {2.0: 1, 3.5: 2, 6.0: 2, 10.0: 4}
_SPOT = 1.5
_FALSE_ALARMS = 0.02
"""Places of an image that may look like a film and are noise, at each of the two searches."""

_KNOWN = 10.0
"""Standard errors from which on a region shows what direction in colour a film of it has."""
_DIRECTIONS = 3
_ANOTHER = 0.9

_ROUNDS = 3
_REACH_PX = 14
_TOGETHER_PX = 8
"""Pieces this close have one colour: split by noise, each would be taken for fainter or stronger
than it is. In nine faint images 0.86 of 133 islands are found so, 0.81 without."""
_HOLE_PX = 300
_LOCAL_PX = 6.0
_LOCAL_TRUST = 100.0
_SMOOTHING = 1.7
"""Standard deviation of the smoothing, px, times contrast over noise: a third of the contrast's
half is left of the noise. Of 128 islands 0.96 are found so, 0.94 with 2.3, 0.91 with 3."""
_STEPS_PX = np.array([0.8, 1.1, 1.6, 2.2, 3.1, 4.4, 6.2, 8.0])


@dataclass(frozen=True, eq=False)
class Deviation:
    """How far each pixel is off the bare substrate, in components of independent noise.

    Attributes
    ----------
    value : ndarray of float32, (H, W, C)
        In standard deviations of a pixel's noise; C is 1 for grey images, else up to 3. 0 where the
        micrograph is excluded.
    drift : float
        Shading that the substrate's surface does not follow, in the same unit.
    """

    value: FloatImage
    drift: float


def deviation_of(micrograph: Micrograph) -> tuple[Deviation, Background]:
    """Compare an image with its bare substrate.

    Parameters
    ----------
    micrograph : Micrograph
        Grey or RGB, noisy; 64 px or more a side.

    Returns
    -------
    Deviation
    Background
        Its surface is a polynomial through cells that are bare.
    """
    data = micrograph.data if micrograph.data.ndim == 3 else cv2.merge([micrograph.data] * 3)
    share = (data / np.float32(micrograph.white_level)).astype(np.float32)
    usable = np.ones(share.shape[:2], bool)
    if micrograph.excluded is not None:
        usable &= ~micrograph.excluded
    noise = _noise(share)
    background = _substrate(share, usable, np.sqrt(np.diag(noise)))
    off = share - background.at(micrograph.shape)
    off[~usable] = 0
    whitened = _whitening(noise)
    drift = float(np.linalg.norm(background.surface_se @ whitened) / np.sqrt(len(whitened.T)))
    return Deviation(np.asarray(off @ whitened.astype(np.float32)), drift), background


def _noise(share: FloatImage) -> FloatArray:
    """Covariance (3, 3) of the channels' noise, from what edges and slopes hardly touch."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    rows = cv2.filter2D(share, -1, kernel)[::2, ::2].reshape(-1, 3)
    sd = np.maximum(np.median(np.abs(rows), axis=0) / 0.6745, 1e-4)
    with np.errstate(invalid="ignore", divide="ignore"):  # a channel that is black throughout
        alike = np.corrcoef(np.clip(rows / sd, -3, 3).T)
    return np.asarray(np.nan_to_num(alike) * np.outer(sd, sd))


def _whitening(covariance: FloatArray) -> FloatArray:
    """Matrix (3, C) that makes noise independent; channels that only repeat others fall away."""
    power, axes = np.linalg.eigh(covariance)
    kept = power > 0.01 * power.max()
    return np.asarray(axes[:, kept] / np.sqrt(power[kept]))


def _substrate(share: FloatImage, usable: BoolArray, noise: FloatArray) -> Background:
    """Bare substrate: the colour that most of the field has, and a polynomial through its cells."""
    height, width = usable.shape
    quarter, seen = _reduced(share, usable, (width // 4, height // 4))
    smooth = cv2.GaussianBlur(quarter, (0, 0), 1.2) * np.float32(LEVELS)
    coarse = background_of(smooth, seen.view(np.uint8) * np.uint8(255))
    size = (width // _CELL_PX, height // _CELL_PX)
    cells, whole = _reduced(share, usable, size)
    surface, bare = _surface(cells, whole, coarse, noise / _CELL_PX)
    spread = 1.4826 * np.median(np.abs(cells - surface)[bare], axis=0) if bare.any() else noise
    drift = np.sqrt(np.maximum(spread**2 - (noise / _CELL_PX) ** 2, 0))
    level = surface[size[1] // 2, size[0] // 2].astype(float)
    return replace(coarse, level=level, surface=surface, noise=noise, surface_se=drift)


def _reduced(
    share: FloatImage, usable: BoolArray, size: tuple[int, int]
) -> tuple[FloatImage, BoolArray]:
    """Means over cells, `size` (width, height) of them, and which cells are usable throughout."""
    cells = cv2.resize(share, size, interpolation=cv2.INTER_AREA)
    whole = cv2.resize(usable.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.999
    return np.asarray(cells, np.float32), np.asarray(whole)


def _surface(
    cells: FloatImage, whole: BoolArray, coarse: Background, error: FloatArray
) -> tuple[FloatImage, BoolArray]:
    """Polynomial through the bare cells, and which those are; `error` (3,) is a cell's noise."""
    start = coarse.candidates[0].level if coarse.candidates else coarse.level
    surface = np.full(cells.shape, start, np.float32)
    error = np.maximum(error, _HALF_LEVEL)
    gate, bare = np.maximum(SAME_COLOUR * start, 4 * error), whole
    for degree in (0, 2, 2, 4, 4):
        near = whole & (np.abs(cells - surface) < gate).all(axis=2)
        bare = cv2.erode(near.view(np.uint8), np.ones((2, 2), np.uint8)) > 0 if degree else near
        if np.count_nonzero(bare) < 30:
            break
        surface = np.maximum(polynomial_surface(cells, bare, degree), np.float32(1e-3))
        spread = 1.4826 * np.median(np.abs(cells - surface)[bare], axis=0)
        gate = np.minimum(np.maximum(3 * spread, 2.5 * error), gate)
    return surface, bare


def find_film(deviation: Deviation) -> BoolArray:
    """Where the image is off its substrate by more than noise can be.

    Regions in which a colour stands out by itself come first; then what has one of their colours
    and is too faint to stand out in any.

    Parameters
    ----------
    deviation : Deviation

    Returns
    -------
    ndarray of bool, (H, W)
        Outlined to some pixels; holes below 300 px are closed.
    """
    value = deviation.value
    scales = [_Averages.of(value, s, deviation.drift) for s in _SCALES_PX]
    film = np.zeros(value.shape[:2], bool)
    film = _joined(film, [one.stands_out() for one in scales])
    known = _directions(value, film)
    for direction in known:
        film = _joined(film, [one.stands_out_along(direction, len(known)) for one in scales])
    for _ in range(_ROUNDS):
        film = _outlined(value, _filled(film))
    return _filled(film)


@dataclass(frozen=True, eq=False)
class _Averages:
    """Weighted averages around each pixel, in standard errors of noise alone."""

    value: FloatImage
    scale_px: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, value: FloatImage, scale_px: float, drift: float) -> _Averages:
        height, width = value.shape[:2]
        binning = _BINNED[scale_px]
        small = cv2.resize(
            value, (width // binning, height // binning), interpolation=cv2.INTER_AREA
        ).reshape(height // binning, width // binning, -1)
        smooth = cv2.GaussianBlur(small, (0, 0), np.sqrt((scale_px / binning) ** 2 - 1 / 12))
        smooth = smooth.reshape(small.shape)
        apart = min(round(4 * scale_px / binning), smooth.shape[1] - 1)
        steps = np.abs(smooth[:, apart:] - smooth[:, :-apart])[::2, ::2].reshape(-1, value.shape[2])
        # Of white noise; demosaicing and JPEG leave more.
        white = 1 / (2 * np.sqrt(np.pi) * scale_px)
        error = np.maximum(np.median(steps, axis=0) / 0.6745 / np.sqrt(2), white)
        return cls(smooth / np.hypot(error, drift).astype(np.float32), scale_px, (height, width))

    def stands_out(self) -> BoolArray:
        """Where any colour does (H, W): sum of the squares of all components."""
        return self._whole((self.value**2).sum(axis=2) > self._limit(self.value.shape[2], 1))

    def stands_out_along(self, direction: Plane, directions: int) -> BoolArray:
        """Where a colour of one of several known directions (C,) does."""
        return self._whole(self.value @ direction > np.sqrt(self._limit(1, directions)))

    def _limit(self, components: int, colours: int) -> float:
        """Square that noise exceeds in `_FALSE_ALARMS` places at all scales and colours."""
        area = self.shape[0] * self.shape[1] / self.scale_px**2
        return _peak_limit(area * len(_SCALES_PX) * colours, components)

    def _whole(self, mask: BoolArray) -> BoolArray:
        size = (self.shape[1], self.shape[0])
        return cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _peak_limit(area: float, components: int) -> float:
    """Square of smoothed noise that is exceeded in `_FALSE_ALARMS` places of an area.

    Expected number of regions above u of a chi-square field (Worsley, Adv. Appl. Probab. 26, 13
    (1994)); white noise smoothed by a Gaussian has the second spectral moment 1/2 in its units.
    """
    from scipy.special import gammaln

    u = np.arange(components + 1.0, 120.0, 0.05)
    half = (components - 2) / 2
    log = half * np.log(u / 2) - u / 2 - gammaln(components / 2) + np.log(u - components + 1)
    expected = area / (4 * np.pi) * np.exp(log)
    return float(u[np.flatnonzero(expected > _FALSE_ALARMS)[-1:]].max(initial=u[0]))


def _joined(film: BoolArray, seen: Sequence[BoolArray]) -> BoolArray:
    """Add to a film what is seen at each scale: at the finest that shows more than a spot of it."""
    coarser = np.zeros(film.shape, bool)
    kept: list[BoolArray] = []
    for scale_px, mask in zip(reversed(_SCALES_PX), reversed(seen), strict=True):
        kept.append(mask & ~_spots(mask, coarser, scale_px))
        coarser |= mask
    for scale_px, mask in zip(_SCALES_PX, reversed(kept), strict=True):
        film = _with_new(film, mask, scale_px)
    return film


def _spots(mask: BoolArray, coarser: BoolArray, scale_px: float) -> BoolArray:
    """Islands smaller than the average's own width, of what a coarser scale shows as well."""
    _, island, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    spot = stats[:, cv2.CC_STAT_AREA] < np.pi * (_SPOT * scale_px) ** 2
    shown = np.zeros(len(spot), bool)
    shown[np.unique(island[coarser])] = True
    return np.asarray((spot & shown)[island] & mask)


def _with_new(film: BoolArray, more: BoolArray, scale_px: float) -> BoolArray:
    """Add the islands that are nowhere near the film: finer scales have seen the others better."""
    if not film.any() or not more.any():
        return film | more
    count, island = cv2.connectedComponents(more.view(np.uint8), connectivity=8)
    known = np.zeros(count, bool)
    known[np.unique(island[_dilated(film, int(scale_px))])] = True
    known[0] = True
    return film | ~known[island]


def _directions(value: FloatImage, film: BoolArray) -> list[Plane]:
    """Directions in colour of the surest regions, unlike each other."""
    count, island = cv2.connectedComponents(film.view(np.uint8), connectivity=4)
    area, mean = _means(value, island, count, film.astype(np.float32))
    strength = np.linalg.norm(mean, axis=1) * np.sqrt(area)
    found: list[Plane] = []
    for i in np.argsort(-strength, kind="stable").tolist():
        if strength[i] < _KNOWN or len(found) == _DIRECTIONS:
            break
        direction = mean[i] / np.linalg.norm(mean[i])
        if all(float(direction @ other) < _ANOTHER for other in found):
            found.append(direction)
    return found


def _means(
    value: FloatImage, label: IntArray | npt.NDArray[np.int32], count: int, weight: Plane
) -> tuple[FloatArray, FloatImage]:
    """Weight (n,) and mean (n, C) of each label; those of label 0 are 0."""
    total = np.bincount(label.ravel(), weight.ravel(), count)
    sums = [
        np.bincount(label.ravel(), (value[..., c] * weight).ravel(), count)
        for c in range(value.shape[2])
    ]
    mean = np.stack(sums, axis=1) / np.maximum(total, 1e-6)[:, None]
    total[0] = mean[0] = 0
    return np.asarray(total, float), mean.astype(np.float32)


def _outlined(value: FloatImage, film: BoolArray) -> BoolArray:
    """Where film and substrate are as probable as each other, around and inside `film`."""
    if not film.any():
        return film
    near = _dilated(film, _REACH_PX)
    count, label = cv2.connectedComponents(_dilated(film, _TOGETHER_PX).view(np.uint8))
    own = _spread(np.where(film, label, 0), near)
    weight = _weights(film)
    mean = _means(value, np.where(film, label, 0), count, weight)[1]
    strength = np.linalg.norm(mean, axis=1)
    colour = _local_colour(value, weight, mean, own)
    size = np.sqrt((colour**2).sum(axis=2))
    # In standard deviations of a pixel: above 0 the film's colour is nearer.
    for_film = (value * colour).sum(axis=2) / np.maximum(size, 1e-3) - size / 2
    for_film[~near] = np.minimum(for_film, 0)[~near]
    wanted = _SMOOTHING / np.maximum(strength, 1e-3)
    step = np.abs(np.log(_STEPS_PX) - np.log(wanted)[:, None]).argmin(axis=1)
    out = np.zeros(film.shape, bool)
    for k in np.unique(step[1:]).tolist():
        positive = cv2.GaussianBlur(for_film, (0, 0), float(_STEPS_PX[k])) > 0
        out |= positive & near & (own > 0) & (step == k)[own]
    return out


def _spread(label: npt.NDArray[np.int32], near: BoolArray) -> npt.NDArray[np.int32]:
    """Give each pixel that is `near` the label beside it, wave by wave."""
    out, box = label.astype(np.float32), np.ones((3, 3), np.uint8)
    for _ in range(_REACH_PX):
        out = np.where(out > 0, out, cv2.dilate(out, box))
    return np.where(near, out, 0).astype(np.int32)


def _weights(film: BoolArray) -> Plane:
    """Pixels two or more inside count; the blurred rim hardly, unless a region is nothing else."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return film * np.float32(0.05) + cv2.erode(film.view(np.uint8), disc)


def _local_colour(
    value: FloatImage, weight: Plane, mean: FloatImage, own: npt.NDArray[np.int32]
) -> FloatImage:
    """Colour of the film around each pixel, drawn to its region's mean where few pixels tell."""
    held = cv2.GaussianBlur(weight, (0, 0), _LOCAL_PX)[..., None]
    total = cv2.GaussianBlur(value * weight[..., None], (0, 0), _LOCAL_PX).reshape(value.shape)
    pixels = np.float32(4 * np.pi * _LOCAL_PX**2)
    strength = np.maximum(np.linalg.norm(mean, axis=1), 0.05)
    prior = (_LOCAL_TRUST / strength**2).astype(np.float32)
    colour = total * pixels + (prior[:, None] * mean)[own]
    return np.asarray(colour / (held * pixels + prior[own][..., None]))


def _filled(film: BoolArray) -> BoolArray:
    """Without single pixels, and small holes closed."""
    clean = cv2.morphologyEx(film.view(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, bare, stats, _ = cv2.connectedComponentsWithStats(1 - clean, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < _HOLE_PX
    small[0] = False
    return np.asarray((clean > 0) | small[bare])


def _dilated(mask: BoolArray, reach_px: int) -> BoolArray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2)
    return np.asarray(cv2.dilate(mask.view(np.uint8), disc) > 0)
