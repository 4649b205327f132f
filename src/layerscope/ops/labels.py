"""Label images: neighbours, cores, samples and groups of regions.

A label image is uint16, (h, w): 0 is substrate, 1..n are regions. Pixels are named by their flat
index, and lists of them are handled instead of whole frames: most pixels are substrate.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray

Labels = npt.NDArray[np.uint16]


def border_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    """Find the pixels `distance` apart along a row or column whose labels differ.

    Returns
    -------
    first, second : ndarray of int
        Flat indices.
    """
    rows, columns = row_pairs(labels, distance), column_pairs(labels, distance)
    return np.concatenate([rows[0], columns[0]]), np.concatenate([rows[1], columns[1]])


def row_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    """`border_pairs` along rows only."""
    differ = np.zeros(labels.shape, bool)
    np.not_equal(labels[:, :-distance], labels[:, distance:], out=differ[:, :-distance])
    first = np.flatnonzero(differ)
    return first, first + distance


def column_pairs(labels: Labels, distance: int) -> tuple[IntArray, IntArray]:
    """`border_pairs` along columns only."""
    first = np.flatnonzero(labels[:-distance] != labels[distance:])
    return first, first + distance * labels.shape[1]


def core_labels(labels: Labels, reach_px: int) -> Labels:
    """Labels whose square neighbourhood of radius `reach_px` is all the same, else 0."""
    kernel = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    same = cv2.compare(cv2.dilate(labels, kernel), cv2.erode(labels, kernel), cv2.CMP_EQ)
    return np.asarray(cv2.copyTo(labels, same))


def sample_regions(labels: Labels, count: int, most: int) -> tuple[IntArray, IntArray]:
    """Flat indices of labelled pixels, evenly thinned to about `most` per region, and the region.

    Statistics of large regions need no more; without it they would take most of the time.
    """
    where = np.flatnonzero(labels > 0)
    value = np.take(labels, where)
    order = np.argsort(value, kind="stable")
    where, value = where[order], value[order].astype(np.int64)
    number = np.bincount(value, minlength=count)
    rank = np.arange(len(value)) - np.take(np.cumsum(number) - number, value)
    every = np.maximum(1, -(-number // most))
    chosen = rank % np.take(every, value) == 0
    return where[chosen], value[chosen]


def group_means(
    value: npt.NDArray[np.integer], columns: npt.NDArray[Any], count: int
) -> FloatArray:
    """Mean (count, 3) of the `columns` (3, n) of each group 0..count-1; 0 for an empty group."""
    total = np.maximum(np.bincount(value, minlength=count), 1)
    sums = [np.bincount(value, column, count) for column in columns]
    return np.stack(sums, axis=1) / total[:, None]


def full_index(where: IntArray, width: int, binning: int) -> IntArray:
    """Flat full-resolution indices of the pixels under binned ones, those of each together."""
    rows, columns = np.divmod(where, width)
    corner = (rows * width * binning + columns) * binning
    steps = np.arange(binning)
    offset = (steps[:, None] * width * binning + steps).ravel()
    return np.asarray((corner[:, None] + offset).ravel())


def union(low: IntArray, high: IntArray, count: int) -> IntArray:
    """Smallest member of the connected set of each of 0..count-1 under the pairs low-high."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        x, y = root(a), root(b)
        parent[max(x, y)] = min(x, y)
    return np.array([root(i) for i in range(count)])


def group_touching(labels: Labels, count: int, distance: int) -> IntArray:
    """Group of each label 1..count: regions no more than `distance` px apart are one flake.

    Returns
    -------
    ndarray of int, (count,)
        The smallest label of the group.
    """
    low, high = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for reach in range(1, min(distance, min(labels.shape) - 1) + 1):
        first, second = border_pairs(labels, reach)
        a, b = np.take(labels, first), np.take(labels, second)
        both = (a > 0) & (b > 0)
        pair = a[both].astype(np.int64) * (count + 1) + b[both]
        pair, length = np.unique(pair, return_counts=True)
        # A single pixel corner is chance, not a common edge.
        x, y = np.divmod(pair[length >= 2], count + 1)
        low.append(np.minimum(x, y))
        high.append(np.maximum(x, y))
    return union(np.concatenate(low), np.concatenate(high), count + 1)[1:]
