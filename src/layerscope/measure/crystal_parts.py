"""Islands parted into crystals only where the parts are crystals: stars and blobs stay whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.results import BoolArray
from layerscope.measure.crystal_shapes import shape_distance
from layerscope.measure.domains import Domains, Splitter, find_domains
from layerscope.ops.instances import split_touching

PART_COST = 0.01
"""What one more crystal must save in squared distance to the shapes, by share of the area.

The square of the distance at which a crystal is as well irregular (0.1)."""

_Labels = npt.NDArray[np.int32]


def film_domains(
    film: BoolArray, valid: BoolArray, min_area_px: int, *, split: bool | Splitter = True
) -> Domains:
    """Crystals that a film consists of.

    Parameters
    ----------
    film : ndarray of bool, (H, W)
    valid : ndarray of bool, (H, W)
        False where nothing is known.
    min_area_px : int
        Smallest crystal.
    split : bool or callable
        True: by `split_into_shapes`; False: every island is one; else given the mask and
        `min_area_px`, as in `measure.domains.find_domains`.
    """
    label_map = LabelMap(film.astype(np.uint8), ("substrate", "film"), valid)
    share = float(label_map.fractions()[1])
    coverage = Coverage(share, 0.0, 1.0, "flakes", label_map)
    parted = split_into_shapes if split is True else split
    return find_domains(coverage, split=parted, min_area_px=min_area_px)


def split_into_shapes(mask: BoolArray, smallest_px: int) -> _Labels:
    """Part islands into crystals that have a shape.

    Parameters
    ----------
    mask : ndarray of bool, (H, W)
    smallest_px : int
        As in `ops.instances.split_touching`, whose parts are joined again where the outline of
        both together is nearer to one shape than theirs are to two.

    Returns
    -------
    ndarray of int32, (H, W)
        1.. ; 0 outside `mask`.
    """
    labels = split_touching(mask, smallest_px=smallest_px)
    pairs = _meeting(labels)
    while pairs:
        gains = [(_gain(labels, a, b), a, b) for a, b in sorted(pairs)]
        gain, a, b = max(gains)
        if gain <= 0:
            break
        labels = np.where(labels == b, a, labels).astype(np.int32)
        pairs = _meeting(labels)
    return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(labels.shape), np.int32)


def _meeting(labels: _Labels) -> set[tuple[int, int]]:
    """Pairs of parts that touch."""
    pairs: set[tuple[int, int]] = set()
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (one != other) & (one > 0) & (other > 0)
        low, high = np.minimum(one, other)[meet], np.maximum(one, other)[meet]
        pairs |= set(zip(low.tolist(), high.tolist(), strict=True))
    return pairs


def _gain(labels: _Labels, a: int, b: int) -> float:
    """Weigh two parts against their union: positive if one crystal explains them better."""
    both = (labels == a) | (labels == b)
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    pad = 4
    where = (
        slice(max(rows[0] - pad, 0), rows[-1] + 1 + pad),
        slice(max(columns[0] - pad, 0), columns[-1] + 1 + pad),
    )
    seen = labels[where]
    area = np.array([np.count_nonzero(seen == k) for k in (a, b)])
    apart = [shape_distance(seen == k, (seen > 0) & (seen != k)) ** 2 for k in (a, b)]
    joined = shape_distance(both[where], (seen > 0) & ~both[where]) ** 2
    return float((area * apart).sum() / area.sum() + PART_COST - joined)
