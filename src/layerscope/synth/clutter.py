"""What lies on a real chip besides flakes: crumbs, residue, tape streaks, dust, scratches, bubbles.

None of it has truth. Polymer is a film of varying thickness, everything else dims or brightens the
light by a factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.synth.geometry import LayerMap

FloatMap = npt.NDArray[np.float32]
_REFERENCE_PX = 1200 * 1920
_CRUMB_PX = 7.0


@dataclass(frozen=True)
class Clutter:
    """Layers over the scene, all (H, W).

    Attributes
    ----------
    crumbs : ndarray of int32
        Layer number of specks of the crystal too small to be counted; 0 elsewhere.
    polymer_nm : ndarray of float32
        Thickness of residue.
    factor : ndarray of float32
        What dust, scratches and bubbles leave of the light.
    """

    crumbs: LayerMap
    polymer_nm: FloatMap
    factor: FloatMap


def strew(
    generator: np.random.Generator,
    layers: LayerMap,
    amount: float,
    *,
    max_layers: int = 10,
    crumbs: bool = True,
) -> Clutter:
    """Clutter for a scene of flakes.

    Parameters
    ----------
    generator : numpy.random.Generator
    layers : ndarray of int, (H, W)
        Flakes; residue and crumbs stay off them, bubbles lie on them.
    amount : float
        0 is none, 1 what a usual chip has, 2 a dirty one.
    max_layers : int
    crumbs : bool
        False leaves specks of the crystal out.
    """
    shape = layers.shape
    specks = np.zeros(shape, np.int32)
    polymer_nm = np.zeros(shape, np.float32)
    factor = np.ones(shape, np.float32)
    if amount > 0:
        scale = amount * layers.size / _REFERENCE_PX
        tracks = [_track(generator, shape) for _ in range(generator.poisson(2.5 * amount))]
        if crumbs:
            _add_crumbs(generator, specks, tracks, scale, max_layers)
        _add_residue(generator, polymer_nm, tracks, scale)
        _add_bubbles(generator, factor, layers, scale)
        _add_scratches(generator, factor, scale)
        _add_dust(generator, factor, scale)
    free = cv2.dilate((layers > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    return Clutter(np.where(free, specks, 0).astype(np.int32), polymer_nm * free, factor)


def _track(generator: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Curved path (N, 2) of x, y that a tape left."""
    height, width = shape
    start = generator.uniform(0, 1, 2) * [width, height]
    heading = generator.uniform(0, 2 * np.pi)
    length = generator.uniform(0.2, 0.9) * max(shape)
    turning = np.cumsum(generator.normal(0, 0.05, 60)) + heading
    turning += np.linspace(0, generator.normal(0, 1.2), 60)
    step = np.stack([np.cos(turning), np.sin(turning)], axis=1) * length / 60
    return start + np.cumsum(step, axis=0)


def _add_crumbs(
    generator: np.random.Generator,
    crumbs: LayerMap,
    tracks: list[FloatArray],
    scale: float,
    max_layers: int,
) -> None:
    height, width = crumbs.shape
    spots = [generator.uniform(0, 1, (generator.poisson(130 * scale), 2)) * [width, height]]
    for track in tracks:
        count = generator.poisson(25 * min(scale, 2))
        spots.append(generator.choice(track, count) + generator.normal(0, 9, (count, 2)))
    for centre in np.concatenate(spots):
        radius = min(1.0 + generator.exponential(1.2), _CRUMB_PX)
        angles = np.sort(generator.uniform(0, 2 * np.pi, 5))
        reach = radius * generator.uniform(0.5, 1.5, 5)
        corners = centre + np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)
        layers = int(np.exp(generator.uniform(0, np.log(40 * max_layers))))
        cv2.fillPoly(crumbs, [np.round(corners * 16).astype(np.int32)], layers, shift=4)


