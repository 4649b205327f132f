"""By how much two pictures of one size are shifted, also where they share no more than a strip.

The score is the correlation coefficient of the pixels that two pictures have in common at a shift,
from one product of spectra and running sums; Padfield, IEEE Trans. Image Process. 21, 2706 (2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray

Picture = npt.NDArray[np.float32]

_FINE_PX, _COARSE_PX = 0.8, 6.0
_LARGEST = 0.25
_NEAR_PX = 6
_SMALLEST_SHARE = 0.02
_FLATTEST = 1e-6


@dataclass(frozen=True)
class Shift:
    """What lies at ``x`` in the second picture lies at ``x + x_px`` in the first.

    Attributes
    ----------
    y_px, x_px : float
    correlation : float
        Coefficient over the common pixels, -1 to 1.
    lead : float
        Significance (Fisher's z over the common pixels) divided by that of the next best shift.
    """

    y_px: float
    x_px: float
    correlation: float
    lead: float


@dataclass(frozen=True)
class Prepared:
    """A picture ready to be compared: band-passed, with its spectrum and running sums."""

    spectrum: npt.NDArray[np.complex64]
    total: FloatArray
    squares: FloatArray


class Shifts:
    """Compares pictures of one shape.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    """

    def __init__(self, shape: tuple[int, int]):
        from scipy import fft

        self.shape = shape
        self._size = tuple(fft.next_fast_len(2 * n, real=True) for n in shape)
        self._steps = [np.arange(1 - n, n) for n in shape]
        axes = list(zip(shape, self._steps, strict=True))
        self._first = [(np.maximum(t, 0), np.minimum(n, n + t)) for n, t in axes]
        self._second = [(np.maximum(-t, 0), np.minimum(n, n - t)) for n, t in axes]
        self._count = np.outer(*(high - low for low, high in self._first)).astype(float)
        # What is fixed to the sensor correlates at no shift; neighbours never lie there.
        still = np.outer(*(np.abs(t) <= max(2, 0.02 * n) for n, t in axes))
        allowed = (self._count >= _SMALLEST_SHARE * shape[0] * shape[1]) & ~still
        # Band-passed noise has about one independent value per 4 px.
        self._weight = np.where(allowed, np.sqrt(np.maximum(self._count / 4 - 3, 0)), 0)

    def prepare(self, picture: Picture) -> Prepared:
        """Band-pass a picture of relative levels, so that edges and not areas must agree."""
        from scipy import fft

        clipped = np.clip(picture - np.median(picture), -_LARGEST, _LARGEST)
        fine, coarse = (cv2.GaussianBlur(clipped, (0, 0), s) for s in (_FINE_PX, _COARSE_PX))
        band = fine - coarse
        spectrum = fft.rfft2(band, self._size)
        return Prepared(spectrum, cv2.integral(band), cv2.integral(band * band))

    def between(self, a: Prepared, b: Prepared) -> Shift:
        """Best shift of `b` against `a`."""
        r = self._coefficients(a, b)
        z = np.arctanh(np.clip(r, -0.999, 0.999)) * self._weight
        peak = np.unravel_index(int(np.argmax(z)), z.shape)
        elsewhere = z.copy()
        elsewhere[_around(peak, _NEAR_PX)] = 0
        lead = float(z[peak] / max(float(elsewhere.max()), 1e-9))
        y, x = _summit(z, peak)
        return Shift(y + self._steps[0][0], x + self._steps[1][0], float(r[peak]), lead)

    def _coefficients(self, a: Prepared, b: Prepared) -> FloatArray:
        from scipy import fft

        product = fft.irfft2(a.spectrum * np.conj(b.spectrum), self._size)[np.ix_(*self._steps)]
        n = np.maximum(self._count, 1)
        sum_a, sum_b = _sums(a.total, self._first), _sums(b.total, self._second)
        var_a = _sums(a.squares, self._first) - sum_a**2 / n
        var_b = _sums(b.squares, self._second) - sum_b**2 / n
        spread = np.sqrt(np.maximum(var_a, _FLATTEST * n) * np.maximum(var_b, _FLATTEST * n))
        return np.asarray((product - sum_a * sum_b / n) / spread)


def _sums(integral: FloatArray, spans: list[tuple[IntArray, IntArray]]) -> FloatArray:
    """Add up over the common rectangle at every shift."""
    (top, bottom), (left, right) = spans
    strips = integral[bottom] - integral[top]
    return np.asarray(strips[:, right] - strips[:, left])


def _around(peak: tuple[np.intp, ...], reach: int) -> tuple[slice, ...]:
    return tuple(slice(max(int(p) - reach, 0), int(p) + reach + 1) for p in peak)


def _summit(z: FloatArray, peak: tuple[np.intp, ...]) -> tuple[float, float]:
    """Refine a maximum to a fraction of a pixel by a parabola along each axis."""
    place = []
    for axis in (0, 1):
        line = np.take(z, int(peak[1 - axis]), axis=1 - axis)
        i = int(peak[axis])
        if not 0 < i < len(line) - 1:
            place.append(float(i))
            continue
        low, top, high = line[i - 1 : i + 2]
        bend = low - 2 * top + high
        place.append(i + (0.5 * (low - high) / bend if bend < 0 else 0.0))
    return place[0], place[1]
