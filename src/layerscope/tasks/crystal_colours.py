"""Parts of one colour that a crystal consists of, from its outline inwards.

The flake finder's terraces are not fine enough for that: on 285 nm of oxide a monolayer of MoS2 in
one of MoSe2 differs by 0.06 in one channel, and is often found as one terrace with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.optical import Background
from layerscope.tasks.flakes import three_channels

_RIM_PX = 3
"""The outline's blur: no colour is read there."""

_SMALLEST_PX = 30
_LEAST_SHARE = 0.02

_SEPARATION = 4.5
"""Distance of two colours over the spread within, robust. Cut in two, a gradient has 3.5, one
colour with noise 2.7."""

_LEAST_STEP = 0.02
"""Of contrast: below it shading, JPEG and residues make steps too."""

_DEPTH = 3
_FAR = 0.25


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a crystal.

    Attributes
    ----------
    mask : ndarray of bool, (h, w)
        In the crystal's box; the parts of a crystal fill it.
    colour : ndarray, (3,)
        Median contrast to the substrate.
    outline_share : float
        Share of its own rim that is the crystal's outline on bare substrate.
    """

    mask: BoolArray
    colour: FloatArray
    outline_share: float

    @property
    def area_px(self) -> int:
        """Pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def filled(self) -> BoolArray:
        """The part and what it surrounds."""
        return filled(self.mask)


def filled(mask: BoolArray) -> BoolArray:
    """`mask` (h, w) and what it surrounds."""
    rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(out, rings, -1, 1, cv2.FILLED)
    return out > 0


def contrast_image(micrograph: Micrograph, background: Background) -> FloatImage:
    """Contrast (H, W, 3) of every pixel to bare substrate at its place.

    Parameters
    ----------
    micrograph : Micrograph
    background : Background
    """
    level = three_channels(micrograph.data).astype(np.float32) / np.float32(micrograph.white_level)
    bare = np.maximum(background.at(micrograph.shape), 1e-3)
    return np.asarray(level / bare - 1, np.float32)


