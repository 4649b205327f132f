"""What a pixel's surroundings look like at several scales: the input of a pixel forest.

The 49 numbers per channel of the set ``scales`` are those that microscopists know from ilastik's
pixel classification: six filters at seven scales, pre-smoothed in its way. ``wide`` adds the pixel
itself and its surroundings up to a tenth of a picture, which tell a hole from a dark flake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnknownName

Plane = npt.NDArray[np.float32]

SIGMAS_PX = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
FILTERS = ("gaussian", "laplacian", "gradient", "difference", "tensor", "hessian")
WIDE_SIGMAS_PX = (20.0, 40.0)
FEATURE_SETS = ("scales", "wide")

_SMOOTHING_WINDOW, _FILTER_WINDOW = 3.5, 2.0  # radius of kernels, in sigma
_INNER_DIFFERENCE, _OUTER_TENSOR = 0.66, 0.5  # of sigma
_STEP = 8  # the wide scales are computed on every eighth pixel
REACH_PX = {"scales": 48, "wide": 3 * 40 + 2 * _STEP}
"""How far a pixel's features look. Gaussians are cut at 3 sigma for the wide ones."""


def feature_names(channels: int, features: str = "scales") -> tuple[str, ...]:
    """Name of every feature, in the order of `pixel_features`: ``c0 gaussian 0.3``.

    Parameters
    ----------
    channels : int
    features : {"scales", "wide"}

    Raises
    ------
    UnknownName
        If there is no such set.
    """
    if features not in FEATURE_SETS:
        raise UnknownName.of("set of pixel features", features, FEATURE_SETS)
    names = [
        f"c{c} {name} {sigma:g}{part}"
        for name in FILTERS
        for sigma in SIGMAS_PX
        if _has(name, sigma)
        for c in range(channels)
        for part in (("/1", "/2") if name in ("tensor", "hessian") else ("",))
    ]
    if features == "wide":
        names += [f"c{c} {what}" for c in range(channels) for what in ("value", *_wide_names())]
    return tuple(names)


def _wide_names() -> tuple[str, ...]:
    return tuple(f"{what} {s:g}" for s in WIDE_SIGMAS_PX for what in ("mean", "deviation"))


def _has(name: str, sigma: float) -> bool:
    return name == "gaussian" or sigma >= 0.7


def pixel_features(image: npt.NDArray[np.float32], features: str = "scales") -> Plane:
    """Features of every pixel.

    Parameters
    ----------
    image : ndarray of float32, (H, W, C) or (H, W)
    features : {"scales", "wide"}
        49 per channel, or those and five more.

    Returns
    -------
    ndarray of float32, (F, H, W)
        One plane per name of `feature_names`.

    Raises
    ------
    InputError
        If the image is of another shape or type.

    Notes
    -----
    A scale above 1 px is reached by smoothing with sqrt(sigma^2 - 1) and filtering at 1 px; one of
    at most 1 px is smoothed by sigma and filtered at sigma again. The difference of Gaussians is
    that of sigma and 0.66 sigma; the structure tensor's gradient has the scale sigma, its mean
    sigma / 2. Eigenvalues come largest first. The borders are mirrored. Kernels reach 3.5 sigma for
    the smoothing and 2 sigma for the filters, derivatives are exact for polynomials of their
    order: S. Berg et al., Nat. Methods 16, 1226 (2019) and the VIGRA documentation.
    """
    image = _checked(image)
    channels = image.shape[2]
    planes = np.empty((len(feature_names(channels, features)), *image.shape[:2]), np.float32)
    order = {name: i for i, name in enumerate(feature_names(channels, features))}
    for c in range(channels):
        channel = np.ascontiguousarray(image[:, :, c])
        for name, plane in _of_channel(channel, features):
            planes[order[f"c{c} {name}"]] = plane
    return planes


def _checked(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if image.dtype != np.float32 or image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"pixel features need float32 (H, W) or (H, W, C), got {image.dtype} {image.shape}"
        )
    return image if image.ndim == 3 else image[:, :, None]


def _of_channel(channel: Plane, features: str) -> Iterator[tuple[str, Plane]]:
    for sigma in SIGMAS_PX:
        yield from ((f"{name}", plane) for name, plane in _at_scale(channel, sigma))
    if features == "wide":
        yield "value", channel
        yield from _wide(channel)


