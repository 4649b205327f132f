"""Maps smoothed along the borders of the image that they are of."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.ops.channels import FloatImage

_EDGE = 0.05
"""Variance of the image, whose own is 1, above which a border is kept: 0.05 and 0.3 give the same
mean IoU within 0.002 on synthetic TEM images and on HRTEM images of graphene."""


def guided_maps(maps: FloatImage, image: FloatImage, radius_px: int) -> FloatImage:
    """Smooth probabilities where the image is even, and not across its borders.

    The guided filter of He, Sun and Tang, IEEE TPAMI 35, 1397 (2013), with the mean of the channels
    as its guide, brought to mean 0 and deviation 1.

    Parameters
    ----------
    maps : ndarray of float32, (H, W, K)
        Probabilities, rows adding to one.
    image : ndarray of float32, (H, W, C)
    radius_px : int
        Half the side of its windows, 0: nothing is changed.

    Returns
    -------
    ndarray of float32, (H, W, K)
        From 0 to 1, rows adding to one.
    """
    if radius_px == 0:
        return maps
    guide = image.mean(axis=2)
    guide = np.asarray((guide - guide.mean()) / max(float(guide.std()), 1e-6), np.float32)
    mean = _box(guide, radius_px)
    spread = np.maximum(_box(guide**2, radius_px) - mean**2, 0) + np.float32(_EDGE)
    out = np.empty_like(maps)
    for k in range(maps.shape[2]):
        plane = np.ascontiguousarray(maps[..., k])
        level = _box(plane, radius_px)
        slope = (_box(guide * plane, radius_px) - mean * level) / spread
        out[..., k] = _box(slope, radius_px) * guide + _box(level - slope * mean, radius_px)
    np.clip(out, 1e-6, 1, out=out)
    return np.asarray(out / out.sum(axis=2, keepdims=True), np.float32)


def _box(plane: FloatImage, radius_px: int) -> FloatImage:
    side = 2 * radius_px + 1
    blurred = cv2.boxFilter(plane, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)
