"""What a classifier says of an image, in bytes, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.labelling.drawing import Box
from layerscope.labelling.scribbles import Labels
from layerscope.ops.tiles import Window

Shares = npt.NDArray[np.uint8]
"""Probabilities (h, w, K) in bytes: 255 is certain."""

CHUNK_PX = 256
"""Side of what is computed exactly at once: a newer stroke waits no longer than for one."""

_CERTAIN = 255


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of an answer.

    Attributes
    ----------
    level : int
        0 the full size, 1 half of it ...
    top, left : int
        In pixels of that level.
    shares : ndarray of uint8, (h, w, K)
    coarse : bool
        A better one follows.
    """

    level: int
    top: int
    left: int
    shares: Shares
    coarse: bool


class ShareMap:
    """Answers about one image, and how old each chunk of them is.

    Parameters
    ----------
    shape : tuple of int
        Height and width, px.
    classes : int
    """

    def __init__(self, shape: tuple[int, int], classes: int):
        self.shape = shape
        self.shares = np.zeros((*shape, classes), np.uint8)
        rows, columns = (-(-n // CHUNK_PX) for n in shape)
        self._stamp = np.full((rows, columns), -1, np.int64)

    def chunks(self, box: Box) -> list[Window]:
        """Chunks that a box touches, those nearest to its middle first."""
        top, left = max(box[0], 0) // CHUNK_PX, max(box[1], 0) // CHUNK_PX
        bottom = -(-min(box[2], self.shape[0]) // CHUNK_PX)
        right = -(-min(box[3], self.shape[1]) // CHUNK_PX)
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        found = [
            Window(
                r * CHUNK_PX,
                c * CHUNK_PX,
                min((r + 1) * CHUNK_PX, self.shape[0]),
                min((c + 1) * CHUNK_PX, self.shape[1]),
            )
            for r in range(top, bottom)
            for c in range(left, right)
        ]
        return sorted(found, key=lambda w: (_distance(w, middle), w))

    def is_fresh(self, chunk: Window, stamp: int) -> bool:
        """Whether a chunk was answered at this stamp."""
        return bool(self._stamp[chunk.top // CHUNK_PX, chunk.left // CHUNK_PX] == stamp)

    def put(self, chunk: Window, probabilities: npt.NDArray[np.float32], stamp: int) -> None:
        """Keep an answer; the stamp -1 says that it is a rough one."""
        rows, columns = slice(chunk.top, chunk.bottom), slice(chunk.left, chunk.right)
        self.shares[rows, columns] = np.rint(probabilities * _CERTAIN)
        self._stamp[chunk.top // CHUNK_PX, chunk.left // CHUNK_PX] = stamp

    def piece(self, chunk: Window, level: int, *, coarse: bool) -> Piece:
        """Part of the answer at one level."""
        part = self.shares[chunk.top : chunk.bottom, chunk.left : chunk.right]
        scale = 1 << level
        return Piece(level, chunk.top // scale, chunk.left // scale, _binned(part, scale), coarse)


def classified(shares: Shares, thresholds: Sequence[float]) -> Labels:
    """Label picture of an answer.

    Parameters
    ----------
    shares : ndarray of uint8, (H, W, K)
    thresholds : sequence of float, (K,)
        Least probability of each class, over 0.

    Returns
    -------
    ndarray of uint8, (H, W)
        1 to K, of several classes that reach theirs the most probable one; 0 where none does.
        `labelling.thresholds.decide` says the same of votes of 100 trees.
    """
    # The smallest byte that a probability at the threshold is rounded to.
    least = np.ceil(np.asarray(thresholds) * _CERTAIN - 0.5 - 1e-6)
    reached = np.where(shares >= least, shares, 0)
    return np.where(reached.any(axis=2), reached.argmax(axis=2) + 1, 0).astype(np.uint8)


def _binned(part: Shares, scale: int) -> Shares:
    """Mean over squares of `scale` pixels; at the end of the image over what is there."""
    if scale == 1:
        return part.copy()
    height, width, classes = part.shape
    padded = np.pad(part, ((0, -height % scale), (0, -width % scale), (0, 0)), "edge")
    rows, columns = padded.shape[0] // scale, padded.shape[1] // scale
    blocks = padded.reshape(rows, scale, columns, scale, classes)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)


def _distance(window: Window, middle: tuple[float, float]) -> float:
    y, x = (window.top + window.bottom) / 2, (window.left + window.right) / 2
    return float(max(abs(y - middle[0]), abs(x - middle[1])))
