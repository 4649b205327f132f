"""What the flake networks learn to draw, at half the resolution of the picture.

Foreground: the pixel belongs to a terrace. Boundary: two terraces meet within a pixel. Depth:
distance to the terrace's border over the largest of that terrace, so that a splinter and a sheet
both reach 1 and every terrace has a summit to grow from.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks

FloatMaps = npt.NDArray[np.float32]
IGNORED = 2.0
"""Foreground of pixels that teach nothing."""


def depth_of(masks: CropMasks) -> npt.NDArray[np.uint8]:
    """Distance to each mask's own border over the largest of that mask, times 255."""
    out = np.zeros(masks.shape, np.uint8)
    for where, crop in masks:
        inside = np.pad(crop.astype(np.uint8), 1)
        deep = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
        out[where][crop] = np.rint(deep[crop] * (255 / deep.max()))
    return out


def meeting(terraces: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Pixels within one of which there are two terraces or more."""
    box = np.ones((3, 3), np.uint8)
    none = np.uint16(np.iinfo(np.uint16).max)
    highest = cv2.dilate(terraces, box)
    lowest = cv2.erode(np.where(terraces == 0, none, terraces), box)
    return np.asarray((highest != lowest) & (lowest != none))


def targets_of(
    terraces: npt.NDArray[np.uint16],
    depth: npt.NDArray[np.uint8],
    ignored: npt.NDArray[np.uint8],
) -> FloatMaps:
    """Return the maps that the network should draw of one patch.

    Parameters
    ----------
    terraces : ndarray of uint16, (H, W)
        Number of the terrace, 0 elsewhere; H and W even.
    depth : ndarray of uint8, (H, W)
        See `depth_of`.
    ignored : ndarray of uint8, (H, W)
        1 where nobody knows.

    Returns
    -------
    ndarray of float32, (3, H / 2, W / 2)
        Foreground (0, 1 or `IGNORED`), boundary (0 or 1) and depth (0 to 1).
    """
    height, width = terraces.shape
    size = (width // 2, height // 2)
    small = cv2.resize(terraces, size, interpolation=cv2.INTER_NEAREST)
    unknown = cv2.resize(ignored, size, interpolation=cv2.INTER_NEAREST) > 0
    deep = cv2.resize(depth, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    foreground = np.where(unknown, IGNORED, small > 0)
    return np.stack([foreground, meeting(small), deep * (small > 0)]).astype(np.float32)
