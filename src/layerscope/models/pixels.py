"""Pixels of marked flakes as training samples, and their cleaning.

The published recipes learn from single pixels. What spoiled them is done otherwise here: the rim
is left out on both sides of every boundary, the substrate level is given by the caller and is the
same in training and use, cleaning works on standardised contrast and never removes a class, and
regions keep the image they come from, so that a head can be tested on images it has not seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.models.samples import MOST_LAYERS, Samples
from layerscope.ops.tone import ToneCurve, tone_curve

_NEIGHBOURS = 25
_MOST_PIXELS = 5000  # per class while cleaning: 25 neighbours of 5 x 5000 take 0.3 s
_KEEP_AT_LEAST = 0.5
_TRIM_DISTANCE2 = 16.27  # chi-squared, 3 degrees of freedom, 0.1 %
_SATURATED = 0.995


def samples_from_masks(
    micrograph: Micrograph,
    layers: npt.ArrayLike,
    background: npt.ArrayLike,
    *,
    instances: npt.ArrayLike | None = None,
    tone: ToneCurve | None = None,
    rim_px: int = 3,
    min_region_px: int = 50,
    n_background: int = 10_000,
    seed: int = 0,
) -> Samples:
    """Pixel samples of one micrograph whose flakes are marked.

    Parameters
    ----------
    micrograph : Micrograph
        RGB.
    layers : array_like of int, (H, W)
        Layer number per pixel, 0 where nothing is marked.
    background : array_like, (3,) or (H, W, 3)
        Level of the bare substrate, fraction of the white level; by the estimator that will also
        serve when the head is used.
    instances : array_like of int, (H, W), optional
        Flake number per pixel; without it, connected pixels of one layer number are one region.
    tone : ToneCurve, optional
        Linear unless given.
    rim_px : int, optional
        Pixels this close to any other region or to the substrate are left out: the rim changes
        the mean contrast of graphene by 0.003 to 0.015.
    min_region_px : int, optional
        Regions with fewer pixels left are left out, with a note.
    n_background : int, optional
        Substrate pixels drawn as class 0, from unmarked pixels far from marked ones.
    seed : int, optional

    Returns
    -------
    Samples
        One group, named like the micrograph.

    Raises
    ------
    InputError
        If the micrograph is grey, a shape differs, or a layer number is negative.
    """
    number, level, bare = _checked(micrograph, layers, background)
    regions, layer_of = _regions(number, None if instances is None else np.asarray(instances))
    usable = (level < _SATURATED).all(axis=2)
    if micrograph.excluded is not None:
        usable &= ~micrograph.excluded
    inner = (regions * (_core(regions, rim_px) & usable)).ravel()
    count = np.bincount(inner, minlength=len(layer_of))
    marked = np.flatnonzero((inner > 0) & (count >= min_region_px)[inner])
    free = np.flatnonzero(((regions == 0) & _core(regions, 2 * rim_px) & usable).ravel())
    drawn = np.random.default_rng(seed).choice(free, min(n_background, len(free)), replace=False)
    at = np.concatenate([np.sort(drawn), marked])
    curve = tone or tone_curve("linear")
    light, substrate = (curve.decode(v.reshape(-1, 3)[at]) for v in (level, bare))
    contrast = light / np.maximum(substrate, 1e-6) - 1
    notes = _too_small(micrograph.name, layer_of, count, min_region_px)
    region = inner[at].astype(np.int64)
    group, name = np.zeros(len(at), np.int64), (micrograph.name,)
    return Samples(contrast, np.zeros_like(contrast), layer_of[region], group, region, name, notes)


def clean_samples(samples: Samples, *, seed: int = 0) -> Samples:
    """Drop pixels that look like another class or like none.

    At most 5000 pixels per class are kept. A pixel goes if most of its 25 nearest neighbours in
    standardised contrast are of another class, or if it lies outside 99.9 % of its class by a
    robust Gaussian. A label is never changed, and a class of which more than half would go stays
    whole, with a note. Classes with fewer than 100 samples, such
    as labelled regions, stay as they are.
    """
    sampled = _thinned(samples, np.random.default_rng(seed))
    if not len(sampled):
        return sampled
    scale = np.maximum(sampled.contrast.std(axis=0), 1e-6)
    z = (sampled.contrast - sampled.contrast.mean(axis=0)) / scale
    notes = list(sampled.notes)
    agrees = _agrees_with_neighbours(z, sampled.layers)
    keep = np.ones(len(sampled), bool)
    for layer in np.unique(sampled.layers):
        mine = np.flatnonzero(sampled.layers == layer)
        if len(mine) < 4 * _NEIGHBOURS:
            continue
        fine = agrees[mine] & _typical(z[mine])
        if fine.mean() >= _KEEP_AT_LEAST:
            keep[mine] = fine
        else:
            notes.append(
                f"{layer} layers: {np.mean(~fine):.0%} of the pixels look like another class or "
                "none, kept; check these labels and the substrate level"
            )
    return replace(sampled.take(np.flatnonzero(keep)), notes=tuple(notes))


def _checked(
    micrograph: Micrograph, layers: npt.ArrayLike, background: npt.ArrayLike
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Layer numbers (H, W), levels and substrate levels (H, W, 3)."""
    if micrograph.data.ndim != 3:
        raise InputError(f"{micrograph.name} is grey: layer heads need RGB")
    number, bare = np.asarray(layers), np.asarray(background, float)
    if number.shape != micrograph.shape or not np.issubdtype(number.dtype, np.integer):
        raise InputError(
            f"{micrograph.name}: layer mask {number.dtype} {number.shape}, expected integers "
            f"{micrograph.shape}"
        )
    if number.min() < 0 or number.max() > MOST_LAYERS:
        raise InputError(f"{micrograph.name}: layer mask, expected values 0 to {MOST_LAYERS}")
    if bare.shape not in ((3,), micrograph.data.shape):
        raise InputError(
            f"{micrograph.name}: background {bare.shape}, expected (3,) or {micrograph.data.shape}"
        )
    level = np.asarray(micrograph.data / micrograph.white_level, float)
    return number.astype(np.int64), level, np.broadcast_to(bare, level.shape)


