"""Heights of a bare substrate: stepped sapphire, rough oxide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.synth.surface_fields import draw_field

SAPPHIRE_STEP_NM = 0.2165
"""One sixth of sapphire's c axis, 1.2991 nm: the lowest step of its (0001) face."""

SUBSTRATES = ("sapphire", "sio2")


@dataclass(frozen=True)
class Substrate:
    """A bare surface.

    Attributes
    ----------
    name : str
        ``sapphire`` or ``sio2``.
    miscut_deg, direction_rad : float
        Of sapphire: terraces are ``step / tan(miscut)`` wide and climb towards the direction.
    rms_nm, correlation_nm : float
        Of the oxide; of the terraces of sapphire too, where it is about 0.03 nm.
    """

    name: str
    miscut_deg: float
    direction_rad: float
    rms_nm: float
    correlation_nm: float

    def __post_init__(self) -> None:
        if self.name not in SUBSTRATES:
            raise InputError(f"substrate {self.name!r}: expected one of {', '.join(SUBSTRATES)}")

    @classmethod
    def draw(cls, rng: np.random.Generator, name: str) -> Substrate:
        """Draw a substrate as delivered: miscut 0.02 to 0.3 degrees, oxide of 0.15 to 0.3 nm."""
        miscut = float(np.exp(rng.uniform(np.log(0.02), np.log(0.3))))
        direction = float(rng.uniform(0, 2 * np.pi))
        rms = float(rng.uniform(0.15, 0.3)) if name == "sio2" else float(rng.uniform(0.01, 0.04))
        return cls(name, miscut, direction, rms, float(rng.uniform(10, 30)))


def draw_heights(
    rng: np.random.Generator,
    substrate: Substrate,
    y_px: FloatArray,
    x_px: FloatArray,
    pixel_nm: tuple[float, float],
) -> FloatArray:
    """Heights (H, W) in nm above the mean plane of the substrate.

    No scan knows how its specimen lies, so a miscut shows as terraces tilted against the mean plane
    and not as a staircase.
    """
    length_px = tuple(substrate.correlation_nm / p for p in pixel_nm)
    rough = substrate.rms_nm * draw_field(rng, y_px.shape, (length_px[0], length_px[1]))
    if substrate.name != "sapphire":
        return rough
    width_nm = SAPPHIRE_STEP_NM / np.tan(np.radians(substrate.miscut_deg))
    cos, sin = np.cos(substrate.direction_rad), np.sin(substrate.direction_rad)
    climb = (x_px * pixel_nm[1] * cos + y_px * pixel_nm[0] * sin) / width_nm
    wander_px = tuple(max(1.2 * width_nm / p, 4.0) for p in pixel_nm)
    wander = climb + 0.12 * draw_field(rng, y_px.shape, (wander_px[0], wander_px[1]))
    per_pixel = float(np.hypot(pixel_nm[1] * cos, pixel_nm[0] * sin)) / width_nm
    return rough + SAPPHIRE_STEP_NM * (_staircase(wander, per_pixel) - climb)


def _staircase(climb: FloatArray, per_pixel: float) -> FloatArray:
    """Integer part of `climb` averaged over a pixel, as an instrument sees steps it cannot part."""
    wide = min(max(per_pixel, 1e-6), 1.0)
    whole = np.floor(climb)
    return np.asarray(whole + np.clip((climb - whole - 1) / wide + 1, 0, 1) - 0.5)
