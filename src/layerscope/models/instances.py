"""From the maps of a flake network to terraces: seeds on summits, grown to the borders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.errors import InputError

Labels = npt.NDArray[np.uint16]
FloatMaps = npt.NDArray[np.float32]

_BOX = np.ones((3, 3), np.uint8)
_MOST = 60_000


@dataclass(frozen=True)
class Decoding:
    """Where the maps are cut; all but pixels are 0 to 1.

    Attributes
    ----------
    foreground : float
        Least foreground of a terrace's pixel.
    dynamics : float
        A summit is a terrace of its own if it stands so much above the saddle to a higher one.
    step : float
        Of the levels at which saddles are looked for.
    min_seed_px : int
        Smaller summits, at the resolution of the maps, are noise.
    plateau_share : float
        A plateau of one colour that is so much of a terrace, beside another such, is a terrace of
        its own; 1: none is. A network misses steps between terraces of almost one colour.
    """

    foreground: float = 0.5
    dynamics: float = 0.14
    step: float = 0.05
    min_seed_px: int = 4
    plateau_share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse cuts outside 0 to 1."""
        shares = (self.foreground, self.dynamics, self.step)
        wrong = not 0 < self.plateau_share <= 1 or self.min_seed_px < 1
        if wrong or not all(0 < s < 1 for s in shares):
            raise InputError(f"{self}: expected cuts between 0 and 1 and a seed of 1 px or more")


def decode(maps: FloatMaps, decoding: Decoding | None = None) -> Labels:
    """Terraces of one picture.

    (1 + depth) / 2, less where there is a boundary, is a landscape. Each summit that stands out is
    a seed and grows down to the saddle between it and the next (maxima of a given dynamics;
    Grimaud, Proc. SPIE 1769, 292, 1992). What foreground is left joins the nearest seed of its own
    connected area. Holes stay holes.

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
    inside = maps[..., 0] >= cuts.foreground
    area = np.flatnonzero(inside)
    height = ((1 + maps[..., 2]) / 2 * (1 - maps[..., 1])).ravel()[area]
    seeds = _Seeds(np.zeros(len(area), np.int64), np.zeros(1))
    for level in (*np.arange(1 - cuts.step, cuts.step / 2, -cuts.step).tolist(), -1.0):
        above = height > level
        piece = _pieces(area, above, inside.shape)
        seeds = _lower(seeds, piece, max(level, 0.0), cuts)
    labels = np.zeros(inside.shape, np.uint16)
    labels.ravel()[area] = np.minimum(seeds.labels, _MOST)
    return _numbered(_grown(labels, area))


@dataclass(frozen=True, eq=False)
class _Seeds:
    """Seed of each foreground pixel, 0 for none yet, and how high each seed's summit is."""

    labels: IntArray
    peak: FloatArray


def _pieces(area: IntArray, above: BoolArray, shape: tuple[int, ...]) -> IntArray:
    """Return which connected piece of what is `above` each foreground pixel is in; 0: none."""
    image = np.zeros(shape, np.uint8)
    image.ravel()[area] = above
    _, piece = cv2.connectedComponents(image, connectivity=4, ltype=cv2.CV_32S)
    return np.take(piece, area).astype(np.int64)


def _lower(seeds: _Seeds, piece: IntArray, level: float, cuts: Decoding) -> _Seeds:
    """Let the seeds grow into what is above a lower level; lesser ones that meet are merged."""
    known, count = len(seeds.peak), int(piece.max(initial=0)) + 1
    held = seeds.labels > 0
    in_piece, seed = np.divmod(np.unique(piece[held] * known + seeds.labels[held]), known)
    order = np.lexsort((seed, -seeds.peak[seed], in_piece))[::-1]
    in_piece, seed = in_piece[order], seed[order]
    tallest = np.zeros(count, np.int64)
    tallest[in_piece] = seed
    merged = (seeds.peak[seed] - level < cuts.dynamics) & (seed != tallest[in_piece])
    name = np.arange(known)
    name[seed[merged]] = tallest[in_piece[merged]]
    left = np.bincount(in_piece[~merged], minlength=count)
    large = np.bincount(piece, minlength=count) >= cuts.min_seed_px
    fresh = np.flatnonzero((left == 0) & large)
    fresh = fresh[fresh > 0]
    owner = np.where(left == 1, tallest, 0)
    owner[fresh] = np.arange(known, known + len(fresh))
    owner[0] = 0
    grown = owner[piece]
    labels = np.where(grown > 0, grown, name[seeds.labels])
    return _Seeds(labels, np.concatenate([seeds.peak, np.full(len(fresh), level)]))


