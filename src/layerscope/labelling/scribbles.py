"""Sparse labels of pixels: uint8 (H, W), 0 where nobody said anything, 1 to K the class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError

Labels = npt.NDArray[np.uint8]

UNSAID = 0
"""Value of a pixel that nobody said anything about."""

ERASER = 255
"""Value of a painted patch that takes back what was said before."""

MOST_CLASSES = 254


def check_scribbles(labels: npt.NDArray[np.generic], classes: int) -> Labels:
    """Refuse labels that are no scribbles of so many classes.

    Parameters
    ----------
    labels : ndarray of uint8, (H, W)
    classes : int

    Raises
    ------
    InputError
        For another type or shape, or a value above `classes`.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise InputError(f"scribbles are uint8 (H, W), got {labels.dtype} {labels.shape}")
    highest = int(labels.max(initial=0))
    if highest > classes:
        raise InputError(f"scribbles up to {highest} for {classes} classes; 0 is for 'not said'")
    return labels.view(np.uint8)


def paint(
    labels: Labels, patch: Labels, top: int, left: int, *, classes: int = MOST_CLASSES
) -> Labels:
    """Put a painted patch onto labels.

    Parameters
    ----------
    labels : ndarray of uint8, (H, W)
    patch : ndarray of uint8, (h, w)
        0 leaves what is there, `ERASER` takes it back, others replace it.
    top, left : int
        Where the patch begins; what lies outside of the image is cut off.
    classes : int

    Returns
    -------
    ndarray of uint8, (H, W)
        New labels.

    Raises
    ------
    InputError
        For another type, or a class above `classes`.
    """
    if patch.dtype != np.uint8 or patch.ndim != 2:
        raise InputError(f"a painted patch is uint8 (h, w), got {patch.dtype} {patch.shape}")
    if np.any((patch > classes) & (patch != ERASER)):
        raise InputError(f"a patch with other values than 0 to {classes} and {ERASER}")
    height, width = labels.shape
    first, start = max(0, -top), max(0, -left)
    kept = patch[first : max(first, height - top), start : max(start, width - left)]
    painted = labels.copy()
    rows = slice(top + first, top + first + kept.shape[0])
    here = painted[rows, left + start : left + start + kept.shape[1]]
    here[kept != UNSAID] = kept[kept != UNSAID]
    here[kept == ERASER] = UNSAID
    return painted


def count_labels(scribbles: Sequence[Labels], classes: int) -> npt.NDArray[np.int64]:
    """Pixels that were said to be of each class, (classes,), over all images."""
    total = np.zeros(classes + 1, np.int64)
    for labels in scribbles:
        total += np.bincount(labels.ravel(), minlength=classes + 1)
    return total[1:]
