"""From the maps of a flake network to terraces: seeds on summits, grown to the borders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError

Labels = npt.NDArray[np.uint16]
FloatMaps = npt.NDArray[np.float32]

_MOST = 60_000


@dataclass(frozen=True)
class Decoding:
    """Where the maps are cut; all but areas are 0 to 1.

    Attributes
    ----------
    foreground : float
        Least foreground of a terrace's pixel.
    boundary : float
        From here on two terraces meet, and no terrace is seeded.
    summit : float
        Depth above which two summits of one piece are two terraces: a bridge lower than
        `bridge` times the lower summit parts them.
    bridge : float
    min_seed_px : int
        Smaller seeds, at the resolution of the maps, are noise.
    """

    foreground: float = 0.5
    boundary: float = 0.5
    summit: float = 0.5
    bridge: float = 0.5
    min_seed_px: int = 3

    def __post_init__(self) -> None:
        """Refuse cuts outside 0 to 1."""
        shares = (self.foreground, self.boundary, self.summit, self.bridge)
        if not all(0 < s < 1 for s in shares) or self.min_seed_px < 1:
            raise InputError(f"{self}: expected cuts between 0 and 1 and a seed of 1 px or more")


def decode(maps: FloatMaps, decoding: Decoding | None = None) -> Labels:
    """Terraces of one picture.

    Foreground pixels off the boundaries fall into pieces; each is a seed, and the foreground that
    is left joins the nearest seed of its own connected area, so that two terraces that meet share
    the boundary between them half and half. Holes stay holes.

    Parameters
    ----------
    maps : ndarray of float32, (h, w, 3)
        Foreground, boundary and depth, 0 to 1.
    decoding : Decoding, optional

    Returns
    -------
    ndarray of uint16, (h, w)
        0 is no flake, terraces are numbered from 1 in raster order of their first pixel.

    Raises
    ------
    InputError
        If the maps are not of that shape.
    """
    if maps.ndim != 3 or maps.shape[2] != 3:
        raise InputError(f"maps of shape {maps.shape}: expected (h, w, 3)")
    cuts = decoding or Decoding()
    inside = (maps[..., 0] >= cuts.foreground).astype(np.uint8)
    seeds = _seeds(maps, inside, cuts)
    return _numbered(_grown(seeds, inside))


def _seeds(maps: FloatMaps, inside: npt.NDArray[np.uint8], cuts: Decoding) -> IntArray:
    """Pieces between boundaries, those with two summits parted; numbered from 1."""
    free = inside & (maps[..., 1] < cuts.boundary).astype(np.uint8)
    _, pieces = cv2.connectedComponents(free, connectivity=4, ltype=cv2.CV_32S)
    high = free & (maps[..., 2] >= cuts.summit).astype(np.uint8)
    pieces = _large(pieces, cuts.min_seed_px)
    return _parted(pieces, high, cuts)


def _large(labels: IntArray, least_px: int) -> IntArray:
    number = np.bincount(labels.ravel())
    keep = number >= least_px
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def _parted(pieces: IntArray, high: npt.NDArray[np.uint8], cuts: Decoding) -> IntArray:
    """Replace pieces that hold several summits by these."""
    _, summits = cv2.connectedComponents(high, connectivity=8, ltype=cv2.CV_32S)
    summits = _large(np.where(pieces > 0, summits, 0), 2 * cuts.min_seed_px)
    where = np.flatnonzero(summits)
    pairs = np.unique(np.stack([np.take(pieces, where), np.take(summits, where)], axis=1), axis=0)
    piece, number = np.unique(pairs[:, 0], return_counts=True)
    several = np.zeros(int(pieces.max()) + 1, bool)
    several[piece[number > 1]] = True
    torn = several[pieces]
    return np.where(torn, np.where(summits > 0, summits + pieces.max(), 0), pieces)


def _grown(seeds: IntArray, inside: npt.NDArray[np.uint8]) -> IntArray:
    """Give every foreground pixel the nearest seed of its own connected area."""
    _, area = cv2.connectedComponents(inside, connectivity=8, ltype=cv2.CV_32S)
    flat = seeds.ravel()
    place = np.flatnonzero(flat)
    if not len(place):
        return np.zeros_like(seeds)
    _, nearest = cv2.distanceTransformWithLabels(
        (seeds == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, seeds.dtype)
    owner[nearest.ravel()[place]] = flat[place]
    grown = np.where(inside > 0, owner[nearest], 0)
    home = np.zeros(int(seeds.max()) + 1, area.dtype)
    home[flat[place]] = area.ravel()[place]
    return np.where(home[grown] == area, grown, 0)


def _numbered(labels: IntArray) -> Labels:
    where = np.flatnonzero(labels)
    if not len(where):
        return np.zeros(labels.shape, np.uint16)
    value, first, index = np.unique(np.take(labels, where), return_index=True, return_inverse=True)
    rank = np.empty(len(value), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(1, len(value) + 1)
    out = np.zeros(labels.size, np.uint16)
    out[where] = np.minimum(rank[index], _MOST)
    return out.reshape(labels.shape)


def scores_of(labels: Labels, maps: FloatMaps) -> FloatArray:
    """Mean foreground of each terrace 1..n, less what its depth falls short of a summit."""
    count = int(labels.max()) + 1
    flat = labels.ravel()
    number = np.maximum(np.bincount(flat, minlength=count), 1)
    mean = np.bincount(flat, maps[..., 0].ravel(), count) / number
    summit = np.zeros(count, np.float32)
    np.maximum.at(summit, flat, maps[..., 2].ravel())
    return np.asarray(mean * np.minimum(summit / 0.7, 1), float)[1:]