def _at_scale(channel: Plane, sigma: float) -> Iterator[tuple[str, Plane]]:
    before = sigma if sigma <= 1 else float(np.sqrt(sigma * sigma - 1))
    smooth = _filter(channel, _kernel(before, 0, _SMOOTHING_WINDOW))
    s = min(sigma, 1.0)
    zero, first, second = (_kernel(s, n, _FILTER_WINDOW) for n in range(3))
    level = _filter(smooth, zero)
    yield f"gaussian {sigma:g}", level
    if sigma < 0.7:
        return
    xx, yy = _filter(smooth, second, zero), _filter(smooth, zero, second)
    yield f"laplacian {sigma:g}", xx + yy
    x, y = _filter(smooth, first, zero), _filter(smooth, zero, first)
    yield f"gradient {sigma:g}", cv2.magnitude(x, y)
    finer = _filter(smooth, _kernel(_INNER_DIFFERENCE * s, 0, _FILTER_WINDOW))
    yield f"difference {sigma:g}", level - finer
    mean = _kernel(_OUTER_TENSOR * s, 0, _FILTER_WINDOW)
    tensor = (_filter(product, mean) for product in (x * x, x * y, y * y))
    yield from _both("tensor", sigma, _eigenvalues(*tensor))
    hessian = _eigenvalues(xx, _filter(smooth, first, first), yy)
    yield from _both("hessian", sigma, hessian)


def _both(name: str, sigma: float, values: tuple[Plane, Plane]) -> Iterator[tuple[str, Plane]]:
    yield f"{name} {sigma:g}/1", values[0]
    yield f"{name} {sigma:g}/2", values[1]


def _eigenvalues(xx: Plane, xy: Plane, yy: Plane) -> tuple[Plane, Plane]:
    """Of symmetric 2 x 2 matrices, the larger first."""
    middle = (xx + yy) * np.float32(0.5)
    apart = cv2.magnitude((xx - yy) * np.float32(0.5), xy)
    return middle + apart, middle - apart


def _filter(plane: Plane, along_x: Plane, along_y: Plane | None = None) -> Plane:
    along_y = along_x if along_y is None else along_y
    return np.asarray(
        cv2.sepFilter2D(plane, cv2.CV_32F, along_x, along_y, borderType=cv2.BORDER_REFLECT_101)
    )


@lru_cache(maxsize=64)
def _kernel(sigma: float, order: int, window: float) -> Plane:
    """Gaussian, or a derivative of it that answers x^order / order! with one."""
    radius = max(1, int(window * sigma + 0.5))
    x = np.arange(-radius, radius + 1, dtype=float)
    values = np.exp(-(x**2) / (2 * sigma**2))
    if order == 1:
        values = x * values
    if order == 2:
        values = (x**2 / sigma**2 - 1) * values
    if order:
        values -= values.mean()
    moment = (1.0, 1.0, 2.0)[order]
    kernel = (values * moment / (values * x**order).sum()).astype(np.float32)
    kernel.flags.writeable = False
    return kernel


def _wide(channel: Plane) -> Iterator[tuple[str, Plane]]:
    """Mean and standard deviation around a pixel, exact on every eighth and bent in between."""
    height, width = channel.shape
    padded = cv2.copyMakeBorder(
        channel, 0, -height % _STEP, 0, -width % _STEP, cv2.BORDER_REFLECT_101
    )
    size = (padded.shape[1] // _STEP, padded.shape[0] // _STEP)
    level = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    square = cv2.resize(padded * padded, size, interpolation=cv2.INTER_AREA)
    for sigma in WIDE_SIGMAS_PX:
        kernel = _kernel(sigma / _STEP, 0, 3.0)
        mean, power = _filter(level, kernel), _filter(square, kernel)
        deviation = np.sqrt(np.maximum(power - mean * mean, 0))
        for what, plane in (("mean", mean), ("deviation", deviation)):
            whole = cv2.resize(plane, padded.shape[::-1], interpolation=cv2.INTER_LINEAR)
            yield f"{what} {sigma:g}", whole[:height, :width]


@dataclass(frozen=True)
class Strip:
    """Rows `top` to `bottom` of an image, and the rows `first` to `last` that they depend on."""

    top: int
    bottom: int
    first: int
    last: int


def strips(shape: tuple[int, int], features: str = "scales", rows: int = 256) -> tuple[Strip, ...]:
    """Cut an image so that features computed strip by strip are those of the whole image.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    features : {"scales", "wide"}
    rows : int
        Of a strip without its surroundings; rounded up to a multiple of eight.
    """
    reach, height = -(-REACH_PX[features] // _STEP) * _STEP, shape[0]
    rows = max(_STEP, -(-rows // _STEP) * _STEP)
    return tuple(
        Strip(top, min(top + rows, height), max(top - reach, 0), min(top + rows + reach, height))
        for top in range(0, height, rows)
    )
