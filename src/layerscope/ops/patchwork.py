"""Bare substrate of a mosaic: stitched fields, each with its own light.

The colour of the substrate is chosen once, on the whole mosaic. Its level is fitted in overlapping
blocks of about one field, as in a single image, and blended: one polynomial cannot follow the
vignetting of a hundred fields. The blocks lie on a grid of the mosaic, so the answer at a pixel
does not depend on how the mosaic is tiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.optical import Background, background_of

CELL_PX = 8
"""Side of a cell in full-resolution pixels: what a field of 1920 x 1200 px is fitted on."""

_BLOCK = 256
_OVERLAP = 64
_COARSE = 8
_EDGE = 0.02
"""Weight of the whole mosaic's coarse surface, all that remains where a block has no bare cells."""


def cells_of(levels: FloatImage, cell: int) -> FloatImage:
    """Mean levels of `cell` x `cell` px; cells that the border cuts repeat its last pixels."""
    rest = [-n % cell for n in levels.shape[:2]]
    if any(rest):
        levels = cv2.copyMakeBorder(levels, 0, rest[0], 0, rest[1], cv2.BORDER_REPLICATE)
    size = (levels.shape[1] // cell, levels.shape[0] // cell)
    return np.asarray(cv2.resize(levels, size, interpolation=cv2.INTER_AREA))


def surface_at(
    surface: FloatImage, cell: int, top: int, left: int, bottom: int, right: int
) -> FloatImage:
    """Surface (rows, columns, 3) at the pixels of a window, as interpolated on the whole mosaic.

    Parameters
    ----------
    surface : ndarray of float32, (h, w, 3)
        One value per cell.
    cell : int
        Side of a cell in pixels, a power of two: the weights are then exact in any window.
    top, left, bottom, right : int
        Window in pixels.
    """
    y0, x0 = max(0, top // cell - 1), max(0, left // cell - 1)
    nodes = surface[y0 : -(-bottom // cell) + 1, x0 : -(-right // cell) + 1]
    size = (nodes.shape[1] * cell, nodes.shape[0] * cell)
    fine = cv2.resize(nodes, size, interpolation=cv2.INTER_LINEAR) if cell > 1 else nodes
    return fine[top - y0 * cell : bottom - y0 * cell, left - x0 * cell : right - x0 * cell].copy()


def fit_mosaic(
    cells: FloatImage, valid: BoolArray, substrate_level: npt.ArrayLike | None = None
) -> Background:
    """Background of a mosaic, with one surface value per cell.

    Parameters
    ----------
    cells : ndarray of float32, (h, w, 3)
        Mean levels (0 to 255) of cells of `CELL_PX`.
    valid : ndarray of bool, (h, w)
        False where there is no picture.
    substrate_level : array_like, (3,), optional
        Fraction of white, RGB, where known.

    Returns
    -------
    Background
        Its noise is that of cells, not of pixels.
    """
    if cells.shape[0] <= _BLOCK and cells.shape[1] <= _BLOCK:
        return background_of(cells, _mask(valid), substrate_level)
    size = tuple(max(1, n // _COARSE) for n in cells.shape[1::-1])
    coarse = cv2.resize(cells, size, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(_mask(valid), size, interpolation=cv2.INTER_AREA) == 255
    whole = background_of(coarse, _mask(seen), substrate_level)
    total = cv2.resize(whole.surface, cells.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    total *= np.float32(_EDGE)
    mass = np.full(cells.shape[:2], _EDGE, np.float32)
    errors = []
    rough = whole.at(coarse.shape[:2])
    for part in _blocks(cells.shape[:2]):
        near = rough[tuple(slice(s.start // _COARSE, s.stop // _COARSE) for s in part)]
        level = np.clip(near.mean(axis=(0, 1)), 0, 1)
        fitted = background_of(cells[part], _mask(valid[part]), level)
        if fitted.confident:
            weight = _ramps(part, cells.shape[:2])
            total[part] += weight[..., None] * fitted.at(valid[part].shape)
            mass[part] += weight
            errors.append(fitted.surface_se)
    total /= mass[..., None]
    error = np.median(errors or [whole.surface_se], axis=0)
    return replace(whole, surface=total, surface_se=error)


def _mask(valid: BoolArray) -> npt.NDArray[np.uint8]:
    return np.where(valid, 255, 0).astype(np.uint8)


def _spans(length: int) -> Sequence[slice]:
    """Overlapping pieces of at most `_BLOCK`, of nearly equal length."""
    count = max(1, -(-(length - _OVERLAP) // (_BLOCK - _OVERLAP)))
    starts = [k * (length - _OVERLAP) // count for k in range(count + 1)]
    return [slice(a, b + _OVERLAP) for a, b in pairwise(starts)]


def _blocks(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    for rows in _spans(shape[0]):
        for columns in _spans(shape[1]):
            yield rows, columns


def _ramps(part: tuple[slice, slice], shape: tuple[int, int]) -> FloatImage:
    """Weight of a block: 1 inside, falling over the overlap to the neighbours."""
    axes = []
    for span, length in zip(part, shape, strict=True):
        n = span.stop - span.start
        rise = (np.arange(n, dtype=np.float32) + 0.5) / _OVERLAP
        up = rise if span.start > 0 else np.ones_like(rise)
        down = rise[::-1] if span.stop < length else np.ones_like(rise)
        axes.append(np.minimum(np.minimum(up, down), 1))
    return np.asarray(axes[0][:, None] * axes[1][None], np.float32)
