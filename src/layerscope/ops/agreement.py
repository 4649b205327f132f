"""Whether two masks on neighbouring images show the same thing.

In an overlap both must cover the same ground; along a seam without overlap both must be cut at the
same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray

_BINNED_PX = 160
_BINNED_REACH = 24
_AS_GOOD, _CLEARLY_WORSE = 0.003, 0.02
_NOTHING_LESS = 0.02
_CURVED_PX = 3

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Piece:
    """One region on its image.

    Attributes
    ----------
    mask : ndarray of uint8, (h, w)
        0 or 1.
    corner : tuple of int
        Row and column of the mask on the image.
    shape : tuple of int
        Of the image.
    """

    mask: Mask
    corner: tuple[int, int]
    shape: tuple[int, int]

    def binned(self, factor: int) -> Piece:
        """Return the piece on pixels `factor` times as large; a coarse pixel is in by majority."""
        if factor == 1:
            return self
        top, left = (c % factor for c in self.corner)
        padded = cv2.copyMakeBorder(
            self.mask, top, -(top + self.mask.shape[0]) % factor, left,
            -(left + self.mask.shape[1]) % factor, cv2.BORDER_CONSTANT, value=0,
        )  # fmt: skip
        size = padded.shape[1] // factor, padded.shape[0] // factor
        mean = cv2.resize(padded * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        corner = self.corner[0] // factor, self.corner[1] // factor
        shape = self.shape[0] // factor, self.shape[1] // factor
        return Piece((mean > 127).astype(np.uint8), corner, shape)


@dataclass(frozen=True)
class Agreement:
    """How well two pieces agree, at the displacement at which they do so best.

    Attributes
    ----------
    common_px, first_px, second_px : float
        Pixels that both show, and of each piece, where both images look.
    shift_px : tuple of float
        Rows and columns by which the second image had to be moved.
    fixed : tuple of float
        How well the displacement is determined along rows and columns, 0 to 1: moving a straight
        ribbon along itself changes nothing. 1 if 3 px cost .02 of the IoU.
    """

    common_px: float
    first_px: float
    second_px: float
    shift_px: tuple[float, float] = (0.0, 0.0)
    fixed: tuple[float, float] = (0.0, 0.0)

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return self.common_px / max(self.first_px + self.second_px - self.common_px, 1)

    @property
    def contained(self) -> float:
        """Intersection over the smaller piece."""
        return self.common_px / max(self.least_px, 1)

    @property
    def least_px(self) -> float:
        """Pixels of the smaller piece."""
        return min(self.first_px, self.second_px)


NOTHING = Agreement(0.0, 0.0, 0.0)


def agree_in_place(a: Piece, b: Piece, corner_b: tuple[float, float]) -> Agreement:
    """Compare two masks inside the overlap of their images, moved by less than a pixel.

    Parameters
    ----------
    a, b : Piece
    corner_b : tuple of float
        Row and column of the second image's corner on the first image.
    """
    base = round(corner_b[0]), round(corner_b[1])
    at = [(a, a.corner), (b, (b.corner[0] + base[0], b.corner[1] + base[1]))]
    frame = [(max(0, c), min(n, c + m)) for c, n, m in zip(base, a.shape, b.shape, strict=True)]
    inside = [_clipped(piece, corner, frame) for piece, corner in at]
    both = [
        (max(low, corner[k], at[1][1][k]), min(high, *(c[k] + p.mask.shape[k] for p, c in at)))
        for k, (low, high) in enumerate(frame)
        for corner in [a.corner]
    ]
    parts = [_clipped(piece, corner, both) for piece, corner in at]
    common = cv2.countNonZero(parts[0] & parts[1]) if parts[0].size else 0
    counts = [cv2.countNonZero(m) if m.size else 0 for m in inside]
    shift = base[0] - corner_b[0], base[1] - corner_b[1]
    return Agreement(float(common), float(counts[0]), float(counts[1]), shift)


def _clipped(piece: Piece, corner: tuple[int, int], spans: list[tuple[int, int]]) -> Mask:
    """Part of a mask at `corner` inside a rectangle."""
    (top, bottom), (left, right) = spans
    y, x = corner
    return piece.mask[max(top - y, 0) : max(bottom - y, 0), max(left - x, 0) : max(right - x, 0)]


def agree_in_overlap(a: Piece, b: Piece, corner_b: tuple[float, float], reach_px: int) -> Agreement:
    """Compare two masks inside the overlap of their images.

    Parameters
    ----------
    a, b : Piece
    corner_b : tuple of float
        Row and column of the second image's corner on the first image.
    reach_px : int
        The second image is moved by up to this along both axes; among equally good displacements
        (IoU within .003 of the best) the smallest counts.
    """
    a, b = _within(a, b, corner_b, reach_px), _within(b, a, (-corner_b[0], -corner_b[1]), reach_px)
    largest = max(*a.mask.shape, *b.mask.shape)
    factor = max(1, -(-largest // _BINNED_PX), -(-reach_px // _BINNED_REACH))
    if reach_px < factor:
        factor = 1
    if not (a.mask.size and b.mask.size):
        return NOTHING
    a, b = a.binned(factor), b.binned(factor)
    reach = reach_px // factor
    base = round(corner_b[0] / factor), round(corner_b[1] / factor)
    common = _common(a, b, base, reach)
    steps = np.arange(-reach, reach + 1)
    in_a = _covered(a, [(c + steps, c + steps + n) for c, n in zip(base, b.shape, strict=True)])
    in_b = _covered(b, [(-c - steps, n - c - steps) for c, n in zip(base, a.shape, strict=True)])
    least = np.minimum(in_a, in_b)
    # Moved nearly out of the overlap, any two masks agree on the few pixels left.
    judged = least >= 0.5 * least.max()
    iou = np.where(judged, common / np.maximum(in_a + in_b - common, 1), 0)
    best = iou.max()
    if best <= _NOTHING_LESS:
        return NOTHING
    far = np.hypot(steps[:, None], steps)
    y, x = np.unravel_index(
        int(np.argmin(np.where(iou >= best - _AS_GOOD, far, np.inf))), far.shape
    )
    down, right = (base[0] + steps[y]) * factor, (base[1] + steps[x]) * factor
    shift = float(down - corner_b[0]), float(right - corner_b[1])
    pixel = float(factor**2)
    return Agreement(
        common[y, x] * pixel, in_a[y, x] * pixel, in_b[y, x] * pixel,
        shift, _fixed(iou, (int(y), int(x)), factor),
    )  # fmt: skip


def _within(a: Piece, b: Piece, corner_b: tuple[float, float], reach: int) -> Piece:
    """Cut from `a` what the other image, moved by up to `reach`, can show."""
    cuts = []
    for axis in (0, 1):
        low = int(np.floor(corner_b[axis])) - reach - a.corner[axis]
        high = int(np.ceil(corner_b[axis])) + b.shape[axis] + reach - a.corner[axis]
        length = a.mask.shape[axis]
        cuts.append(slice(min(max(low, 0), length), min(max(high, 0), length)))
    corner = a.corner[0] + cuts[0].start, a.corner[1] + cuts[1].start
    return Piece(a.mask[cuts[0], cuts[1]], corner, a.shape)


def _common(a: Piece, b: Piece, corner_b: tuple[int, int], reach: int) -> FloatArray:
    """Pixels in both masks at every displacement of `b`."""
    canvas = np.zeros((b.mask.shape[0] + 2 * reach, b.mask.shape[1] + 2 * reach), np.uint8)
    source, target = [], []
    for axis in (0, 1):
        at = a.corner[axis] - (corner_b[axis] + b.corner[axis] - reach)
        low, high = max(at, 0), min(at + a.mask.shape[axis], canvas.shape[axis])
        source.append(slice(low - at, max(high, low) - at))
        target.append(slice(low, max(high, low)))
    if any(s.start >= s.stop for s in source):
        return np.zeros((2 * reach + 1, 2 * reach + 1))
    canvas[target[0], target[1]] = a.mask[source[0], source[1]]
    return np.round(cv2.matchTemplate(canvas, b.mask, cv2.TM_CCORR)).astype(float)


def _covered(
    a: Piece, spans: list[tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]]
) -> FloatArray:
    """Pixels of a mask inside the other image at every displacement."""
    total = cv2.integral(a.mask)
    ends = [
        np.clip(np.stack(span) - c, 0, n)
        for span, c, n in zip(spans, a.corner, a.mask.shape, strict=True)
    ]
    (top, bottom), (left, right) = ends
    rows = (total[bottom] - total[top]).astype(float)
    return np.asarray(rows[:, right] - rows[:, left])


def _fixed(iou: FloatArray, peak: tuple[int, int], factor: int) -> tuple[float, float]:
    """How much the agreement falls off to both sides of its maximum, per axis."""
    step = max(_CURVED_PX // factor, 1)
    out = []
    for axis in (0, 1):
        line = np.take(iou, peak[1 - axis], axis=1 - axis)
        i = peak[axis]
        sides = [line[k] for k in (i - step, i + step) if 0 <= k < len(line)]
        fall = float(line[i] - max(sides)) if len(sides) == 2 else 0.0
        out.append(min(max(fall / _CLEARLY_WORSE, 0.0), 1.0))
    return out[0], out[1]


def agree_along_seam(
    a: BoolArray, b: BoolArray, start_b: float, reach_px: int, axis: int
) -> Agreement:
    """Compare where two images are cut by a common border.

    Parameters
    ----------
    a, b : ndarray of bool, (k, n) and (k, m)
        Pixels along each image's border that belong to each of k kinds of region.
    start_b : float
        Where `b` starts, in pixels from where `a` does.
    reach_px : int
        `b` is moved by up to this; the smallest of equally good displacements counts.
    axis : int
        0 if the border runs downwards, 1 if to the right.
    """
    start = round(start_b)
    in_a, in_b = float(np.count_nonzero(a)), float(np.count_nonzero(b))
    steps = np.arange(-reach_px, reach_px + 1)
    common = np.zeros(len(steps))
    at = reach_px - start
    length = b.shape[1] + 2 * reach_px
    low, high = max(at, 0), min(at + a.shape[1], length)
    if low >= high:
        return NOTHING
    for one, other in zip(a, b, strict=False):
        canvas = np.zeros(length)
        canvas[low:high] = one[low - at : high - at]
        common += np.correlate(canvas, other.astype(float), "valid")
    iou = common / np.maximum(in_a + in_b - common, 1)
    best = int(np.argmin(np.where(iou >= iou.max() - _AS_GOOD, np.abs(steps), np.inf)))
    move = float(start + steps[best] - start_b)
    shift, fixed = ((move, 0.0), (1.0, 0.0)) if axis == 0 else ((0.0, move), (0.0, 1.0))
    return Agreement(float(common[best]), in_a, in_b, shift, fixed)
