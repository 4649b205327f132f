"""How images lie on the stage, from what overlapping neighbours show twice.

The camera keeps its orientation during a scan, so that neighbours differ by a shift. Shifts in
pixels against stage steps in micrometres give the 2 x 2 matrix: pixel size, rotation and flip come
out together, and no guess of the orientation is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.core.stage import StageAffine, StagePosition
from layerscope.errors import InputError
from layerscope.ops.correlation import Picture, Prepared, Shifts

_WORKING_PX = 400
_WANTED_PAIRS = 24
_MOST_PAIRS = 80
_MEDIAN_OF = 15
_FEWEST_PAIRS = 3
_TOLERANCE = 0.04
"""Of the image diagonal: how far a shift may be off, mostly by the stage's own error."""
_LARGEST_SHEAR = 0.05
_SCALE_MISMATCH = 0.02
_WRONG_SCALE = 0.1
_LEAST_SPREAD = 0.3
_DARKEST = 1e-3
_LEAST_CORRELATION, _LEAST_LEAD = 0.75, 1.4
"""Of pairs without overlap 2 % pass, of pairs sharing 6 to 10 % and a flake nine in ten."""


@dataclass(frozen=True)
class _Overlap:
    """One pair whose shift was measured."""

    step_um: FloatArray
    shift_px: FloatArray


def fit_affine(
    positions: Sequence[StagePosition | None],
    read: Callable[[int], Micrograph],
    *,
    pixel_size: PixelSize | None = None,
) -> StageAffine:
    """Fit the matrix from image to stage from overlapping neighbours.

    Shifts are maxima of the normalised cross-correlation over all shifts (`ops.correlation`), after
    the median of the set, which is dust and uneven light, was taken off. Bare overlaps correlate
    with nothing and are dropped. Each measured pair proposes a square pixel grid, plain and
    mirrored; the proposal that most others agree with is refined by least squares.

    Parameters
    ----------
    positions : sequence of StagePosition or None
        Of each image's centre. Images without one are left out.
    read : callable
        ``read(i)`` gives image `i`; called for a few dozen of them, each at most once.
    pixel_size : PixelSize, optional
        What is believed. Pairs that contradict it by 10 % or more are not believed, and a mismatch
        of over 2 % is noted.

    Returns
    -------
    StageAffine
        From the pixel size alone, with a note, where overlaps do not suffice.

    Raises
    ------
    InputError
        If there is no pixel size and fewer than 3 overlaps in two directions agree.
    """
    pairs = _spread_pairs(positions)
    overlaps, diagonal_px = _measure(pairs, positions, read)
    problem = f"{len(overlaps)} of {len(pairs)} neighbouring pairs show the same flakes"
    agreeing = overlaps
    if len(overlaps) >= _FEWEST_PAIRS:
        agreeing = _agreeing(overlaps, diagonal_px, pixel_size)
        problem = f"{len(agreeing)} of {len(overlaps)} overlaps agree on a shift"
    enough = len(agreeing) >= max(_FEWEST_PAIRS, 0.5 * len(overlaps))
    if not enough or not _two_directions(agreeing):
        if enough:
            problem = "all overlaps lie in one direction"
        if pixel_size is None:
            raise InputError(
                f"image axes on the stage: {problem}; expected {_FEWEST_PAIRS} in two directions; "
                "give a pixel size, or images that overlap"
            )
        told = StageAffine.from_pixel_size(pixel_size)
        note = f"image axes taken as the stage's x and y: {problem}"
        return replace(told, notes=(note,))
    return _fitted(agreeing, pixel_size)


