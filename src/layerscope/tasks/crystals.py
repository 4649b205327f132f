"""Grown crystals of an optical micrograph: each whole, with its shape; touching ones parted.

The flake finder sees terraces: a lateral heterostructure is two, a crystal with a second layer two
more. Together they are a film on the substrate, and a film's crystals are found as those of a
height map are (`measure.domains`): islands, parted where corners between them say so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, Detections, Flag, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.crystal_parts import film_domains
from layerscope.measure.crystal_shapes import Shapes, classify_shapes
from layerscope.measure.domains import Domains
from layerscope.ops.optical import Background
from layerscope.ops.quieting import is_noisy, quieted, without_impulses
from layerscope.tasks.flakes import find_flakes, three_channels
from layerscope.tasks.noisy_crystals import find_noisy_crystals

_REACH_PX = 6
"""How far a crystal may go on beyond its terraces. On 20 synthetic images AP was 0.86 without and
is 0.94 with it, shapes right 0.90 and 0.97: under 20x a shell is 3 or 4 pixels wide."""

_BOX = np.ones((3, 3), np.uint8)
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))

_SMALLEST_NOISY_PX = 64
_NO_CRYSTAL = int(Flag.RESIDUE | Flag.OUT_OF_FOCUS)


@dataclass(frozen=True, eq=False)
class Crystals:
    """Crystals of one image, their shapes, and the terraces that they are made of.

    Attributes
    ----------
    domains : Domains
        One per crystal.
    shapes : Shapes
    terraces : Detections
        Regions of one colour.
    crystal : ndarray of int, (t,)
        1-based crystal of each terrace; 0: of none.
    background : Background
        Bare substrate.
    """

    domains: Domains
    shapes: Shapes
    terraces: Detections
    crystal: IntArray
    background: Background

    def __len__(self) -> int:
        return len(self.domains)


def find_crystals(
    micrograph: Micrograph, *, min_area_px: int = 150, split: bool = True
) -> Crystals:
    """Find the grown crystals of an image.

    Parameters
    ----------
    micrograph : Micrograph
        Optical; grey or RGB, any bit depth. `Micrograph.excluded` is left out.
    min_area_px : int
        Smallest crystal.
    split : bool
        Part crystals that touch; else every island is one.

    Returns
    -------
    Crystals

    Raises
    ------
    InputError
        If `min_area_px` is below 1.
    """
    if min_area_px < 1:
        raise InputError(f"min_area_px {min_area_px}: expected 1 or more")
    micrograph = without_impulses(micrograph)
    if is_noisy(micrograph):
        if min(micrograph.shape) >= _SMALLEST_NOISY_PX:
            return _in_noise(micrograph, min_area_px, split=split)
        micrograph = quieted(micrograph)
    found, background = find_flakes(micrograph, min_area_px=max(min_area_px // 3, 30))
    terraces = found[(found.flags & _NO_CRYSTAL) == 0]
    film = _film(micrograph, terraces, background, min_area_px)
    valid = np.ones(film.shape, bool) if micrograph.excluded is None else ~micrograph.excluded
    domains = film_domains(film, valid, min_area_px, split=split)
    crystal = _owners(domains, terraces)
    scored = replace(domains.detections, score=_scores(domains, terraces))
    domains = replace(domains, detections=scored)
    shapes = classify_shapes(domains.detections.masks, domains.cut)
    return Crystals(domains, shapes, terraces, crystal, background)


def _in_noise(micrograph: Micrograph, min_area_px: int, *, split: bool) -> Crystals:
    """Crystals of a noisy image: each is one terrace, as no part of one is seen by itself."""
    found = find_noisy_crystals(micrograph, min_area_px, split=split)
    own = np.arange(1, len(found.domains) + 1, dtype=np.int64)
    return Crystals(found.domains, found.shapes, found.domains.detections, own, found.background)


def _film(
    micrograph: Micrograph, terraces: Detections, background: Background, min_area_px: int
) -> BoolArray:
    """Terraces and what around them is as far off the substrate as half of them; holes closed.

    A narrow shell, or the blend of two colours, is flat nowhere and so is no terrace.
    """
    number = terraces.masks.labels().astype(np.int64)
    film = (number > 0).astype(np.uint8)
    near = _half_contrast(terraces, number)
    beside = ((near > 0) & (_off(micrograph, background) >= near)).astype(np.uint8)
    grown = film
    for _ in range(_REACH_PX):
        grown = grown | (cv2.dilate(grown, _BOX) & beside)
    film = film | cv2.morphologyEx(grown, cv2.MORPH_OPEN, _DISC)
    _, bare, stats, _ = cv2.connectedComponentsWithStats(1 - film, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < min_area_px // 3
    small[0] = False
    return np.asarray((film > 0) | small[bare])


def _half_contrast(terraces: Detections, number: IntArray) -> npt.NDArray[np.float32]:
    """Half the contrast of the terraces within `_REACH_PX` of each pixel (H, W); 0: none is."""
    contrast = np.linalg.norm(terraces.signal.level - terraces.signal.background, axis=1)
    own = np.concatenate([[0], contrast / 2]).astype(np.float32)[number]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _REACH_PX + 1,) * 2)
    return np.asarray(cv2.dilate(own, disc), np.float32)


def _off(micrograph: Micrograph, background: Background) -> npt.NDArray[np.float32]:
    """Distance of each pixel's colour (H, W) from bare substrate, in shares of white."""
    share = three_channels(micrograph.data) / np.float32(micrograph.white_level)
    return np.asarray(np.linalg.norm(share - background.at(micrograph.shape), axis=2), np.float32)


def _owners(domains: Domains, terraces: Detections) -> IntArray:
    """1-based crystal that holds most of each terrace, 0 if none holds half of it."""
    number = domains.detections.masks.labels()
    out = np.zeros(len(terraces), np.int64)
    for i, (where, crop) in enumerate(terraces.masks):
        held = np.bincount(number[where][crop], minlength=1)
        best = int(held.argmax())
        out[i] = best if 2 * held[best] > held.sum() else 0
    return out


def _scores(domains: Domains, terraces: Detections) -> FloatArray:
    """Mean score (n,) of the terraces within each crystal, by area; 0 without any.

    Of the terraces within, not of those that it owns: of two crystals that share one only one does.
    """
    number = terraces.masks.labels()
    score = np.concatenate([[0.0], terraces.score])
    out = np.zeros(len(domains))
    for i, (where, crop) in enumerate(domains.detections.masks):
        within = number[where][crop]
        out[i] = score[within].sum() / max(np.count_nonzero(within), 1)
    return out