def _add_residue(
    generator: np.random.Generator,
    polymer_nm: FloatMap,
    tracks: list[FloatArray],
    scale: float,
) -> None:
    """Faint cells bounded by thin lines, tape streaks, and drops."""
    if generator.random() < 0.4:
        thin_nm = float(generator.uniform(0.15, 0.8))
        polymer_nm += _faint_cells(generator, polymer_nm.shape, thin_nm)
    lines = np.zeros_like(polymer_nm)
    for track in tracks:
        if generator.random() < 0.7:
            points = np.round(track * 16).astype(np.int32)
            thickness_nm = float(generator.uniform(4, 30))
            cv2.polylines(lines, [points], False, thickness_nm, 1, cv2.LINE_AA, 4)
    _draw_hairs(generator, lines, scale)
    if lines.any():
        wear = cv2.resize(
            generator.random((12, 18)).astype(np.float32), lines.shape[::-1],
            interpolation=cv2.INTER_CUBIC,
        )  # fmt: skip
        polymer_nm += cv2.GaussianBlur(lines * np.clip(2 * wear - 0.6, 0, 1), (0, 0), 0.9)
    for _ in range(generator.poisson(14 * scale)):
        _stamp_drop(generator, polymer_nm)


def _draw_hairs(generator: np.random.Generator, lines: FloatMap, scale: float) -> None:
    """Short squiggles of adhesive, a random walk each."""
    height, width = lines.shape
    for _ in range(generator.poisson(45 * scale)):
        heading = generator.uniform(0, 6.3) + np.cumsum(generator.normal(0, 0.5, 24))
        step = np.stack([np.cos(heading), np.sin(heading)], axis=1) * generator.uniform(0.8, 4)
        path = generator.uniform(0, 1, 2) * [width, height] + np.cumsum(step, axis=0)
        points, thickness_nm = np.round(path * 16).astype(np.int32), generator.uniform(5, 40)
        cv2.polylines(lines, [points], False, float(thickness_nm), 1, cv2.LINE_AA, 4)


def _faint_cells(
    generator: np.random.Generator, shape: tuple[int, int], thickness_nm: float
) -> FloatMap:
    height, width = shape
    small = (max(height // 8, 4), max(width // 8, 4))
    noise = generator.standard_normal(small).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 11)
    smooth /= max(float(smooth.std()), 1e-6)
    large = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)
    inside = _fade(-12 * (large - np.float32(0.9)))
    rim = np.exp(-((large - np.float32(0.9)) ** 2) / 0.004)
    return np.asarray((inside + 0.8 * rim) * np.float32(thickness_nm), np.float32)


def _fade(distance: FloatMap) -> FloatMap:
    """Logistic step from 1 inside (negative) to 0 outside; beyond 40 widths it is flat."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance, -40, 40))), np.float32)


def _stamp_drop(generator: np.random.Generator, polymer_nm: FloatMap) -> None:
    """Irregular drop of polymer with a domed profile."""
    radius = float(np.exp(generator.normal(1.6, 0.7)))
    window = _window(generator, polymer_nm.shape, radius * 2)
    if window is None:
        return
    where, y, x = window
    angle = np.arctan2(y, x)
    wobble = 1 + sum(
        generator.uniform(0, 0.5) / k * np.sin(k * angle + generator.uniform(0, 6.3))
        for k in (2, 3, 5)
    )
    profile = np.clip(1 - (np.hypot(y, x) / (radius * wobble)) ** 2, 0, 1) ** 0.6
    height_nm = np.exp(generator.uniform(np.log(4), np.log(350)))
    polymer_nm[where] = np.maximum(polymer_nm[where], height_nm * profile)


def _window(
    generator: np.random.Generator, shape: tuple[int, int], reach: float,
    centre: FloatArray | None = None,
) -> tuple[tuple[slice, slice], FloatMap, FloatMap] | None:  # fmt: skip
    """Pick a square part of the scene, and y, x from its centre."""
    row, column = generator.uniform(0, 1, 2) * shape if centre is None else centre
    top, left = (max(int(v - reach), 0) for v in (row, column))
    bottom = min(int(row + reach) + 1, shape[0])
    right = min(int(column + reach) + 1, shape[1])
    if top >= bottom or left >= right:
        return None
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    where = (slice(top, bottom), slice(left, right))
    return where, y - np.float32(row), x - np.float32(column)


def _add_dust(generator: np.random.Generator, factor: FloatMap, scale: float) -> None:
    """Dark particles above the focal plane, some with a comet's tail."""
    for _ in range(generator.poisson(5 * scale)):
        _stamp_disc(generator, factor, float(generator.uniform(2, 7)), generator.uniform(0.1, 0.7))
    for _ in range(generator.poisson(1.2 * scale)):
        _stamp_disc(generator, factor, generator.uniform(12, 40), generator.uniform(0.93, 0.985))
    if generator.random() < 0.3 * min(scale, 2):
        _stamp_comet(generator, factor)


