"""What else lies on a grid: hydrocarbons, residue, particles."""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.synth.surface_fields import draw_field

_SEEN_NM = 0.4
"""Thinner films are not drawn: nobody could mark them."""


def strew_dirt(
    rng: np.random.Generator,
    holes: BoolArray,
    flakes: BoolArray,
    pixel_nm: float,
    amount: float,
) -> tuple[BoolArray, FloatArray]:
    """Where contamination lies, and its thickness in nm of carbon; both (H, W).

    Thin patches creep over flakes and carbon, drops dry on them, dense particles stick to them.
    Nothing hangs in an empty hole.

    Parameters
    ----------
    rng : numpy.random.Generator
    holes, flakes : ndarray of bool, (H, W)
    pixel_nm : float
    amount : float
        0 none, 1 usual, 3 much.
    """
    solid = ~holes | flakes
    thickness = np.zeros(holes.shape)
    if amount <= 0 or not solid.any():
        return thickness > _SEEN_NM, thickness
    if rng.random() < 0.6:
        thickness += _patches(rng, holes.shape, pixel_nm, min(0.25, 0.06 * amount))
    thickness += _spots(rng, solid, pixel_nm, amount)
    thickness *= solid & (thickness > _SEEN_NM)
    return thickness > _SEEN_NM, thickness


def _patches(
    rng: np.random.Generator, shape: tuple[int, int], pixel_nm: float, share: float
) -> FloatArray:
    """Amorphous carbon of 1 to 6 nm over a share of the frame."""
    side_px = float(np.clip(rng.uniform(20, 400) / pixel_nm, 8, min(shape)))
    field = draw_field(rng, shape, side_px) + 0.35 * draw_field(rng, shape, side_px / 4)
    above = field - np.quantile(field[::4, ::4], 1 - share * rng.uniform(0.2, 1))
    return np.where(above > 0, rng.uniform(1, 6) * (0.4 + np.minimum(above, 1.5)), 0)


def _spots(
    rng: np.random.Generator, solid: BoolArray, pixel_nm: float, amount: float
) -> FloatArray:
    """Draw drops of carbon; one in five places has dense particles instead, alone or many."""
    out = np.zeros(solid.shape, np.float32)
    where = np.argwhere(solid[::4, ::4]) * 4
    sites = where[rng.integers(0, len(where), rng.poisson(6 * amount))]
    clusters = rng.random(len(sites)) < 0.3
    for site, clustered in zip(sites, clusters, strict=True):
        n = int(rng.integers(2, 12)) if clustered else 1
        # An operator keeps large dirt out of the frame: a twentieth of it is the usual most.
        most_nm = 0.05 * pixel_nm * min(solid.shape) * float(np.exp(rng.normal(0, 0.5)))
        size_nm = min(float(np.exp(rng.normal(np.log(20), 0.8))), most_nm)
        density = float(rng.uniform(2, 6)) if rng.random() < 0.2 else float(rng.uniform(0.15, 1))
        for step in rng.normal(0, 2 * size_nm / pixel_nm, (n, 2)) * (n > 1):
            radius_nm = size_nm * float(rng.uniform(0.4, 1))
            _drop(rng, out, site + step, radius_nm / pixel_nm, density * min(radius_nm, 40))
    return out.astype(float)


def _drop(
    rng: np.random.Generator,
    out: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    site: FloatArray,
    radius_px: float,
    thickness_nm: float,
) -> None:
    """Add a rough dome; nothing where it would be smaller than a pixel."""
    if radius_px < 0.7 or radius_px > 4 * max(out.shape):
        return
    reach = 1.4 * radius_px + 1
    low = np.clip(np.floor(site - reach), 0, out.shape).astype(int)
    high = np.clip(np.ceil(site + reach), 0, out.shape).astype(int)
    if (high <= low).any():
        return
    rows, columns = np.ogrid[low[0] : high[0], low[1] : high[1]]
    y, x = (rows - site[0]) / radius_px, (columns - site[1]) / radius_px
    angle = np.arctan2(y, x)
    wave = 1 + sum(
        rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    dome = np.clip(1 - (np.hypot(y, x) / wave) ** 2, 0, None)
    part = out[low[0] : high[0], low[1] : high[1]]
    cv2.max(part, (thickness_nm * np.sqrt(dome)).astype(np.float32), dst=part)
