"""How much objects overlap: intersection over union of masks and of boxes."""

from __future__ import annotations

import numpy as np

from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError


def mask_iou(found: CropMasks, marked: CropMasks, crowd: BoolArray | None = None) -> FloatArray:
    """Intersection over union of every found mask with every marked one.

    Only pairs whose boxes meet are looked at, and only where they meet.

    Parameters
    ----------
    found, marked : CropMasks
        Of one image, n and m masks.
    crowd : ndarray of bool, (m,), optional
        For these the divisor is the found mask's own area, as COCO has it.

    Returns
    -------
    ndarray, (n, m)

    Raises
    ------
    InputError
        If the masks are of images of different size.
    """
    if found.shape != marked.shape:
        raise InputError(f"masks on {found.shape} and on {marked.shape}: expected one image")
    common = np.zeros((len(found), len(marked)))
    meet = _corners(found.boxes, marked.boxes)
    for i, j in np.argwhere(_extent(meet).all(axis=-1)).tolist():
        common[i, j] = _common_px(found, marked, i, j, meet[i, j].tolist())
    return _ratio(common, found.area_px, marked.area_px, crowd)


def box_iou(found: IntArray, marked: IntArray, crowd: BoolArray | None = None) -> FloatArray:
    """Intersection over union of boxes (n, 4) and (m, 4), top, left, bottom, right; see `mask_iou`.

    Raises
    ------
    InputError
        If boxes have not four numbers.
    """
    if found.shape[1:] != (4,) or marked.shape[1:] != (4,):
        raise InputError(f"boxes of {found.shape} and {marked.shape}: expected (n, 4) and (m, 4)")
    common = _extent(_corners(found, marked)).prod(axis=-1)
    return _ratio(common, box_area(found), box_area(marked), crowd)


def box_area(boxes: IntArray) -> IntArray:
    """Pixels of boxes (n, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _corners(a: IntArray, b: IntArray) -> IntArray:
    """Box that each pair has in common, (n, m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.concatenate([low, high], axis=-1)


def _extent(boxes: IntArray) -> IntArray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0)


def _common_px(a: CropMasks, b: CropMasks, i: int, j: int, box: list[int]) -> int:
    top, left, bottom, right = box
    (y, x), (v, u) = a.boxes[i, :2], b.boxes[j, :2]
    one = a.crops[i][top - y : bottom - y, left - x : right - x]
    other = b.crops[j][top - v : bottom - v, left - u : right - u]
    return int(np.count_nonzero(one & other))


def _ratio(
    common: FloatArray | IntArray, found: IntArray, marked: IntArray, crowd: BoolArray | None
) -> FloatArray:
    union = found[:, None] + marked[None, :] - common
    if crowd is not None:
        union = np.where(crowd[None, :], found[:, None], union)
    return np.asarray(common / np.maximum(union, 1), float)
