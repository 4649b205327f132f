"""Rims moved to half height: where a blurred edge really lies.

The outline that a ranker likes best is the one that people would draw, and they draw outside of the
blur. Blur by a symmetric point spread leaves the level halfway between both sides of a straight
edge where the edge is.
"""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray
from layerscope.ops.outlines import Chain, Grey, Outlines

_SMOOTHING_PX = 1.0
_BAND_SHARE, _BAND_PX = 0.12, (2, 5)
_ALIKE = 0.5


def with_true_rims(outlines: Outlines, grey: Grey) -> Outlines:
    """Move each rim, by a few pixels at most, to the level halfway between its two sides.

    Parameters
    ----------
    outlines : Outlines
    grey : ndarray of float32, (H, W)

    Returns
    -------
    Outlines
        As many; one whose rim would break up stays as it was.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), _SMOOTHING_PX, borderType=cv2.BORDER_REFLECT)
    masks = outlines.masks((grey.shape[0], grey.shape[1]))
    moved = [
        _moved(np.asarray(smooth), where, crop, int(sign))
        for (where, crop), sign in zip(masks, outlines.polarity, strict=True)
    ]
    chains = [old if new is None else new for old, new in zip(outlines.chains, moved, strict=True)]
    return Outlines.of(chains, outlines.polarity)


def _moved(smooth: Grey, where: tuple[slice, slice], crop: BoolArray, sign: int) -> Chain | None:
    """Rim of one body at half height, or None where there is none near."""
    wide = int(np.clip(round(_BAND_SHARE * np.sqrt(crop.sum())), *_BAND_PX))
    (rows, columns), (height, width) = where, smooth.shape
    top, left = max(rows.start - 2 * wide, 0), max(columns.start - 2 * wide, 0)
    bottom, right = min(rows.stop + 2 * wide, height), min(columns.stop + 2 * wide, width)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = crop
    values = smooth[top:bottom, left:right]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wide + 1, 2 * wide + 1))
    # The picture's border is no rim: erosion must not eat in from there.
    core = cv2.erode(mask, disc, borderValue=1).view(bool)
    near = cv2.dilate(mask, disc)
    far = cv2.dilate(near, disc).view(bool) & ~near.view(bool)
    inner = core & ~cv2.erode(core.view(np.uint8), disc, borderValue=1).view(bool)
    if not inner.any() or not far.any():
        return None
    level = (np.median(values[inner]) + np.median(values[far])) / 2
    body = core | (near.view(bool) & (sign * (values - level) > 0))
    return _largest(body, mask.view(bool), (top, left))


def _largest(body: BoolArray, mask: BoolArray, corner: tuple[int, int]) -> Chain | None:
    opened = cv2.morphologyEx(body.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    rimmed = cv2.copyMakeBorder(opened, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    found, _ = cv2.findContours(
        rimmed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )  # fmt: skip
    if not found:
        return None
    chain = max(found, key=cv2.contourArea)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, [chain], -1, 1, cv2.FILLED)
    both = np.count_nonzero(filled.view(bool) & mask)
    if len(chain) < 8 or both < _ALIKE * np.count_nonzero(filled.view(bool) | mask):
        return None
    return np.asarray(chain + np.array([corner[1], corner[0]]), np.int32)
