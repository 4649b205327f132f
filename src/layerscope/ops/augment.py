"""Random patches of a labelled picture: moved, turned, recoloured, blurred and noisy.

The patch is cut out before anything is computed on it, so that the cost follows the patch and not
the picture. Labels are always sampled at the nearest pixel: no class appears that was not there.
Where a patch reaches beyond the picture, the image is mirrored and the labels are `IGNORE` (NaN
where they are float): nothing invented is learned.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.ops.augmentation import NO_AUGMENTATION, Augmentation
from layerscope.ops.recolour import FloatImage, blur, recolour

__all__ = [
    "NO_AUGMENTATION",
    "Augmentation",
    "FloatImage",
    "Labels",
    "augment",
    "foreground",
    "join_mosaic",
    "mirror",
    "paste_objects",
    "recolour",
    "take_patch",
]

Labels = npt.NDArray[Any]

# Bilinear sampling needs one pixel around; rounding of the corners another.
_MARGIN_PX = 2
# Below this scale neighbouring samples lie far enough apart to alias what lies between them.
_SMOOTH_BELOW = 0.8
_LEAST_COVER = 0.8


def augment(
    image: npt.NDArray[Any],
    labels: Labels,
    size_px: int,
    rng: np.random.Generator,
    augmentation: Augmentation = NO_AUGMENTATION,
    *,
    near: tuple[int, int] | None = None,
) -> tuple[FloatImage, Labels]:
    """Draw one patch.

    Parameters
    ----------
    image : ndarray, (H, W, C)
        float32 from 0 to 1, or uint8.
    labels : ndarray, (H, W) uint8, or (H, W, K) float32, or uint8 of masks that overlap
    size_px : int
        Side of the patch.
    rng : Generator
        The only source of chance.
    augmentation : Augmentation
        Its mosaic and paste, which need other patches, are done by `training.patches`.
    near : tuple of int, optional
        Row and column of a pixel that the patch shall hold, if patches of that size fit at all;
        default anywhere.

    Returns
    -------
    image : ndarray of float32, (S, S, C)
        From 0 to 1, if any colour, blur or noise was drawn.
    labels : ndarray, (S, S) or (S, S, K)
        The type of `labels`.

    Raises
    ------
    InputError
        If the shapes do not belong together.
    """
    if image.ndim != 3 or labels.shape[:2] != image.shape[:2] or 0 in image.shape:
        raise InputError(f"an image of {image.shape} with labels of {labels.shape}")
    if size_px < 1:
        raise InputError(f"patches of {size_px} px: expected 1 or more")
    scale = _draw_scale(augmentation.scale, size_px / min(image.shape[:2]), rng)
    turn = math.radians(rng.uniform(*augmentation.turn_degrees))
    centre = _draw_centre(image.shape[:2], size_px, scale, turn, rng, near)
    patch, moved = take_patch(image, labels, size_px, centre, scale, turn)
    if augmentation.flip:
        columns, rows = rng.random(2) < 0.5
        patch, moved = (mirror(p, columns=bool(columns), rows=bool(rows)) for p in (patch, moved))
    return recolour(patch, rng, augmentation), np.ascontiguousarray(moved)


def take_patch(
    image: npt.NDArray[Any],
    labels: Labels,
    size_px: int,
    centre: tuple[float, float],
    scale: float = 1.0,
    turn_rad: float = 0.0,
) -> tuple[FloatImage, Labels]:
    """Sample a square patch around a point of the picture.

    Parameters
    ----------
    image : ndarray, (H, W, C)
        uint8, or float32.
    labels : ndarray, (H, W) or (H, W, K)
    size_px : int
    centre : tuple of float
        Row and column, from the corner of the picture; the patch is centred there.
    scale : float
        Magnification.
    turn_rad : float
        Counter-clockwise turn of the content, as seen.

    Returns
    -------
    image, labels : ndarray
        float32 from 0 to 1, and the type of `labels`. Without scaling and turning, centred on a
        whole number of pixels, they are the pixels themselves.
    """
    matrix = _to_picture(size_px, centre, scale, turn_rad)
    box = _footprint(matrix, size_px, image.shape[:2])
    window = slice(box[0], box[2]), slice(box[1], box[3])
    inside = matrix - [[0, 0, box[1]], [0, 0, box[0]]]
    pixels = _as_float(_smoothed(image[window], scale))
    return (
        _warp(pixels, inside, size_px, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0.0),
        _warp_labels(np.ascontiguousarray(labels[window]), inside, size_px),
    )


def mirror(pixels: Labels, *, columns: bool, rows: bool) -> Labels:
    """Flip left-right and up-down; done twice it is undone."""
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


def join_mosaic(
    patches: list[tuple[FloatImage, Labels]], cut: tuple[int, int]
) -> tuple[FloatImage, Labels]:
    """Put one patch together of the corners of four, which meet at row and column `cut`."""
    (image, labels), (row, column) = patches[0], cut
    out, marked = image.copy(), labels.copy()
    corners = (
        (slice(None, row), slice(column, None)),
        (slice(row, None), slice(None, column)),
        (slice(row, None), slice(column, None)),
    )
    for where, (other, other_labels) in zip(corners, patches[1:], strict=True):
        out[where], marked[where] = other[where], other_labels[where]
    return out, marked


def paste_objects(
    patch: tuple[FloatImage, Labels], donor: tuple[FloatImage, Labels]
) -> tuple[FloatImage, Labels]:
    """Lay the objects of one patch over another.

    The pasted pixels are multiplied by the ratio of the two backgrounds, so that an object keeps
    its contrast to the substrate; without background in both patches nothing is pasted.

    Parameters
    ----------
    patch, donor : tuple of ndarray
        Image (S, S, C) and labels (S, S) uint8, or (S, S, K) float32 whose first channel is above
        0 on objects.
    """
    (image, labels), (other, other_labels) = patch, donor
    here, there = _class_of(labels) == 0, _class_of(other_labels)
    objects = (there > 0) & (there != IGNORE)
    if not (here.any() and objects.any() and (there == 0).any()):
        return patch
    gain = np.median(image[here], axis=0) / np.maximum(np.median(other[there == 0], axis=0), 1e-3)
    out, marked = image.copy(), labels.copy()
    out[objects] = np.clip(other[objects] * gain, 0, 1)
    marked[objects] = other_labels[objects]
    return out, marked


def foreground(labels: Labels) -> npt.NDArray[np.bool_]:
    """Pixels (H, W) of any object: a class above 0 that is not `IGNORE`."""
    classes = _class_of(labels)
    return np.asarray((classes > 0) & (classes != IGNORE))


def _class_of(labels: Labels) -> npt.NDArray[np.uint8]:
    """Map of labels: as they are; 1 where any of several masks is; of floats the first, above 0."""
    if labels.ndim == 2:
        return labels
    if labels.dtype == np.uint8:
        unknown = (labels == IGNORE).all(axis=2)
        return np.where(unknown, IGNORE, (labels == 1).any(axis=2)).astype(np.uint8)
    first = labels[..., 0]
    return np.where(np.isnan(first), IGNORE, first > 0).astype(np.uint8)


def _draw_scale(wanted: tuple[float, float], fitting: float, rng: np.random.Generator) -> float:
    """Magnification, not so small that most of the patch lies outside of the picture.

    At `fitting` the patch is as long as the picture's shorter side; at 0.8 of that 36 % of a square
    picture's patch is `IGNORE`, at 0.5 it would be 75 %.
    """
    low, high = wanted
    low = min(max(low, _LEAST_COVER * fitting), high)
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _draw_centre(
    shape: tuple[int, ...],
    size_px: int,
    scale: float,
    turn: float,
    rng: np.random.Generator,
    near: tuple[int, int] | None,
) -> tuple[float, float]:
    """Centre of a patch that lies in the picture, as far as that can be.

    A patch that does not fit is centred on the picture. To hold a pixel in a corner of it, a turned
    patch reaches beyond the picture no further than needed.
    """
    reach = size_px / (2 * scale) * (abs(math.cos(turn)) + abs(math.sin(turn)))
    # A pixel so near to the centre is in the patch, however it is turned.
    close = 0.45 * size_px / scale
    centre = []
    for side, wanted in zip(shape, near or (None, None), strict=True):
        low, high = reach, side - reach
        if low > high:
            low = high = side / 2
        elif wanted is not None:
            ends = wanted + 0.5 + np.array([-close, close]) / math.sqrt(2)
            low, high = np.clip(ends, low, high)
        centre.append(float(rng.uniform(low, high)))
    row, column = centre
    if near is not None and 2 * reach <= min(shape):
        row, column = _pulled((row, column), near, size_px / (2 * scale), turn)
    if scale == 1.0 and turn == 0.0:
        return _on_grid(row, size_px), _on_grid(column, size_px)
    return row, column


def _pulled(
    centre: tuple[float, float], near: tuple[int, int], half: float, turn: float
) -> tuple[float, float]:
    """Centre moved towards the pixel `near` until the patch holds it; most need no move."""
    down, right = near[0] + 0.5 - centre[0], near[1] + 0.5 - centre[1]
    cos, sin = math.cos(turn), math.sin(turn)
    if max(abs(cos * right + sin * down), abs(cos * down - sin * right)) <= half - 0.499:
        return centre
    kept = 0.9 * half / math.hypot(down, right)
    return near[0] + 0.5 - kept * down, near[1] + 0.5 - kept * right


def _on_grid(centre: float, size_px: int) -> float:
    """Nearest centre whose patch starts at a whole pixel."""
    return math.floor(centre - size_px / 2 + 0.5) + size_px / 2


def _to_picture(
    size_px: int, centre: tuple[float, float], scale: float, turn: float
) -> npt.NDArray[np.float64]:
    """Affine map from a pixel x, y of the patch to x, y of the picture, both at pixel centres."""
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    half = (size_px - 1) / 2
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = np.array([centre[1] - 0.5, centre[0] - 0.5]) - linear @ [half, half]
    return np.column_stack([linear, shift])


def _footprint(
    matrix: npt.NDArray[np.float64], size_px: int, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Window of the picture that the patch is sampled from: top, left, bottom, right."""
    last = size_px - 1
    corners = matrix @ [[0, last, 0, last], [0, 0, last, last], [1, 1, 1, 1]]
    low = np.floor(corners.min(axis=1)).astype(int) - _MARGIN_PX
    high = np.ceil(corners.max(axis=1)).astype(int) + _MARGIN_PX + 1
    left, top = np.clip(low, 0, [shape[1] - 1, shape[0] - 1])
    right, bottom = np.clip(high, [left + 1, top + 1], [shape[1], shape[0]])
    return int(top), int(left), int(bottom), int(right)


