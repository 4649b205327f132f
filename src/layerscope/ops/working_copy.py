"""A small, clean copy of a picture of any size, and masks brought back from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray


@dataclass(frozen=True, eq=False)
class WorkingCopy:
    """What is left of a picture when unknown margins are cut and it is made small.

    Attributes
    ----------
    values : ndarray of float32, (h, w)
        Finite everywhere; unknown pixels hold the median of the known.
    valid : ndarray of bool, (h, w)
    box : tuple of int
        Top, left, bottom, right in the picture.
    shape : tuple of int
        Of the picture.
    """

    values: npt.NDArray[np.float32]
    valid: BoolArray
    box: tuple[int, int, int, int]
    shape: tuple[int, int]

    def full_size(self, mask: BoolArray) -> BoolArray:
        """Bring a mask (h, w) back to the picture's size, False outside of the box."""
        top, left, bottom, right = self.box
        size = (right - left, bottom - top)
        soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        out = np.zeros(self.shape, bool)
        out[top:bottom, left:right] = soft > 0.5
        return out


def make_working_copy(values: npt.NDArray[Any], valid: BoolArray, side_px: int) -> WorkingCopy:
    """Cut `values` (H, W) to its known pixels and shrink it to `side_px` on the long side.

    It is never enlarged. Unknown pixels do not leak: the copy is a weighted mean of known ones.
    `valid` must have a True.
    """
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    here = np.s_[box[0] : box[2], box[1] : box[3]]
    known = valid[here].astype(np.float32)
    filled = np.where(valid[here], values[here], 0).astype(np.float32)
    ratio = min(1.0, side_px / max(known.shape))
    size = tuple(max(1, round(n * ratio)) for n in known.shape[::-1])
    share, total = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (known, filled))
    seen = share > 0.5
    typical = np.float32(np.median(values[valid]))
    mean = np.where(seen, total / np.maximum(share, 0.5), typical)
    return WorkingCopy(mean.astype(np.float32), seen, box, valid.shape)