def parts_of(
    colour: FloatImage,
    number: npt.NDArray[np.int32],
    own: int,
    where: tuple[slice, slice],
    crop: BoolArray,
) -> list[Part]:
    """Cut one crystal into parts of one colour.

    Parameters
    ----------
    colour : ndarray of float32, (H, W, 3)
        Of `contrast_image`.
    number : ndarray of int32, (H, W)
        Crystal of each pixel.
    own : int
        Number of this one.
    where : tuple of slice
        Its box.
    crop : ndarray of bool, (h, w)
        Its mask there.

    Returns
    -------
    list of Part
        The one with most of the outline first, then inwards; empty for a crystal that is all rim.
    """
    padded = np.pad(crop, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    inside = depth > _RIM_PX
    if np.count_nonzero(inside) < _SMALLEST_PX:
        return []
    pixels = _quiet(colour[where])
    least = max(_SMALLEST_PX, round(_LEAST_SHARE * np.count_nonzero(crop)))
    labels = np.where(inside, 1, 0).astype(np.int32)
    for _ in range(_DEPTH):
        labels = _cut_all(pixels, labels, least)
    labels = _grown(labels, crop)
    rim = _bare_rim(number, own, where, crop)
    masks = [np.asarray(labels == k) for k in range(1, int(labels.max()) + 1)]
    parts = [Part(m, _colour(pixels, m & inside), _share_of_rim(m, rim)) for m in masks if m.any()]
    held = [int(np.count_nonzero(p.mask & rim)) for p in parts]
    far = [float(depth[p.mask].mean()) for p in parts]
    order = sorted(range(len(parts)), key=lambda i: (i != int(np.argmax(held)), far[i]))
    return [parts[i] for i in order]


def _quiet(colour: FloatImage) -> FloatImage:
    """Median of 5 x 5 pixels in each channel: noise goes, edges stay."""
    channels = [cv2.medianBlur(np.ascontiguousarray(colour[..., c]), 5) for c in range(3)]
    return np.stack(channels, axis=-1)


def _cut_all(
    pixels: FloatImage, labels: npt.NDArray[np.int32], least: int
) -> npt.NDArray[np.int32]:
    """Cut every part in two where it has two colours; each island of a colour is a part."""
    out, count = np.zeros_like(labels), 0
    for k in range(1, int(labels.max()) + 1):
        mask = labels == k
        bright = two_colours(pixels[mask])
        halves = [mask]
        if bright is not None:
            upper = mask.copy()
            upper[mask] = bright
            halves = _cleaned(mask, upper, least)
        for half in halves:
            count += 1
            out[half] = count
    return out


def two_colours(rows: npt.NDArray[np.float32]) -> BoolArray | None:
    """Tell which of some pixels (n, 3) have the one of two colours; None: there is only one."""
    if len(rows) < 2 * _SMALLEST_PX:
        return None
    centred = rows - np.median(rows, axis=0)
    axis = np.linalg.eigh(np.cov(centred.T))[1][:, -1]
    value = np.asarray(centred @ axis.astype(np.float32), np.float32)
    upper = value > _otsu(value)
    if min(np.count_nonzero(upper), np.count_nonzero(~upper)) < _SMALLEST_PX:
        return None
    low, high = value[~upper], value[upper]
    step = float(np.median(high) - np.median(low))
    if step < _LEAST_STEP:
        return None
    spread = 1.4826 * np.hypot(*(np.median(np.abs(v - np.median(v))) for v in (low, high)))
    if step < _SEPARATION * spread / np.sqrt(2):
        return None
    # The middle between both, not Otsu's: there the optics' blur is symmetric. Of each the half
    # that is farther away: the other one is partly blur.
    ends = np.quantile(low, _FAR), np.quantile(high, 1 - _FAR)
    return np.asarray(value > (ends[0] + ends[1]) / 2)


def _otsu(value: npt.NDArray[np.float32]) -> float:
    """Threshold that leaves least variance within (Otsu, IEEE Trans. SMC 9, 62 (1979))."""
    low, high = np.quantile(value, (0.005, 0.995))
    counts, edges = np.histogram(value, 128, (low, max(high, low + 1e-6)))
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    total, first = counts.sum(), np.cumsum(counts * middle)
    above = total - below
    mean_low = first[:-1] / np.maximum(below, 1)
    mean_high = (first[-1] - first[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (mean_high - mean_low) ** 2)])


def _cleaned(mask: BoolArray, upper: BoolArray, least: int) -> list[BoolArray]:
    """Islands of both colours of at least so many pixels; smaller ones go to what is around."""
    islands: list[BoolArray] = []
    for half in (upper, mask & ~upper):
        count, label, stats, _ = cv2.connectedComponentsWithStats(half.astype(np.uint8), None, 4)
        big = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= least]
        islands += [np.asarray(label == k) for k in big]
    if len(islands) < 2:
        return [mask]
    seeds = np.zeros(mask.shape, np.int32)
    for k, island in enumerate(islands, 1):
        seeds[island] = k
    grown = _grown(seeds, mask)
    return [np.asarray(grown == k) for k in range(1, len(islands) + 1)]


def _grown(labels: npt.NDArray[np.int32], mask: BoolArray) -> npt.NDArray[np.int32]:
    """Give every pixel of `mask` the label of the nearest labelled one."""
    from scipy import ndimage

    near = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.asarray(np.where(mask, labels[tuple(near)], 0), np.int32)


def _bare_rim(
    number: npt.NDArray[np.int32], own: int, where: tuple[slice, slice], crop: BoolArray
) -> BoolArray:
    """Outermost pixels of a crystal that have bare substrate beside them; the frame is none."""
    padded = np.pad(number, 1, constant_values=own)
    rows, columns = where
    around = padded[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
    bare = cv2.dilate((around == 0).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    return np.asarray(crop & (bare > 0))


def _share_of_rim(mask: BoolArray, rim: BoolArray) -> float:
    inner = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    own = mask & (inner == 0)
    return float(np.count_nonzero(rim & own)) / max(int(np.count_nonzero(own)), 1)


def _colour(pixels: FloatImage, mask: BoolArray) -> FloatArray:
    if not mask.any():
        return np.full(3, np.nan)
    inner = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    return np.asarray(np.median(pixels[inner if inner.sum() >= 9 else mask], axis=0), float)
