"""Numbers that describe a whole picture: for classifiers that learn from a few dozen labels.

Grey values, texture at several scales, spectrum, islands and their number, what stands out of the
background (`ops.picture_pieces`), symmetry. A linear model or trees on them need no pretrained
weights, and a hundred images are enough to see that they learn.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.ops.channels import FloatImage
from layerscope.ops.picture_pieces import N_PIECES, piece_features

_SIGMAS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
_RINGS = 12
_THRESHOLDS = (-2.0, -1.0, 1.0, 2.0)  # standard deviations from the median
_LEAST_ISLAND = 2e-4  # of the picture: 13 px of 256 x 256
_FLOOR = 1e-6

N_FEATURES = 95 + N_PIECES
"""Length of the vector of `picture_features`."""


def picture_features(picture: FloatImage, scale: float = math.nan) -> npt.NDArray[np.float32]:
    """Describe a picture by a vector.

    Parameters
    ----------
    picture : ndarray of float32, (H, W, C)
        0 to 1, without padding: `ops.whole_picture.inner_part`. Lengths are told in shares of its
        longer side, areas in shares of its own.
    scale : float
        Magnification, or what `core.categories.View.scale` gives; NaN: unknown.

    Returns
    -------
    ndarray of float32, (`N_FEATURES`,)
        Finite, and the same in all eight orientations of the picture up to rounding.
    """
    grey = np.ascontiguousarray(picture.mean(axis=2), np.float32)
    centred = grey - np.median(grey)
    spread = max(float(grey.std()), _FLOOR)
    flat = np.asarray(centred / spread, np.float32)
    known = scale > 0
    parts = [
        [float(grey.mean()), math.log(spread), *_moments(flat)],
        *(_texture(flat, sigma) for sigma in _SIGMAS_PX),
        _spectrum(flat),
        *(_islands(cv2.GaussianBlur(flat, (0, 0), 1.5), level) for level in _THRESHOLDS),
        piece_features(grey),
        _symmetry(flat),
        [math.log10(scale) - 4 if known else 0.0, float(known)],
    ]
    return np.array([v for part in parts for v in part], np.float32)


def _moments(flat: FloatImage) -> list[float]:
    """Percentiles, skewness and excess of values of spread 1."""
    values = flat.astype(float)
    shifted = values - values.mean()
    low_to_high = np.percentile(values, [1, 5, 25, 75, 95, 99])
    heavy = math.log1p(float((shifted**4).mean()))
    return [*low_to_high, float(np.cbrt((shifted**3).mean())), heavy]


def _texture(flat: FloatImage, sigma_px: float) -> list[float]:
    """How much there is between one scale and twice that, how peaked, and how steep."""
    fine = cv2.GaussianBlur(flat, (0, 0), sigma_px)
    band = fine - cv2.GaussianBlur(flat, (0, 0), 2 * sigma_px)
    spread = float(band.std()) + _FLOOR
    steep = cv2.magnitude(
        cv2.Scharr(fine, cv2.CV_32F, 1, 0, scale=1 / 32),
        cv2.Scharr(fine, cv2.CV_32F, 0, 1, scale=1 / 32),
    )
    ends = np.percentile(steep, [50, 90, 99]) + _FLOOR
    peaked = float((np.abs(band) ** 4).mean()) / spread**4
    skewed = float((band.astype(float) ** 3).mean()) / spread**3
    return [math.log(spread), math.log(peaked + 1), float(np.cbrt(skewed)), *np.log(ends)]


def _spectrum(flat: FloatImage) -> list[float]:
    """Share of the power in rings of equal width in the logarithm, and how uneven each ring is."""
    height, width = flat.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None]
    power = np.abs(np.fft.fft2(flat * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    edges = np.geomspace(1.5 / max(flat.shape), 0.5, _RINGS + 1)
    ring = np.digitize(radius, edges)
    whole = float(power[(ring > 0) & (ring <= _RINGS)].sum()) + _FLOOR
    out = []
    for k in range(1, _RINGS + 1):
        inside = power[ring == k]
        mean = float(inside.mean()) if inside.size else 0.0
        out.append(math.log(float(inside.sum()) / whole + _FLOOR))
        peak = float(inside.max()) / (mean + _FLOOR) if inside.size else 1.0
        out.append(math.log(peak + _FLOOR))
    return out


def _islands(flat: FloatImage, level: float) -> list[float]:
    """Count what is beyond a level: number, share, largest, usual, compactness, share cut off."""
    beyond = (flat > level) if level > 0 else (flat < level)
    count, _, stats, _ = cv2.connectedComponentsWithStats(beyond.astype(np.uint8), connectivity=8)
    area = stats[1:, cv2.CC_STAT_AREA].astype(float)
    large = area >= _LEAST_ISLAND * flat.size
    if count < 2 or not large.any():
        return [0.0, float(beyond.mean()), 0.0, 0.0, 0.0, 0.0]
    left, top, width, height = (stats[1:, k][large] for k in range(4))
    (rows, columns), area = flat.shape, area[large]
    cut = (left == 0) | (top == 0) | (left + width == columns) | (top + height == rows)
    filled = area / (width * height)
    return [
        math.log1p(len(area)),
        float(beyond.mean()),
        math.sqrt(float(area.max()) / flat.size),
        math.sqrt(float(np.median(area)) / flat.size),
        float(np.average(filled, weights=area)),
        float(np.average(cut, weights=area)),
    ]


def _symmetry(flat: FloatImage) -> list[float]:
    """How bright the centre is, and how alike the picture is turned by half a turn."""
    rows, columns = ((np.arange(n) - (n - 1) / 2) / max(flat.shape) for n in flat.shape)
    radius = np.hypot(rows[:, None], columns[None])
    means = [float(flat[(radius >= a) & (radius < b)].mean())
             for a, b in ((0, 0.06), (0.06, 0.15), (0.15, 0.3), (0.3, 0.5))]  # fmt: skip
    soft = cv2.GaussianBlur(flat, (0, 0), 2.0)
    soft = soft - soft.mean()
    alike = float((soft * soft[::-1, ::-1]).mean() / (float((soft**2).mean()) + _FLOOR))
    return [*means, alike]
