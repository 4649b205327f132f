"""From probabilities or labels to clean masks: thresholds, resize, void fill, opening, overlap.

Masks are bool (H, W, K); void pixels belong to no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError

Probability = npt.NDArray[np.float32]


def masks_above(
    probability: Probability, thresholds: Sequence[float], *, overlapping: bool
) -> BoolArray:
    """Mask of each class where its probability reaches its threshold.

    Parameters
    ----------
    probability : ndarray, (H, W, K)
    thresholds : sequence of float
        One per class.
    overlapping : bool
        Otherwise a pixel that reaches several thresholds is of the most probable of these classes.
    """
    above = np.asarray(probability >= np.asarray(thresholds, np.float32))
    if overlapping or probability.shape[2] < 2:
        return above
    best = np.where(above, probability, -1).argmax(axis=2)
    return np.asarray(above & (best[..., None] == np.arange(probability.shape[2])))


def resize_masks(masks: BoolArray, shape: tuple[int, int]) -> BoolArray:
    """Nearest-neighbour: every pixel is of the class that lies at its centre, none is mixed."""
    if masks.shape[:2] == shape:
        return masks
    rows, columns = (_nearest(n, m) for n, m in zip(masks.shape[:2], shape, strict=True))
    return masks[rows[:, None], columns]


def _nearest(old: int, new: int) -> npt.NDArray[np.int64]:
    """Pixel of `old` that holds the centre of each of `new` pixels."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


@dataclass(frozen=True, eq=False)
class Filled:
    """Masks without voids, and how many pixels each class was given."""

    masks: BoolArray
    added: npt.NDArray[np.int64]


def fill_voids(masks: BoolArray, within_px: float = np.inf) -> Filled:
    """Give each void pixel to the class of the nearest labelled one, by Euclidean distance.

    Parameters
    ----------
    masks : ndarray of bool, (H, W, K)
        Of classes that exclude each other.
    within_px : float
        Pixels farther from any label stay void.

    Returns
    -------
    Filled
        Of equally near classes any may win, always the same.
    """
    from scipy import ndimage

    void = np.asarray(~masks.any(axis=2))
    if not void.any() or void.all():
        return Filled(masks, np.zeros(masks.shape[2], np.int64))
    distance, near = ndimage.distance_transform_edt(void, return_indices=True)
    out = masks.copy()
    taken = void & (distance <= within_px)
    out[taken] = masks[near[0][taken], near[1][taken]]
    return Filled(out, np.count_nonzero(out & void[..., None], axis=(0, 1)))


def open_mask(mask: BoolArray, radius_px: int) -> BoolArray:
    """Morphological opening by a disc: what no disc of this radius fits into goes.

    The picture goes on as it ends: an object cut by the border loses nothing there.
    """
    if radius_px < 1:
        return mask
    reach = np.arange(-radius_px, radius_px + 1)
    disc = (reach[:, None] ** 2 + reach**2 <= radius_px**2).astype(np.uint8)
    wide = 2 * radius_px
    padded = np.pad(mask.astype(np.uint8), wide, mode="edge")
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)
    return np.asarray(opened[wide:-wide, wide:-wide] > 0)


def open_class(masks: BoolArray, index: int, radius_px: int, *, exclusive: bool) -> BoolArray:
    """Open one class; of classes that exclude each other the nearest other one gets the rest.

    Where there is no other class, the pixels become void.
    """
    opened = open_mask(masks[..., index], radius_px)
    lost = masks[..., index] & ~opened
    if not lost.any():
        return masks
    out = masks.copy()
    out[..., index] = opened
    if not exclusive:
        return out
    others = out.copy()
    others[..., index] = False
    filled = fill_voids(others).masks
    out[lost] = filled[lost]
    return out


def check_overlap(
    masks: BoolArray, classes: Sequence[str], allowed: Sequence[frozenset[str]]
) -> None:
    """Refuse masks of which two overlap that must not.

    Parameters
    ----------
    masks : ndarray of bool, (H, W, K)
    classes : sequence of str
    allowed : sequence of set of str
        Pairs of classes that one pixel may have both of.

    Raises
    ------
    InputError
        Naming the pair and the number of pixels.
    """
    for i, one in enumerate(classes):
        for j in range(i + 1, len(classes)):
            both = int(np.count_nonzero(masks[..., i] & masks[..., j]))
            if both and frozenset((one, classes[j])) not in allowed:
                raise InputError(
                    f"{both} pixels are both {one} and {classes[j]}; correct the masks, or allow "
                    f"it with --both {one}+{classes[j]}"
                )
