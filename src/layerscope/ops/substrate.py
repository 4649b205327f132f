"""A smooth surface through the bare substrate that flakes do not bend.

Works on a coarse grid of cells, in working levels (0 to 255). A polynomial follows the lamp, a
glare model the light that bright flakes scatter around them, and a local mean of bare cells what is
left, e.g. the corner of a round aperture.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.channels import FloatImage, colours_at, column_quantile, farthest, within

SAME_COLOUR = 0.12
"""Two levels closer than this in log space are one colour: wider than 10 % vignetting."""

_BOX = np.ones((3, 3), np.uint8)
_GLARE_CELLS = (1.5, 4.0, 12.0)

Mask = npt.NDArray[np.uint8]


def fit_surface(
    cells: FloatImage, flat: BoolArray, valid: BoolArray, start: FloatArray
) -> tuple[FloatImage, BoolArray]:
    """Substrate level on every cell.

    Parameters
    ----------
    cells : ndarray of float32, (h, w, 3)
    flat : ndarray of bool, (h, w)
        Cells that may be bare substrate: even and specimen.
    valid : ndarray of bool, (h, w)
        Cells that are specimen at all.
    start : ndarray, (3,)
        Colour of the substrate somewhere in the field.

    Returns
    -------
    surface : ndarray of float32, (h, w, 3)
    bare : ndarray of bool, (h, w)
        Cells taken for bare substrate.
    """
    surface = np.full(cells.shape, start, np.float32)
    gate = np.maximum(SAME_COLOUR * (start + 4), 4.0)
    for degree in (2, 4, 4):
        bare = flat & (within(cells - surface, gate) > 0)
        if np.count_nonzero(bare) < 60:
            return surface, bare
        surface = polynomial_surface(cells, bare, degree)
        gate = np.clip(4 * _spread(cells - surface, bare), 1.5, 6.0)
    surface += _glare(cells - surface, valid, gate)
    return _follow(cells, surface, valid, gate)


def pixel_noise(levels: npt.NDArray[np.uint8] | FloatImage, surface: FloatImage) -> FloatArray:
    """Measure the sd of bare pixels from differences of neighbours: no gradient enters.

    Parameters
    ----------
    levels : ndarray of uint8 or float32, (h, w, 3)
    surface : ndarray of float32, (h', w', 3)
        Substrate on its coarse grid.
    """
    some = levels[:: 1 if levels.shape[0] < 300 else 8].astype(np.float32, copy=False)
    size = (some.shape[1], some.shape[0])
    model = cv2.resize(surface, size, interpolation=cv2.INTER_LINEAR)
    near = farthest(some - model) < 8
    pair = near[:, 2:] & near[:, :-2]
    if np.count_nonzero(pair) < 50:
        return np.full(3, 1.0)
    # Mean, not median: differences of 8-bit data are a few integers. E|x - y| = 2 sd / sqrt(pi).
    mean = cv2.mean(cv2.absdiff(some[:, 2:], some[:, :-2]), pair.view(np.uint8))[:3]
    return np.maximum(np.array(mean) * np.sqrt(np.pi) / 2, 0.15)


def surface_se(
    cells: FloatImage, surface: FloatImage, bare: BoolArray, noise: FloatArray
) -> FloatArray:
    """Robust sd of bare cells about the surface: shading that it does not follow."""
    return _spread(cells - surface, bare) if np.count_nonzero(bare) >= 60 else noise


def _spread(residual: FloatImage, bare: BoolArray) -> FloatArray:
    where = np.flatnonzero(bare)
    some = np.abs(colours_at(residual, where[:: max(1, len(where) // 2500)]))
    return 1.4826 * column_quantile(some, 0.5)


def polynomial_surface(cells: FloatImage, fit: BoolArray, degree: int) -> FloatImage:
    """Fit Legendre polynomials up to `degree` through the cells `fit`, weakly ridged."""
    where = np.flatnonzero(fit)
    where = where[:: max(1, len(where) // 2000)]
    y, x, orders, ridge = _legendre(fit.shape[0], fit.shape[1], degree)
    rows, columns = np.divmod(where, fit.shape[1])
    design = y[rows][:, orders[0]] * x[columns][:, orders[1]]
    solution = np.linalg.solve(
        design.T @ design + np.diag(ridge * len(where)),
        design.T @ colours_at(cells, where).astype(float),
    )
    weight = np.zeros((3, degree + 1, degree + 1))
    weight[:, orders[0], orders[1]] = solution.T
    r, g, b = (y @ weight @ x.T).astype(np.float32)
    return np.asarray(cv2.merge([r, g, b]))


@lru_cache(maxsize=8)  # the same for all images of a size: a quarter of the fit
def _legendre(
    height: int, width: int, degree: int
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    """Legendre polynomials along both axes, the orders (2, K) used, and the ridge of each."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (height, width)]
    y, x = (np.polynomial.legendre.legvander(axis, degree) for axis in axes)
    orders = np.array([(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]).T
    total = orders.sum(axis=0)
    ridge = np.where(total == 0, 1e-9, 1e-3 * total**2)
    return y.astype(float), x.astype(float), orders.astype(np.int64), ridge.astype(float)


def _smooth(image: FloatImage, sigma: float) -> FloatImage:
    """Gaussian blur; wide ones on a smaller grid, at a tenth of the time."""
    shrink = max(1, int(sigma // 2))
    size = (image.shape[1], image.shape[0])
    small = (max(1, size[0] // shrink), max(1, size[1] // shrink))
    if shrink > 1:
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), sigma / shrink)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) if shrink > 1 else image


def _glare(residual: FloatImage, valid: BoolArray, gate: FloatArray) -> FloatImage:
    """Light that flakes scatter onto the substrate around them.

    Per channel, the residual of bare cells is regressed on the flakes' deviation blurred by
    1.5, 4 and 12 cells. Beside large white flakes it reaches 2 % of white: a monolayer's contrast.
    On a flake itself the narrowest blur is its own light, not its surroundings', and is left out.
    """
    off = cv2.bitwise_not(within(residual, 1.5 * gate)) | np.where(valid, 0, 255).astype(np.uint8)
    fit = np.flatnonzero(cv2.dilate(off, _BOX) == 0)
    fit = fit[:: max(1, len(fit) // 6000)]
    if not off.any() or len(fit) < 200:
        return np.zeros_like(residual)
    source = cv2.copyTo(residual, off)
    spread = [_smooth(source, sigma) for sigma in _GLARE_CELLS]
    sampled = [colours_at(s, fit).astype(float) for s in spread]
    target = colours_at(residual, fit).astype(float)
    share = np.empty((len(spread), 3), np.float32)
    for channel in range(3):
        design = np.stack([s[:, channel] for s in sampled], axis=1)
        share[:, channel] = _sure_share(design, target[:, channel])
    spread[0][off > 0] = 0
    # Whole rows at once: a product with an axis of three takes 5 times as long.
    rows = np.tile(share, residual.shape[1])
    glare = sum(w * s.reshape(len(s), -1) for w, s in zip(rows, spread, strict=True))
    return np.asarray(glare, np.float32).reshape(residual.shape)


def _sure_share(design: FloatArray, target: FloatArray) -> FloatArray:
    """Regression coefficients between 0 and 0.5, each lowered by two standard errors."""
    normal = design.T @ design
    normal += (0.01 * np.trace(normal) / len(normal) + 1e-6) * np.eye(len(normal))
    solution = np.linalg.solve(normal, design.T @ target)
    variance = float(np.mean((target - design @ solution) ** 2))
    error = np.sqrt(variance * np.diag(np.linalg.inv(normal)))
    return np.clip(solution - 2 * error, 0, 0.5)


def _follow(
    cells: FloatImage, surface: FloatImage, valid: BoolArray, gate: FloatArray
) -> tuple[FloatImage, BoolArray]:
    """Add the local mean of the residual of bare cells; inside flakes it fades to nothing."""
    specimen = np.where(valid, 255, 0).astype(np.uint8)
    bare = specimen
    for sigma in (8.0, 4.0):
        residual = cells - surface
        near = within(residual, gate) & specimen
        flake = cv2.morphologyEx(cv2.bitwise_not(near), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        bare = cv2.bitwise_not(cv2.dilate(flake, np.ones((5, 5), np.uint8))) & near
        total = _smooth(cv2.copyTo(residual, bare), sigma)
        mass = _smooth((bare > 0).astype(np.float32), sigma)
        surface = surface + total / (mass + np.float32(0.1))[..., None]
    return np.maximum(surface, np.float32(1e-3)), bare > 0
