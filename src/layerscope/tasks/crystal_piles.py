"""What each crystal is made of, at a glance: material and layers of those of one colour.

`tasks.lateral` cuts crystals into cores, shells and second layers, 10 ms for each. Here a crystal
that has more than one colour is only known to have it. On six synthetic images of two cameras
(MoS2, WS2, MoSe2 under 50x on 285 nm of oxide, seeds 40 to 42) 53 of 81 crystals were told, all
right; 14 had several colours, four of these only shading.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray, RegionSignal
from layerscope.ops.optical import Background
from layerscope.physics.sheets import Sheets, tell_sheets
from layerscope.tasks.crystal_colours import two_colours
from layerscope.tasks.flakes import three_channels
from layerscope.tasks.lateral import Setup

_RIM = np.ones((7, 7), np.uint8)
"""Within 3 px of the outline no colour is read: the optics' blur."""

_FEWEST_PX, _MOST_PX = 60, 1000


@dataclass(frozen=True, eq=False)
class Piles:
    """What each of n crystals is made of.

    Attributes
    ----------
    sheets : tuple of (Sheets or None)
        None: not told.
    probability : ndarray, (n,)
        Of the pile that is told; 0 where none is.
    several : ndarray of bool, (n,)
        Crystals of more than one colour: core and shell, or a second layer.
    """

    sheets: tuple[Sheets | None, ...]
    probability: FloatArray
    several: BoolArray


def tell_piles(
    micrograph: Micrograph, masks: CropMasks, background: Background, setup: Setup
) -> Piles:
    """Tell which pile of sheets each crystal of an image is, all of them together.

    Parameters
    ----------
    micrograph : Micrograph
        Optical; grey or RGB, any bit depth.
    masks : CropMasks
        Of n crystals.
    background : Background
        Bare substrate.
    setup : Setup
        Materials that may be there, and the substrate.

    Returns
    -------
    Piles
    """
    seen = [_pixels_of(micrograph, background, where, crop) for where, crop in masks]
    several = np.array([two_colours(rows) is not None for rows in seen], bool)
    enough = np.array([len(rows) >= _FEWEST_PX for rows in seen], bool)
    told = np.flatnonzero(enough & ~several)
    sheets: list[Sheets | None] = [None] * len(masks)
    probability = np.zeros(len(masks))
    if len(told):
        colour = np.stack([np.median(seen[i], axis=0) for i in told]).astype(float)
        signal = _signal(colour, background.level, masks.area_px[told])
        weight = np.sqrt(masks.area_px[told].astype(float))
        answer = tell_sheets(signal, weight, setup.piles, setup.stack, na=setup.na)
        for i, pile, chance in zip(told, answer.answer, answer.probability, strict=True):
            if pile >= 0:
                sheets[i], probability[i] = answer.piles[pile], chance[pile]
    return Piles(tuple(sheets), probability, several)


def _pixels_of(
    micrograph: Micrograph, background: Background, where: tuple[slice, slice], crop: BoolArray
) -> npt.NDArray[np.float32]:
    """Contrast (m, 3) of pixels inside a crystal, evenly picked from all, noise taken out."""
    rimmed = cv2.copyMakeBorder(crop.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inner = np.flatnonzero(cv2.erode(rimmed, _RIM)[1:-1, 1:-1])
    inner = inner[:: max(1, -(-len(inner) // _MOST_PX))]
    data = three_channels(np.ascontiguousarray(micrograph.data[where]))
    quiet = cv2.medianBlur(data, 5).reshape(-1, 3)[inner]
    level = quiet.astype(np.float32) / np.float32(micrograph.white_level)
    rows, columns = np.divmod(inner, crop.shape[1])
    (height, width), (down, across) = micrograph.shape, background.surface.shape[:2]
    # Bare substrate is even: that of the pixel's own cell will do.
    y = (rows + where[0].start) * down // height
    x = (columns + where[1].start) * across // width
    return np.asarray(level / np.maximum(background.surface[y, x], 1e-3) - 1, np.float32)


def _signal(colour: FloatArray, level: FloatArray, area_px: IntArray) -> RegionSignal:
    """Signal of crystals (n,), as they were on substrate of the level at the image's centre."""
    n, nothing = len(colour), np.zeros((len(colour), 3))
    bare = np.tile(level, (n, 1))
    return RegionSignal(
        bare * (1 + colour), nothing, bare, nothing, nothing, area_px, np.ones(n), np.zeros(n)
    )  # fmt: skip
