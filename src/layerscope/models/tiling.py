"""Large images through a network, window by window.

A network that looks no farther than `margin_px` gives the same numbers for a window as for the
whole image, if the window is that much larger than what is kept of it and starts at a multiple of
the network's stride. One that looks at the whole image (global pooling), or farther than a third
of a window, cannot: its windows overlap and are blended, and the answer is an approximation.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from layerscope.ops.channels import FloatImage
from layerscope.ops.tiles import plan_tiles

Ask = Callable[[FloatImage], FloatImage]
"""Maps (h, w, K) of a window (h, w, C), h and w multiples of the stride."""


def map_image(
    image: FloatImage, ask: Ask, *, stride: int, margin_px: int | None, tile_px: int
) -> FloatImage:
    """Ask a network about an image of any size.

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
        Normalised.
    ask : callable
    stride : int
        The image is mirrored at its right and lower end up to a multiple of it.
    margin_px : int, optional
        How far the network looks; None: everywhere.
    tile_px : int
        Images of up to ``tile_px ** 2`` pixels are asked about at once.

    Returns
    -------
    ndarray of float32, (H, W, K)
    """
    height, width = image.shape[:2]
    canvas = _padded(image, stride)
    if canvas.shape[0] * canvas.shape[1] <= tile_px**2:
        maps = ask(canvas)
    elif margin_px is None or not sees_whole((height, width), stride, margin_px, tile_px):
        maps = _blended(canvas, ask, stride, tile_px)
    else:
        maps = _tiled(canvas, ask, stride, margin_px, tile_px)
    return maps[:height, :width]


def sees_whole(shape: tuple[int, int], stride: int, margin_px: int | None, tile_px: int) -> bool:
    """Whether `map_image` gives the numbers of the whole image; else its windows are blended.

    Parameters
    ----------
    shape : tuple of int
    stride, margin_px, tile_px
        As of `map_image`.
    """
    height, width = (-(-n // stride) * stride for n in shape)
    fits = height * width <= tile_px**2
    return fits or (margin_px is not None and 3 * margin_px <= tile_px)


def _padded(image: FloatImage, stride: int) -> FloatImage:
    height, width = image.shape[:2]
    below, right = -height % stride, -width % stride
    if below == right == 0:
        return image
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")


def _tiled(canvas: FloatImage, ask: Ask, stride: int, margin_px: int, tile_px: int) -> FloatImage:
    halo = -(-margin_px // stride) * stride
    core = max((tile_px - 2 * halo) // stride, -(-64 // stride)) * stride
    out: FloatImage | None = None
    for tile in plan_tiles(canvas.shape[:2], core, halo):
        seen, core_of = tile.seen, tile.core
        maps = ask(canvas[seen.top : seen.bottom, seen.left : seen.right])
        if out is None:
            out = np.empty((*canvas.shape[:2], maps.shape[2]), np.float32)
        top, left = core_of.top - seen.top, core_of.left - seen.left
        out[core_of.top : core_of.bottom, core_of.left : core_of.right] = maps[
            top : top + core_of.bottom - core_of.top, left : left + core_of.right - core_of.left
        ]
    assert out is not None
    return out


def _blended(canvas: FloatImage, ask: Ask, stride: int, tile_px: int) -> FloatImage:
    side = max(stride, tile_px // stride * stride)
    rows, columns = (_starts(n, side, stride) for n in canvas.shape[:2])
    out: FloatImage | None = None
    total = np.zeros(canvas.shape[:2], np.float32)
    for top in rows:
        for left in columns:
            here = (slice(top, top + side), slice(left, left + side))
            maps = ask(canvas[here])
            weight = np.outer(_ramp(maps.shape[0]), _ramp(maps.shape[1]))
            if out is None:
                out = np.zeros((*canvas.shape[:2], maps.shape[2]), np.float32)
            out[here] += maps * weight[..., None]
            total[here] += weight
    assert out is not None
    out /= total[..., None]
    return out


def _starts(length: int, side: int, stride: int) -> list[int]:
    """Spread windows evenly, overlapping by a third or more, from multiples of the stride."""
    if length <= side:
        return [0]
    count = 1 + -(-(length - side) * 3 // (side * 2))
    return [round(i * (length - side) / (count - 1) / stride) * stride for i in range(count)]


def _ramp(length: int) -> FloatImage:
    """Weight of a window's rows: raised cosine, never 0."""
    at = (np.arange(length) + 0.5) / length
    return np.maximum(np.sin(np.pi * at) ** 2, 1e-4).astype(np.float32)


def resized(maps: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Bring maps (h, w, K) to another size: averaged to fewer pixels, interpolated to more."""
    if maps.shape[:2] == shape:
        return maps
    shrinks = shape[0] < maps.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    out = np.empty((*shape, maps.shape[2]), np.float32)
    for k in range(maps.shape[2]):
        out[..., k] = cv2.resize(maps[..., k], shape[::-1], interpolation=how)
    return out