def _regions(
    number: IntArray, instances: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[np.int32], IntArray]:
    """Region per pixel, 0 where unmarked, and the layer number of each region."""
    out, layer_of = np.zeros(number.shape, np.int32), [0]
    if instances is not None and instances.shape != number.shape:
        raise InputError(f"instances {instances.shape}, expected {number.shape}")
    for value in np.unique(number[number > 0]).tolist():
        mine = number == value
        if instances is None:
            _, parts = cv2.connectedComponents(mine.astype(np.uint8), connectivity=8)
            parts_of_mine = parts[mine] - 1
        else:
            parts_of_mine = np.unique(instances[mine], return_inverse=True)[1]
        out[mine] = parts_of_mine + len(layer_of)
        layer_of += [value] * (int(parts_of_mine.max()) + 1)
    return out, np.array(layer_of, np.int64)


def _too_small(name: str, layer_of: IntArray, count: IntArray, least: int) -> tuple[str, ...]:
    """One line per region that has fewer than `least` pixels inside its rim."""
    return tuple(
        f"{name}: region {i} ({layer_of[i]} layers) has {count[i]} px inside its rim, under "
        f"{least}: not used"
        for i in range(1, len(layer_of))
        if count[i] < least
    )


def _core(regions: npt.NDArray[np.int32], rim_px: int) -> BoolArray:
    """Pixels with no pixel of another region within `rim_px`; one pass for all regions."""
    if rim_px <= 0:
        return np.ones(regions.shape, bool)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim_px + 1, 2 * rim_px + 1))
    value = regions.astype(np.float32)  # exact up to 16 million regions
    return np.asarray(cv2.erode(value, disk) == cv2.dilate(value, disk))


def _thinned(samples: Samples, rng: np.random.Generator) -> Samples:
    """At most `_MOST_PIXELS` per class, every region still there."""
    chosen = []
    for layer in np.unique(samples.layers):
        mine = np.flatnonzero(samples.layers == layer)
        if len(mine) > _MOST_PIXELS:
            _, first = np.unique(samples.region[mine], return_index=True)
            mine = np.union1d(rng.choice(mine, _MOST_PIXELS, replace=False), mine[first])
        chosen.append(mine)
    return samples.take(np.sort(np.concatenate(chosen))) if chosen else samples


def _agrees_with_neighbours(z: FloatArray, layers: IntArray) -> BoolArray:
    """Whether at least half of the 25 nearest neighbours wear the same label."""
    from scipy.spatial import cKDTree

    k = min(_NEIGHBOURS + 1, len(z))
    _, near = cKDTree(z).query(z, k)
    same = layers[near.reshape(len(z), k)] == layers[:, None]
    return np.asarray((same.sum(axis=1) - 1) * 2 >= k - 1)


def _typical(z: FloatArray) -> BoolArray:
    """Inside 99.9 % of a Gaussian fitted to the inner half of the points (three C-steps)."""
    distance2 = (((z - np.median(z, axis=0)) / (np.std(z, axis=0) + 1e-9)) ** 2).sum(axis=1)
    for _ in range(3):
        inner = z[distance2 <= np.median(distance2)]
        centred = z - inner.mean(axis=0)
        covariance = np.cov(inner.T) + 1e-9 * np.eye(3)
        distance2 = np.einsum("ni,ni->n", centred @ np.linalg.inv(covariance), centred)
        distance2 *= 2.366 / np.median(distance2)  # median of chi-squared, 3 degrees of freedom
    return np.asarray(distance2 <= _TRIM_DISTANCE2)
