"""A thing that several images show in part: its mask painted from all of them, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks, Detections, IntArray, RegionSignal
from layerscope.measure.region import Region, Scene
from layerscope.ops.agreement import Piece
from layerscope.ops.mosaic import Fields
from layerscope.ops.tone import tone_curve


@dataclass(frozen=True)
class Size:
    """Area, largest inscribed circle and largest extent, in the unit of the pixel's sides.

    Attributes
    ----------
    area, inscribed_circle_diameter, feret_max : float
    y, x : float
        Centre of mass, from the corner of the first image.
    """

    area: float
    inscribed_circle_diameter: float
    feret_max: float
    y: float
    x: float


def unite(
    pieces: Sequence[Piece], corners_px: npt.NDArray[np.float64], gap_px: int
) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """Paint masks of several images on the pixels of the first.

    Parameters
    ----------
    pieces : sequence of Piece
    corners_px : ndarray, (n, 2)
        Row and column of each image's corner on the first image.
    gap_px : int
        Ground between images that nobody scanned is filled over this width where the region lies
        on both sides.

    Returns
    -------
    mask : ndarray of bool
    corner : tuple of int
        Its row and column on the first image.
    """
    images = np.round(corners_px).astype(int)
    at = images + [p.corner for p in pieces]
    end = at + [p.mask.shape for p in pieces]
    low = at.min(axis=0)
    height, width = end.max(axis=0) - low
    canvas = np.zeros((height, width), np.uint8)
    for piece, (top, left) in zip(pieces, at - low, strict=True):
        rows, columns = piece.mask.shape
        canvas[top : top + rows, left : left + columns] |= piece.mask
    if gap_px > 0:
        canvas |= _bridges(canvas, pieces, images - low, gap_px)
    return canvas.astype(bool), (int(low[0]), int(low[1]))


def _bridges(
    canvas: npt.NDArray[np.uint8], pieces: Sequence[Piece], images: IntArray, gap_px: int
) -> npt.NDArray[np.uint8]:
    unseen = np.ones(canvas.shape, np.uint8)
    for piece, (top, left) in zip(pieces, images, strict=True):
        rows, columns = piece.shape
        unseen[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = 0
    kernel = np.ones((gap_px + 2, gap_px + 2), np.uint8)
    rim = cv2.copyMakeBorder(canvas, *(gap_px + 2,) * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(rim, cv2.MORPH_CLOSE, kernel)
    inner = closed[gap_px + 2 : -gap_px - 2, gap_px + 2 : -gap_px - 2]
    return np.asarray(inner & unseen)


def size_of(
    mask: npt.NDArray[np.bool_], corner: tuple[int, int], spacing: tuple[float, float]
) -> Size:
    """Measure one mask as `measure.measure` does, with pixels of the height and width `spacing`."""
    rows, columns = mask.shape
    box = np.array([[0, 0, rows, columns]], np.int64)
    rgb, one, whole = np.zeros((1, 3)), np.zeros(1), np.ones(1, np.int64)
    signal = RegionSignal(rgb, rgb, rgb, rgb, rgb, whole, one, one)
    masks = CropMasks(box, (mask,), (rows, columns))
    region = Region(
        Scene(Detections(masks, one, whole, whole, signal), spacing, tone_curve("linear")), 0
    )
    y, x = region.centroid
    return Size(
        region.area,
        2 * region.inscribed_circle[0],
        region.feret[0],
        y + (corner[0] + 0.5) * spacing[0],
        x + (corner[1] + 0.5) * spacing[1],
    )


def reaches_outside(
    piece: Piece,
    image: int,
    fields: Fields,
    around: IntArray,
    slack_px: npt.NDArray[np.float64],
) -> bool:
    """Whether a region is cut where no other image shows the ground beyond.

    Parameters
    ----------
    piece : Piece
    image : int
        That it is on.
    fields : Fields
    around : ndarray of int, (n,)
        Images near it.
    slack_px : ndarray, (n,)
        Ground this close to each of them counts as seen.
    """
    low = fields.corner_px[around] - slack_px[:, None]
    high = low + fields.size_px[around] + 2 * slack_px[:, None]
    beyond = (_beyond(piece) + fields.corner_px[image])[:, None]
    seen = ((beyond > low) & (beyond < high)).all(axis=2)
    return not bool(seen.any(axis=1).all())


def _beyond(piece: Piece) -> npt.NDArray[np.float64]:
    """Points (m, 2) on the image's frame, half a pixel beyond each pixel that its border cuts."""
    (top, left), (rows, columns) = piece.corner, piece.shape
    points = [np.zeros((0, 2))]
    height, width = piece.mask.shape
    if top <= 0:
        points.append(_line(np.flatnonzero(piece.mask[0]) + left, -0.5)[:, ::-1])
    if left <= 0:
        points.append(_line(np.flatnonzero(piece.mask[:, 0]) + top, -0.5))
    if top + height >= rows:
        points.append(_line(np.flatnonzero(piece.mask[-1]) + left, rows + 0.5)[:, ::-1])
    if left + width >= columns:
        points.append(_line(np.flatnonzero(piece.mask[:, -1]) + top, columns + 0.5))
    return np.concatenate(points)


def _line(along: IntArray, across: float) -> npt.NDArray[np.float64]:
    return np.stack([along + 0.5, np.full(len(along), across)], axis=1)