def _grown(labels: Labels, area: IntArray) -> Labels:
    """Give foreground pixels on saddles to the terrace beside them, ring by ring."""
    flat = labels.ravel()
    empty = area[flat[area] == 0]
    while len(empty):
        beside = np.take(cv2.dilate(labels, _BOX), empty)
        flat[empty] = beside
        if not beside.any():
            break
        empty = empty[beside == 0]
    return labels


def part_by(labels: Labels, plateaus: Labels, least_px: int, share: float) -> Labels:
    """Part the regions that hold two or more plateaus of colour.

    Parameters
    ----------
    labels, plateaus : ndarray of uint16, (h, w)
        Regions, and sets of pixels of one colour; 0 is none.
    least_px : int
        Smaller parts of a plateau inside a region part nothing.
    share : float
        Nor do those that are less of the region.

    Returns
    -------
    ndarray of uint16, (h, w)
        Of the same pixels as `labels`: what lies on no plateau joins the part beside it.
    """
    area = np.flatnonzero(labels)
    width = int(plateaus.max(initial=0)) + 1
    key = np.take(labels, area).astype(np.int64) * width + np.take(plateaus, area)
    pair, index, size = np.unique(key, return_inverse=True, return_counts=True)
    region, plateau = np.divmod(pair, width)
    whole = np.bincount(np.take(labels, area), minlength=int(region.max(initial=0)) + 1)
    counts = (plateau > 0) & (size >= np.maximum(least_px, share * whole[region]))
    parted = np.bincount(region[counts], minlength=len(whole)) >= 2
    number = np.where(parted[region], 0, region)
    own = counts & parted[region]
    number[own] = len(whole) + np.arange(np.count_nonzero(own))
    out = np.zeros(labels.shape, np.uint16)
    out.ravel()[area] = np.minimum(number[index], _MOST)
    return _numbered(_grown(out, area))


def join_alike(labels: Labels, plateaus: Labels, level: FloatArray, limit: FloatArray) -> Labels:
    """Give plateaus of one region that have one colour one number: a crack parts no terrace.

    Parameters
    ----------
    labels, plateaus : ndarray of uint16, (h, w)
        As in `part_by`.
    level : ndarray, (plateaus + 1, 3)
        Colour of each plateau.
    limit : ndarray, (3,)
        Largest difference of what is one colour.

    Returns
    -------
    ndarray of uint16, (h, w)
        `plateaus`, some of them joined.
    """
    held = (labels > 0) & (plateaus > 0)
    width = len(level)
    pairs = np.unique(labels[held].astype(np.int64) * width + plateaus[held])
    region, plateau = np.divmod(pairs, width)
    name = np.arange(width)
    for start, stop in pairwise([*np.flatnonzero(np.diff(region, prepend=-1)), len(region)]):
        inside = plateau[start:stop]
        for i, one in enumerate(inside):
            for other in inside[i + 1 :]:
                if (np.abs(level[one] - level[other]) <= limit).all():
                    name[name == name[other]] = name[one]
    return name[plateaus].astype(np.uint16)


def _numbered(labels: Labels) -> Labels:
    where = np.flatnonzero(labels)
    if not len(where):
        return np.zeros(labels.shape, np.uint16)
    value, first, index = np.unique(np.take(labels, where), return_index=True, return_inverse=True)
    rank = np.empty(len(value), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(1, len(value) + 1)
    out = np.zeros(labels.size, np.uint16)
    out[where] = np.minimum(rank[index], _MOST)
    return out.reshape(labels.shape)
