"""Tiles of a mosaic, and the connected sets of off-substrate pixels that must not be cut.

Whatever the flake finder does to a pixel depends on that pixel's surroundings and on the connected
set ("cluster") of off-substrate pixels that it lies in: levels are means over sets, sets merge and
absorb each other. So a cluster that is looked at whole gives the same answer in every window, and
only one that is cut by a window does not. Each cluster belongs to the tile that holds the top left
corner of its bounding box: exactly one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, IntArray
from layerscope.errors import InputError
from layerscope.ops.labels import union

Mask = npt.NDArray[np.uint8]

ALIGN_PX = 32
"""Windows start at multiples of this many binned pixels: OpenCV's vector loops then meet every
pixel in the same lane, and rounding is the same to the last bit."""

MARGIN_PX = 16
"""Binned pixels seen around a cluster. The longest chain reaches 9: ends of rows that OpenCV
computes without vectors (5), blur and mean (2), closing (1), widening (2 at most). Blank areas need
14: 12 px squares at binning 1, widened by 2."""


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle ``[top:bottom, left:right]`` of the mosaic."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size_px(self) -> int:
        """Pixels inside; 0 where it is turned inside out."""
        return max(0, self.bottom - self.top) * max(0, self.right - self.left)

    def __and__(self, other: Window) -> Window:
        """Overlap of two windows; `size_px` 0 where there is none."""
        return Window(
            max(self.top, other.top), max(self.left, other.left),
            min(self.bottom, other.bottom), min(self.right, other.right),
        )  # fmt: skip

    def holds(self, rows: IntArray, columns: IntArray) -> BoolArray:
        """Which of the points lie inside."""
        inside = (rows >= self.top) & (rows < self.bottom)
        return np.asarray(inside & (columns >= self.left) & (columns < self.right))

    def grown(self, before: int, after: int, shape: tuple[int, int]) -> Window:
        """Window larger by `before` px at top and left and `after` at bottom and right."""
        return Window(
            max(0, self.top - before), max(0, self.left - before),
            min(shape[0], self.bottom + after), min(shape[1], self.right + after),
        )  # fmt: skip


@dataclass(frozen=True, order=True)
class Tile:
    """A part of a mosaic that is worked on at once.

    Attributes
    ----------
    core : Window
        The cores of all tiles cover the mosaic without overlap.
    seen : Window
        Core and halo.
    """

    core: Window
    seen: Window


def plan_tiles(shape: tuple[int, int], tile_px: int, halo_px: int) -> tuple[Tile, ...]:
    """Cover a mosaic with tiles, row by row.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the mosaic.
    tile_px : int
        Side of a core; the last ones are smaller.
    halo_px : int
        Seen around it.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    if tile_px < 64 or halo_px < 0 or min(shape) < 1:
        raise InputError(
            f"tiles of {tile_px} px with a halo of {halo_px}: expected 64 and 0 or more"
        )
    cores = [
        Window(top, left, min(top + tile_px, shape[0]), min(left + tile_px, shape[1]))
        for top in range(0, shape[0], tile_px)
        for left in range(0, shape[1], tile_px)
    ]
    return tuple(Tile(core, core.grown(halo_px, halo_px, shape)) for core in cores)


@dataclass(frozen=True, eq=False)
class Clusters:
    """Connected sets of off-substrate pixels in one window.

    Attributes
    ----------
    labels : ndarray of int32, (h, w)
        0 or the number of the cluster, from 1.
    boxes : ndarray of int, (n, 4)
        Top, left, bottom, right of each, in the window.
    """

    labels: npt.NDArray[np.int32]
    boxes: IntArray

    def __len__(self) -> int:
        return len(self.boxes)

    def only(self, chosen: BoolArray) -> Mask:
        """255 on the chosen clusters, else 0."""
        table = np.concatenate([[0], np.where(chosen, 255, 0)]).astype(np.uint8)
        return np.asarray(np.take(table, self.labels))


def link(mask: Mask, binning: int) -> Mask:
    """Widen a mask (h, w) so that pixels that see each other become neighbours.

    Two regions with one bare pixel between share it when borders are refined, and regions within
    4 full-resolution pixels are one flake. The widened cluster is also what is searched, and the
    closing in that search shifts by up to a pixel.
    """
    side = 5 if binning == 1 else 3
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)))


def label_clusters(linked: Mask) -> Clusters:
    """Clusters of a mask (h, w) that `link` has widened."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(linked, connectivity=8, ltype=cv2.CV_32S)
    left, top, width, height = stats[1:, :4].astype(np.int64).T
    return Clusters(labels, np.stack([top, left, top + height, left + width], axis=1))


def long_clusters(bands: Iterable[Clusters], longest: int) -> IntArray:
    """Boxes of the clusters longer than `longest`, from bands that follow each other downwards.

    Parameters
    ----------
    bands : iterable of Clusters
        Full rows of the mosaic, from the top; each row once.
    longest : int
        Shorter ones are left out.

    Returns
    -------
    ndarray of int, (n, 4)
        In the mosaic, sorted.
    """
    done, top = [np.zeros((0, 4), np.int64)], 0
    row, boxes = np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    for band in bands:
        n_open, shift = len(boxes), np.array([top, 0, top, 0])
        both = np.concatenate([boxes, band.boxes + shift])
        low, high = _contacts(row, band.labels[0])
        root = union(low - 1, high - 1 + n_open, len(both)) if len(low) else np.arange(len(both))
        number, member = np.unique(root, return_inverse=True)
        boxes = _hulls(both, member, len(number))
        ends = np.take(np.append(0, member[n_open:] + 1), band.labels[-1])
        alive = np.unique(ends[ends > 0])
        row = np.where(ends > 0, np.searchsorted(alive, ends) + 1, 0)
        closed = np.ones(len(boxes), bool)
        closed[alive - 1] = False
        done.append(_longer(boxes[closed], longest))
        boxes, top = boxes[alive - 1], top + len(band.labels)
    done.append(_longer(boxes, longest))
    return np.unique(np.concatenate(done), axis=0)


def _contacts(
    above: npt.NDArray[np.integer], below: npt.NDArray[np.integer]
) -> tuple[IntArray, IntArray]:
    """Pairs of numbers (from 1) of 8-connected pixels in two rows that follow each other."""
    if len(above) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    a, b = above.astype(np.int64), below.astype(np.int64)
    x = np.concatenate([a, a[:-1], a[1:]])
    y = np.concatenate([b, b[1:], b[:-1]])
    both = (x > 0) & (y > 0)
    pairs = np.unique(np.stack([x[both], y[both]], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _hulls(boxes: IntArray, member: IntArray, count: int) -> IntArray:
    """Smallest box around the boxes of each group 0..count-1."""
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.zeros((count, 2), np.int64)
    np.minimum.at(low, member, boxes[:, :2])
    np.maximum.at(high, member, boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def _longer(boxes: IntArray, longest: int) -> IntArray:
    return boxes[(boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) > longest]