def _spread_pairs(positions: Sequence[StagePosition | None]) -> IntArray:
    """Neighbouring images (m, 2), evenly from all over the scan, its two directions in turn."""
    from scipy.spatial import cKDTree

    known = [i for i, p in enumerate(positions) if p is not None]
    known.sort(key=lambda i: _place(positions[i]))
    place = np.array([_place(positions[i]) for i in known]).reshape(-1, 2)
    if len(known) < 2:
        return np.zeros((0, 2), np.int64)
    distance, near = cKDTree(place).query(place, k=min(9, len(known)))
    first = np.repeat(np.arange(len(known)), near.shape[1])
    second, length = near.ravel(), distance.ravel()
    apart = (first < second) & (length > 1e-6 * max(float(length.max()), 1e-9))
    first, second, length = first[apart], second[apart], length[apart]
    along = _along_rows(place[second] - place[first], length)
    kinds = [_every(np.flatnonzero(k), _MOST_PAIRS // 2) for k in along]
    turn = [k[i] for i in range(max(map(len, kinds), default=0)) for k in kinds if i < len(k)]
    pairs = np.stack([first[turn], second[turn]], axis=1)
    return np.asarray(np.array(known)[pairs], np.int64)


def _place(position: StagePosition | None) -> tuple[float, float]:
    return (0.0, 0.0) if position is None else (position.x_um, position.y_um)


def _along_rows(step: FloatArray, length: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Which steps go to the nearest neighbour in the scan's one and its other direction."""
    if len(step) == 0:
        return np.zeros(0, bool), np.zeros(0, bool)
    order = np.argsort(length, kind="stable")
    short = length <= 1.2 * np.median(length[order[: max(len(order) // 8, 1)]])
    angle = np.arctan2(step[:, 1], step[:, 0])
    main = angle[order[0]]
    turned = np.abs(np.sin(angle - main))
    first = short & (turned < 0.5)
    across = turned > 0.85
    if not across.any():
        return first, across
    pitch = np.median(np.sort(length[across])[: max(np.count_nonzero(across) // 3, 1)])
    return first, across & (length <= 1.2 * pitch)


def _every(index: IntArray, most: int) -> IntArray:
    """At most `most` of `index`, evenly spread, far apart ones first."""
    if len(index) == 0:
        return index
    chosen = index[np.unique(np.linspace(0, len(index) - 1, most).round().astype(int))]
    # Steps of the golden section: any first few of them are spread over the whole.
    order = np.argsort((np.arange(len(chosen)) * 0.6180339887498949) % 1.0, kind="stable")
    return np.asarray(chosen[order])


def _measure(
    pairs: IntArray, positions: Sequence[StagePosition | None], read: Callable[[int], Micrograph]
) -> tuple[list[_Overlap], float]:
    """Measure shifts pair by pair until there are enough; also the image diagonal in px."""
    pictures = _Pictures(read, list(dict.fromkeys(pairs.ravel().tolist())))
    found: list[_Overlap] = []
    for first, second in pairs.tolist():
        shift_px = pictures.shift_px(first, second)
        if shift_px is not None:
            a, b = _place(positions[first]), _place(positions[second])
            found.append(_Overlap(np.subtract(b, a), shift_px))
        if len(found) == _WANTED_PAIRS:
            break
    return found, pictures.diagonal_px


class _Pictures:
    """Small grey pictures of the images, with what all of them share taken off."""

    def __init__(self, read: Callable[[int], Micrograph], wanted: Sequence[int]):
        self._read = read
        self._scale: tuple[float, float] = (1.0, 1.0)
        self._shape: tuple[int, int] | None = None
        self._shifts: Shifts | None = None
        self._prepared: dict[int, Prepared | None] = {}
        first = {i: self._load(i) for i in wanted[:_MEDIAN_OF]}
        usable = [p for p in first.values() if p is not None]
        # Fewer than five pictures would hold flakes in their median.
        self._fixed = np.median(usable, axis=0) if len(usable) >= 5 else np.float32(0)
        self._prepared = {i: self._prepare(p) for i, p in first.items()}

    @property
    def diagonal_px(self) -> float:
        """Of an image."""
        return float(np.hypot(*(self._shape or (0, 0))))

    def shift_px(self, first: int, second: int) -> FloatArray | None:
        """X, y by which the second image's content lies further in the first; None if unsure."""
        for i in (first, second):
            if i not in self._prepared:
                self._prepared[i] = self._prepare(self._load(i))
        a, b = self._prepared[first], self._prepared[second]
        if a is None or b is None or self._shifts is None:
            return None
        found = self._shifts.between(a, b)
        if found.correlation < _LEAST_CORRELATION or found.lead < _LEAST_LEAD:
            return None
        return np.array([found.x_px * self._scale[1], found.y_px * self._scale[0]])

    def _load(self, i: int) -> Picture | None:
        """Read image `i`; None if its size is not that of the others."""
        image = self._read(i)
        if self._shape is None:
            self._shape = image.shape
            least = min(1.0, _WORKING_PX / max(image.shape))
            height, width = (max(1, round(n * least)) for n in image.shape)
            self._shifts = Shifts((height, width))
            self._scale = image.shape[0] / height, image.shape[1] / width
        if image.shape != self._shape or self._shifts is None:
            return None
        size = self._shifts.shape[::-1]
        small = cv2.resize(image.data, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        grey = small if small.ndim == 2 else small.mean(axis=2)
        level = np.log(np.maximum(grey / np.float32(image.white_level), _DARKEST))
        return np.asarray(level - np.median(level))

    def _prepare(self, picture: Picture | None) -> Prepared | None:
        if picture is None or self._shifts is None:
            return None
        return self._shifts.prepare(np.asarray(picture - self._fixed, np.float32))


def _agreeing(
    overlaps: list[_Overlap], diagonal_px: float, pixel_size: PixelSize | None
) -> list[_Overlap]:
    """Overlaps that the most supported square pixel grid explains, plain or mirrored."""
    step, shift = _columns(overlaps)
    best = np.zeros(len(overlaps), bool)
    least = np.inf
    for matrix in _proposals(step, shift):
        if pixel_size is not None and abs(_side_um(matrix) / pixel_size.um - 1) > _WRONG_SCALE:
            continue
        error_px = np.hypot(*(np.linalg.solve(matrix, step.T) - shift.T))
        fits = error_px <= _TOLERANCE * diagonal_px
        spread = float(np.minimum(error_px, _TOLERANCE * diagonal_px).sum())
        if spread < least:
            best, least = fits, spread
    return [o for o, fit in zip(overlaps, best, strict=True) if fit]


def _proposals(step: FloatArray, shift: FloatArray) -> Iterator[FloatArray]:
    """Square pixel grids (2, 2) that map one shift to its step, plain and mirrored."""
    for d, s in zip(step, shift, strict=True):
        for mirror in (1.0, -1.0):
            ratio = complex(*d) / complex(s[0], mirror * s[1])
            turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
            yield turn @ np.diag([1.0, mirror])


def _two_directions(overlaps: list[_Overlap]) -> bool:
    _, shift = _columns(overlaps)
    unit = shift / np.hypot(*shift.T)[:, None]
    return bool(np.linalg.svd(unit, compute_uv=False)[-1] > _LEAST_SPREAD)


def _fitted(overlaps: list[_Overlap], pixel_size: PixelSize | None) -> StageAffine:
    """Least squares with Huber's weights (Ann. Math. Stat. 35, 73 (1964)): stages slip at times.

    Weighing pairs that share an image by their common error (generalised least squares) was not
    better: over 12 scans the median error of the matrix was 0.26 % against 0.28 %.
    """
    step, shift = _columns(overlaps)
    root = np.ones((len(step), 1))
    for _ in range(10):
        matrix = np.linalg.lstsq(shift * root, step * root, rcond=None)[0].T
        error_um = np.hypot(*(step - shift @ matrix.T).T)
        usual = max(1.5 * 1.4826 * float(np.median(error_um)), 1e-9)
        root = np.sqrt(np.minimum(1.0, usual / np.maximum(error_um, 1e-12)))[:, None]
    rms_um = float(np.sqrt(np.mean(error_um**2)))
    fitted = StageAffine(np.asarray(matrix, float), f"{len(step)} overlaps", rms_um, len(step))
    return replace(fitted, notes=tuple(_doubts(fitted, pixel_size)))


def _doubts(fitted: StageAffine, pixel_size: PixelSize | None) -> Iterator[str]:
    own = fitted.pixel_size_um
    if pixel_size is not None and abs(own / pixel_size.um - 1) > _SCALE_MISMATCH:
        yield (
            f"the stage moves as if a pixel were {own:.4g} um, the pixel size says "
            f"{pixel_size.um:.4g} um ({pixel_size.source}): one of the two is wrong"
        )
    longest, shortest = np.linalg.svd(fitted.matrix, compute_uv=False)
    if longest / shortest > 1 + _LARGEST_SHEAR:
        yield (
            f"stage axes are not square: {shortest:.4g} to {longest:.4g} um per pixel by direction"
        )


def _columns(overlaps: list[_Overlap]) -> tuple[FloatArray, FloatArray]:
    return np.array([o.step_um for o in overlaps]), np.array([o.shift_px for o in overlaps])


def _side_um(matrix: FloatArray) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix))))