def _stamp_disc(
    generator: np.random.Generator, factor: FloatMap, radius: float, dark: float
) -> None:
    window = _window(generator, factor.shape, radius * 3)
    if window is None:
        return
    where, y, x = window
    squash = generator.uniform(0.6, 1.0)
    softness = max(radius * generator.uniform(0.1, 0.4), 0.7)
    distance = np.hypot(y, x * squash) - radius
    factor[where] *= 1 - np.float32(1 - dark) * _fade(distance / softness)


def _stamp_comet(generator: np.random.Generator, factor: FloatMap) -> None:
    """Chip of crystal standing on edge: black, sharp at one end, blurred towards the other."""
    start = generator.uniform(0.05, 0.95, 2) * factor.shape
    heading = generator.uniform(0, 2 * np.pi)
    length, width = generator.uniform(30, 130), generator.uniform(6, 20)
    opacity = np.zeros_like(factor)
    reach = length * 2
    for t in np.linspace(0, 1, 24):
        centre = start + t * length * np.array([np.sin(heading), np.cos(heading)])
        centre += np.array([np.cos(heading), -np.sin(heading)]) * width * 0.6 * np.sin(2.5 * t)
        window = _window(generator, factor.shape, reach, centre)
        if window is None:
            continue
        where, y, x = window
        softness = 0.8 + 9 * t**2
        disc = _fade((np.hypot(y, x) - width * (1 - 0.7 * t)) / softness)
        opacity[where] = np.maximum(opacity[where], disc * (1 - 0.5 * t))
    factor *= 1 - np.float32(0.96) * opacity


def _add_scratches(generator: np.random.Generator, factor: FloatMap, scale: float) -> None:
    height, width = factor.shape
    for _ in range(generator.poisson(0.6 * scale)):
        start = generator.uniform(0, 1, 2) * [width, height]
        angle, length = generator.uniform(0, np.pi), generator.uniform(0.1, 0.6) * width
        stop = start + length * np.array([np.cos(angle), np.sin(angle)])
        line = np.zeros_like(factor)
        ends = [np.round(p * 16).astype(int).tolist() for p in (start, stop)]
        cv2.line(line, ends[0], ends[1], 1.0, int(generator.integers(1, 3)), cv2.LINE_AA, 4)
        factor *= 1 + np.float32(generator.choice([-0.4, -0.15, 0.2, 0.4])) * line


def _add_bubbles(
    generator: np.random.Generator, factor: FloatMap, layers: LayerMap, scale: float
) -> None:
    """Rings of interference in the gap under a blistered flake."""
    for _ in range(generator.poisson(3 * scale)):
        row = int(generator.integers(layers.shape[0]))
        inside = np.flatnonzero(layers[row] > 0)
        if len(inside) == 0:
            continue
        radius = float(generator.uniform(2.5, 9))
        centre = np.array([row, generator.choice(inside)], float)
        window = _window(generator, factor.shape, radius + 1, centre)
        if window is None:
            continue
        where, y, x = window
        dome = np.clip(1 - (y**2 + x**2) / radius**2, 0, 1)
        ring = 1 - np.cos(2 * np.pi * generator.uniform(0.3, 1.6) * dome)
        on_flake = layers[where] > 0
        factor[where] *= 1 + np.float32(generator.uniform(-0.15, 0.12)) * ring * on_flake
