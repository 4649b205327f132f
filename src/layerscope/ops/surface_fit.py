"""Least squares and medians over height maps, with pixels left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError

Terms = tuple[tuple[int, int], ...]
"""Degrees (along y, along x) of the terms of a polynomial."""


@dataclass(frozen=True, eq=False)
class Levelled:
    """What a method of levelling returns.

    Attributes
    ----------
    heights_nm : ndarray, (H, W)
        NaN where the input was.
    facts : mapping
        What the method found out or decided; goes into the history.
    """

    heights_nm: FloatArray
    facts: Mapping[str, Any] = field(default_factory=dict)


def terms_of(degree: int, total: bool = True) -> Terms:
    """Terms of a polynomial of a degree in total, or of that degree along each axis."""
    return tuple(
        (i, j) for i in range(degree + 1) for j in range(degree + 1) if not total or i + j <= degree
    )


def fit_polynomial(heights: FloatArray, use: BoolArray | FloatArray, terms: Terms) -> FloatArray:
    """Polynomial surface (H, W) through the used pixels.

    Legendre products on -1..1, whose normal equations stay well conditioned up to degree 11; they
    are separable, so that no matrix has as many rows as there are pixels.

    Parameters
    ----------
    heights : ndarray, (H, W)
        Anything finite where `use` is zero.
    use : ndarray of bool or weights, (H, W)
    terms : tuple of (int, int)

    Raises
    ------
    InputError
        If fewer pixels are used than there are terms.
    """
    weight = use.astype(float)
    if np.count_nonzero(weight) < len(terms):
        raise InputError(
            f"{np.count_nonzero(weight)} pixels to fit {len(terms)} terms: mask less or lower the "
            "degree"
        )
    i, j = np.array(terms).T
    along_y, along_x = (
        legendre(n, int(k.max())) for n, k in zip(heights.shape, (i, j), strict=True)
    )
    moments = _pairs(along_y).T @ (weight @ _pairs(along_x))
    n_y, n_x = along_y.shape[1], along_x.shape[1]
    cube = moments.reshape(n_y, n_y, n_x, n_x)
    normal = cube[i[:, None], i[None], j[:, None], j[None]]
    right = (along_y.T @ (weight * heights) @ along_x)[i, j]
    found = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    return evaluate(heights.shape, terms, found)


def evaluate(shape: tuple[int, ...], terms: Terms, coefficients: FloatArray) -> FloatArray:
    """Polynomial surface of that shape: Legendre products on -1..1, times their coefficients."""
    i, j = np.array(terms).T
    table = np.zeros((int(i.max()) + 1, int(j.max()) + 1))
    table[i, j] = coefficients
    along_y, along_x = legendre(shape[0], len(table) - 1), legendre(shape[1], table.shape[1] - 1)
    return np.asarray(along_y @ table @ along_x.T)


def legendre(n: int, degree: int) -> FloatArray:
    """Legendre polynomials 0..degree (n, degree + 1) on n points from -1 to 1."""
    at = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return np.asarray(np.polynomial.legendre.legvander(at, degree), float)


def _pairs(columns: FloatArray) -> FloatArray:
    return np.asarray((columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1))


def row_medians(
    values: npt.NDArray[np.floating[Any]], use: BoolArray, quantile: float = 0.5
) -> FloatArray:
    """Quantile of the used pixels of each row, (H,); NaN for a row without any."""
    ordered = np.where(use, values.astype(np.float32, copy=False), np.float32(np.inf))
    ordered.sort(axis=1)
    at = quantile * (np.count_nonzero(use, axis=1) - 1)
    low = np.clip(np.floor(at), 0, None).astype(np.intp)
    high = np.clip(np.ceil(at), 0, None).astype(np.intp)
    rows = np.arange(len(values))
    below, above = ordered[rows, low].astype(float), ordered[rows, high].astype(float)
    with np.errstate(invalid="ignore"):
        found = below + (at - low) * (above - below)
    return np.where(use.any(axis=1), found, np.nan)


def bridge(per_row: FloatArray) -> FloatArray:
    """Fill rows without an answer from their neighbours, linearly; 0 where no row has one."""
    known = np.isfinite(per_row)
    if not known.any():
        return np.zeros_like(per_row)
    at = np.arange(len(per_row))
    return np.interp(at, at[known], per_row[known])


def spread(values: npt.NDArray[np.floating[Any]]) -> float:
    """Return the standard deviation told by the median absolute deviation; 0 of nothing."""
    if values.size == 0:
        return 0.0
    return 1.4826 * _median(np.abs(values - _median(values)))


def _median(values: npt.NDArray[np.floating[Any]]) -> float:
    """Median of finite values, at least one: `numpy.median` takes twice as long over thousands."""
    half = values.size // 2
    ordered = np.partition(values.ravel(), half)
    upper = float(ordered[half])
    return upper if values.size % 2 else (float(ordered[:half].max()) + upper) / 2
