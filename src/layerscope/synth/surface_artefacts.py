"""What an atomic force microscope adds to a surface: tip, tilt, bow, rows, drift, scars, noise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.synth.surface_fields import draw_field

FELT_NM = 0.05
"""A pixel counts as particle where it stands so much higher because of one."""


@dataclass(frozen=True)
class Artefacts:
    """How bad a scan is; every amplitude is positive and 0 switches it off.

    Attributes
    ----------
    tilt_nm : float
        Range of the plane over the picture.
    bow_nm : float
        Range of the curved background: both axes and the cross term, each drawn below it.
    row_nm, row_walk_nm : float
        Standard deviation of the offset of each row, white and from row to row.
    drift_nm : float
        Slow drift of the height over the scan.
    shear : float
        Sideways drift: shift along a row per row. Truth is sheared with it.
    scars : int
        Rows in which feedback was lost for a stretch.
    scar_nm : float
        Their typical height.
    particles : int
    particle_nm : float
        Their typical height.
    tip_radius_nm : float
        Apex of the tip; its flanks open at 18 degrees to the axis.
    hum_nm : float
        Amplitude of the mains' hum along rows.
    noise_nm : float
        White noise, standard deviation.
    """

    tilt_nm: float = 0.0
    bow_nm: float = 0.0
    row_nm: float = 0.0
    row_walk_nm: float = 0.0
    drift_nm: float = 0.0
    shear: float = 0.0
    scars: int = 0
    scar_nm: float = 1.0
    particles: int = 0
    particle_nm: float = 4.0
    tip_radius_nm: float = 0.0
    hum_nm: float = 0.0
    noise_nm: float = 0.0

    def __post_init__(self) -> None:
        bad = [f.name for f in fields(self) if not 0 <= getattr(self, f.name) < np.inf]
        if bad:
            raise InputError(f"artefacts {', '.join(bad)}: expected numbers of at least 0")

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Artefacts:
        """Draw every artefact at once, as strong as on an ordinary instrument."""
        return cls(
            tilt_nm=float(rng.uniform(2, 40)),
            bow_nm=float(rng.uniform(0.5, 6)),
            row_nm=float(np.exp(rng.uniform(np.log(0.03), np.log(0.4)))),
            row_walk_nm=float(np.exp(rng.uniform(np.log(0.01), np.log(0.15)))),
            drift_nm=float(rng.uniform(0.1, 3)),
            shear=float(rng.uniform(0, 0.03)),
            scars=int(rng.integers(2, 20)),
            scar_nm=float(rng.uniform(0.5, 4)),
            particles=int(rng.integers(0, 15)),
            particle_nm=float(rng.uniform(2, 12)),
            tip_radius_nm=float(rng.uniform(3, 25)),
            hum_nm=float(rng.uniform(0, 0.05)),
            noise_nm=float(rng.uniform(0.03, 0.12)),
        )


def sheared_grid(shape: tuple[int, int], shear: float) -> tuple[FloatArray, FloatArray]:
    """Where the tip really was, y and x in px, when it measured each pixel."""
    y, x = np.indices(shape, float)
    return y, x + shear * y


def add_particles(
    rng: np.random.Generator,
    heights_nm: FloatArray,
    artefacts: Artefacts,
    pixel_nm: tuple[float, float],
) -> tuple[FloatArray, BoolArray]:
    """Surface as felt with half ellipsoids of dust on it, and where they are felt.

    A dilation of a maximum is the maximum of the dilations, so the wide reach of the tip's flanks
    is needed only around particles.
    """
    radius_nm = artefacts.tip_radius_nm
    bare = touch(heights_nm, radius_nm, pixel_nm) if radius_nm else heights_nm.copy()
    out = bare.copy()
    for _ in range(artefacts.particles):
        row, column = (int(rng.integers(0, n)) for n in heights_nm.shape)
        height = artefacts.particle_nm * float(np.exp(rng.normal(0, 0.4)))
        radius_px = np.maximum(height * rng.uniform(1.5, 4) / np.array(pixel_nm), 1.2)
        reach_nm = _tip_radius_at(height, radius_nm) if radius_nm else 0.0
        high, wide = (
            int(np.ceil(r + reach_nm / p)) for r, p in zip(radius_px, pixel_nm, strict=True)
        )
        top, left = max(row - high, 0), max(column - wide, 0)
        here = np.s_[top : row + high + 1, left : column + wide + 1]
        y, x = np.indices(out[here].shape, float)
        away = np.hypot((y + top - row) / radius_px[0], (x + left - column) / radius_px[1])
        dust = np.where(away < 1, height * np.sqrt(np.maximum(1 - away**2, 0)), 0.0)
        dirty = heights_nm[here] + dust
        np.maximum(
            out[here], touch(dirty, radius_nm, pixel_nm) if radius_nm else dirty, out=out[here]
        )
    return out, out > bare + FELT_NM


def touch(heights_nm: FloatArray, radius_nm: float, pixel_nm: tuple[float, float]) -> FloatArray:
    """Surface as a tip of finite size feels it: grey dilation with a paraboloid on a cone.

    ``z(r) = max over s of (h(s) - t(|r - s|))`` with ``t = d^2 / 2R`` near the apex and a straight
    flank from where the paraboloid is as steep as the cone [1]_.

    References
    ----------
    .. [1] J. S. Villarrubia, J. Res. NIST 102, 425 (1997).
    """
    reach_nm = _tip_radius_at(float(np.ptp(heights_nm)), radius_nm)
    half = [int(reach_nm / p) for p in pixel_nm]
    out = heights_nm.copy()
    for dy in range(-half[0], half[0] + 1):
        for dx in range(-half[1], half[1] + 1):
            lift = _tip_height(np.hypot(dy * pixel_nm[0], dx * pixel_nm[1]), radius_nm)
            to, of = _overlap(dy, dx)
            np.maximum(out[to], heights_nm[of] - lift, out=out[to])
    return out


_FLANK = float(1 / np.tan(np.radians(18.0)))


def _tip_height(distance_nm: float, radius_nm: float) -> float:
    turn_nm = radius_nm * _FLANK
    if distance_nm <= turn_nm:
        return distance_nm**2 / (2 * radius_nm)
    return turn_nm**2 / (2 * radius_nm) + _FLANK * (distance_nm - turn_nm)


def _tip_radius_at(height_nm: float, radius_nm: float) -> float:
    turn_nm = radius_nm * _FLANK
    joint = turn_nm**2 / (2 * radius_nm)
    if height_nm <= joint:
        return float(np.sqrt(2 * radius_nm * height_nm))
    return turn_nm + (height_nm - joint) / _FLANK


def _overlap(dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    to = (slice(max(-dy, 0), -dy if dy > 0 else None), slice(max(-dx, 0), -dx if dx > 0 else None))
    of = (slice(max(dy, 0), dy if dy < 0 else None), slice(max(dx, 0), dx if dx < 0 else None))
    return to, of


def background(
    rng: np.random.Generator, shape: tuple[int, int], artefacts: Artefacts
) -> FloatArray:
    """Tilt, bow, drift and row offsets (H, W), nm."""
    v, u = (np.linspace(-0.5, 0.5, n) for n in shape)
    angle = rng.uniform(0, 2 * np.pi)
    plane = artefacts.tilt_nm * (np.cos(angle) * u + np.sin(angle) * v[:, None])
    a, b, c = artefacts.bow_nm * rng.uniform(-1, 1, 3)
    bow = 4 * (a * u**2 + b * v[:, None] ** 2 + c * u * v[:, None])
    rows = artefacts.row_nm * rng.standard_normal(shape[0])
    rows += np.cumsum(artefacts.row_walk_nm * rng.standard_normal(shape[0]))
    rows += artefacts.drift_nm * draw_field(rng, (shape[0], 1), (shape[0] / 3, 1))[:, 0]
    return np.asarray(plane + bow + rows[:, None])


def add_scars(
    rng: np.random.Generator, heights_nm: FloatArray, artefacts: Artefacts
) -> tuple[FloatArray, BoolArray]:
    """Stretches of one to three rows that stand off, and where they are."""
    out, where = heights_nm.copy(), np.zeros(heights_nm.shape, bool)
    n_rows, n_columns = heights_nm.shape
    for _ in range(artefacts.scars):
        row, thick = int(rng.integers(0, n_rows)), int(rng.choice([1, 1, 1, 2, 3]))
        length = int(np.clip(np.exp(rng.normal(np.log(50), 0.7)), 8, n_columns))
        start = int(rng.integers(0, n_columns))
        here = np.s_[row : row + thick, start : start + length]
        sign = 1 if rng.random() < 0.7 else -1
        out[here] += sign * artefacts.scar_nm * float(np.exp(rng.normal(0, 0.4)))
        where[here] = artefacts.scar_nm > 0
    return out, where


def noise(rng: np.random.Generator, shape: tuple[int, int], artefacts: Artefacts) -> FloatArray:
    """White noise, and hum that starts every row at another phase; (H, W), nm."""
    white = artefacts.noise_nm * rng.standard_normal(shape)
    period_px = rng.uniform(6, 40)
    phase = rng.uniform(0, 2 * np.pi) + rng.uniform(0, 2 * np.pi) * np.arange(shape[0])[:, None]
    return white + artefacts.hum_nm * np.sin(2 * np.pi * np.arange(shape[1]) / period_px + phase)