def _smoothed(window: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
    """Blur what will be shrunk, as a lens of lower magnification would.

    A Gaussian of ``0.5 sqrt(1 / scale^2 - 1)`` px brings the blur of a pixel (about 0.5 px) to that
    of the larger pixel.
    """
    if scale >= _SMOOTH_BELOW:
        return window
    return blur(np.ascontiguousarray(window), 0.5 * math.sqrt(1 / scale**2 - 1))


def _as_float(window: npt.NDArray[Any]) -> FloatImage:
    if window.dtype == np.uint8:
        return np.multiply(window, np.float32(1 / 255), dtype=np.float32)
    return np.ascontiguousarray(window, np.float32)


def _warp(
    pixels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    size_px: int,
    sampling: int,
    border: int,
    outside: float,
) -> npt.NDArray[Any]:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    # OpenCV fills and interpolates four channels at most.
    parts = [
        cv2.warpAffine(
            pixels[..., k : k + 4] if pixels.ndim == 3 else pixels,
            matrix,
            (size_px, size_px),
            flags=sampling | cv2.WARP_INVERSE_MAP,
            borderMode=border,
            borderValue=(outside,) * 4,
        ).reshape(size_px, size_px, -1)
        for k in range(0, channels, 4)
    ]
    out = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return out if pixels.ndim == 3 else out[..., 0]


def _warp_labels(labels: Labels, matrix: npt.NDArray[np.float64], size_px: int) -> Labels:
    outside = float(IGNORE) if labels.dtype == np.uint8 else math.nan
    return _warp(labels, matrix, size_px, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, outside)
