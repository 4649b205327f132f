"""Lamps and colour cameras for synthetic micrographs.

They are deliberately not the ones that the analysis assumes: skewed response curves with
secondary lobes and cross-talk, white-LED and xenon light, a colour matrix on white-balanced
signals, stray light, a black level. Shapes follow what sensor data sheets print (peak positions,
steep red edge, green lobe in the blue channel); no curve is a copy of one sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError, UnknownName
from layerscope.physics.thin_film import planck
from layerscope.registry import Registry

WAVELENGTH_NM: FloatArray = np.arange(392.0, 733.0, 4.0)
"""Grid of the synthetic spectra; finer and wider than the one of the analysis, on purpose."""

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lobe:
    """One lobe of a response curve: a Gaussian with different widths left and right."""

    centre_nm: float
    left_nm: float
    right_nm: float
    height: float = 1.0

    def at(self, wavelength_nm: FloatArray) -> FloatArray:
        """Height of the lobe at `wavelength_nm`."""
        z = wavelength_nm - self.centre_nm
        width = np.where(z < 0, self.left_nm, self.right_nm)
        return self.height * np.exp(-0.5 * (z / width) ** 2)


def lamp_spectrum(lamp: str, wavelength_nm: npt.ArrayLike) -> FloatArray:
    """Spectral power, arbitrary unit.

    Parameters
    ----------
    lamp : str
        ``halogen:T`` (T in K), ``led:T`` (correlated colour temperature in K) or ``xenon``.
    wavelength_nm : array_like

    Raises
    ------
    UnknownName
        If the lamp is none of these.
    InputError
        If T is not a number from 2000 to 10000.
    """
    wave = np.asarray(wavelength_nm, float)
    kind, _, text = lamp.partition(":")
    if kind == "xenon":
        lines = Lobe(467, 4, 4, 0.25).at(wave) + Lobe(485, 5, 8, 0.12).at(wave)
        return planck(wave, 5900.0) / planck(550.0, 5900.0) + lines
    if kind not in ("halogen", "led"):
        raise UnknownName.of("lamp", lamp, ["halogen:3200", "led:5600", "xenon"])
    temperature_k = float(text) if text.replace(".", "", 1).isdigit() else 0.0
    if not 2000 <= temperature_k <= 10000:
        raise InputError(f"lamp {lamp!r}: expected a temperature from 2000 to 10000 K")
    if kind == "halogen":
        return planck(wave, temperature_k) / planck(550.0, temperature_k)
    # A cooler white LED has less of the blue pump line and a redder phosphor.
    warm = (6500 - temperature_k) / 3500
    pump = Lobe(452, 9, 12, max(0.15, 1.15 - 0.8 * warm))
    phosphor = Lobe(548 + 35 * warm, 38, 68, 0.85)
    return pump.at(wave) + phosphor.at(wave)


@dataclass(frozen=True)
class SynthCamera:
    """A lamp, a sensor and what the camera's software does with its signal.

    Light is a fraction of the level at which the sensor saturates; channels are R, G, B.

    Attributes
    ----------
    name : str
    red, green, blue : tuple of Lobe
        Spectral response of each channel, before lamp and infrared filter.
    lamp : str
        See `lamp_spectrum`.
    ir_cut_nm : float
        Half-height of the infrared filter.
    tone : str
        ``linear``, ``srgb`` or ``gamma:G``: how light becomes a level.
    saturation : float
        Strength of the colour matrix; 0 is none. Rows of the matrix add to one.
    balance : float
        0: white balance on a mirror; 1: on the bare substrate, which then looks grey.
    tint : tuple of float
        Error of the white balance, a gain per channel.
    exposure : float
        Light of the bare substrate in its brightest channel.
    flare : float
        Uniform stray light, fraction of the bare substrate's.
    glare : float
        Share of the light in the wide halo of the point-spread function.
    black : float
        Offset added to the light: positive for a pedestal, negative for a clipped black level.
    bit_depth : int
        8, 10, 12 or 16; files hold 8 bit as uint8, else uint16 with white at 2**bits - 1.
    full_well_e, read_noise_e : float
        Electrons at saturation, and the read noise in electrons.
    demosaic_px : tuple of float
        Blur of the demosaicing per channel, standard deviation in px; noise is blurred with it.
    sharpen : float
        Unsharp masking by the camera's software, 0 for none.
    """

    name: str
    red: tuple[Lobe, ...]
    green: tuple[Lobe, ...]
    blue: tuple[Lobe, ...]
    lamp: str = "halogen:3200"
    ir_cut_nm: float = 675.0
    tone: str = "linear"
    saturation: float = 0.0
    balance: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 0.45
    flare: float = 0.02
    glare: float = 0.015
    black: float = 0.0
    bit_depth: int = 8
    full_well_e: float = 6500.0
    read_noise_e: float = 9.0
    demosaic_px: tuple[float, float, float] = (0.45, 0.38, 0.45)
    sharpen: float = 0.0

    @property
    def white_level(self) -> float:
        """Highest value in the file."""
        return float(2**self.bit_depth - 1)

    def response(self, wavelength_nm: npt.ArrayLike = WAVELENGTH_NM) -> FloatArray:
        """Weight (3, W) of each wavelength in each channel, lamp included; rows add to one."""
        wave = np.asarray(wavelength_nm, float)
        curves = (self.red, self.green, self.blue)
        sensor = np.stack(
            [sum((c.at(wave) for c in curve), np.zeros(len(wave))) for curve in curves]
        )
        infrared = 1 / (1 + np.exp((wave - self.ir_cut_nm) / 6))
        ultraviolet = 1 / (1 + np.exp((415 - wave) / 5))
        weight = sensor * lamp_spectrum(self.lamp, wave) * infrared * ultraviolet
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def matrix(self) -> FloatArray:
        """Colour matrix (3, 3); grey stays grey."""
        s = self.saturation
        # Green takes more from red than from blue, as in matrices fitted to colour charts.
        mix = np.array([[0.0, 0.7, 0.3], [0.6, 0.0, 0.4], [0.15, 0.85, 0.0]])
        return (1 + s) * np.eye(3) - s * mix


def expose(camera: SynthCamera, reflectance: npt.ArrayLike, bare: npt.ArrayLike) -> FloatArray:
    """Light on the sensor, white-balanced, stray light included.

    Parameters
    ----------
    camera : SynthCamera
    reflectance : array_like, (T, W)
        On `WAVELENGTH_NM`.
    bare : array_like, (W,)
        Reflectance of the bare substrate, which sets the exposure.

    Returns
    -------
    ndarray, (T, 3)
    """
    weight = camera.response()
    ground = weight @ np.asarray(bare, float)
    gain = ground**-camera.balance * np.array(camera.tint)
    gain *= camera.exposure / (gain * ground).max()
    light = np.asarray(reflectance, float) @ weight.T
    return np.asarray(gain * (light + camera.flare * ground))


def develop(camera: SynthCamera, light: npt.ArrayLike) -> npt.NDArray[Any]:
    """Levels from light: black level, colour matrix, clipping and tone curve.

    Parameters
    ----------
    camera : SynthCamera
    light : array_like, (..., 3)

    Returns
    -------
    ndarray, (..., 3)
        Fractions of the white level, not rounded; of the type of `light`.
    """
    value = np.asarray(light)
    sensor = np.clip(value + value.dtype.type(camera.black), 0, 1)
    mixed = sensor @ camera.matrix().T.astype(sensor.dtype)
    return _encode(np.clip(mixed, 0, 1), camera.tone)


def _encode(light: npt.NDArray[Any], tone: str) -> npt.NDArray[Any]:
    if tone == "linear":
        return light
    if tone == "srgb":  # IEC 61966-2-1 (1999), encoding
        low = light * 12.92
        high = 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055
        return np.asarray(np.where(light <= 0.0031308, low, high), light.dtype)
    kind, _, text = tone.partition(":")
    if kind != "gamma":
        raise UnknownName.of("tone curve", tone, ["linear", "srgb", "gamma:1.8"])
    return np.asarray(light ** (1 / float(text)), light.dtype)


def photograph(
    camera: SynthCamera, light: FloatImage, generator: np.random.Generator, *, noise: bool = True
) -> npt.NDArray[Any]:
    """Digital image of `light` (H, W, 3): noise, demosaicing, development, rounding.

    Shot noise is Gaussian with the variance of the electron count (above 30 electrons the Poisson
    distribution differs from it by less than the read noise).

    Returns
    -------
    ndarray of uint8 or uint16, (H, W, 3)
    """
    seen = add_noise(camera, light, generator) if noise else light
    seen = blur(seen, camera.demosaic_px)
    if camera.sharpen > 0:
        seen = seen + np.float32(camera.sharpen) * (seen - blur(seen, (1.5, 1.5, 1.5)))
    level = develop(camera, seen) * np.float32(camera.white_level) + np.float32(0.5)
    return level.astype(np.uint8 if camera.bit_depth == 8 else np.uint16)


def add_noise(camera: SynthCamera, light: FloatImage, generator: np.random.Generator) -> FloatImage:
    """`light` with shot noise and read noise, variance (light * well + read**2) / well**2."""
    read = (camera.read_noise_e / camera.full_well_e) ** 2
    variance = np.maximum(light, 0) * np.float32(1 / camera.full_well_e) + np.float32(read)
    noise = generator.standard_normal(light.shape, np.float32)
    noise *= np.sqrt(variance)
    return light + noise


def blur(image: FloatImage, sigma_px: Sequence[float]) -> FloatImage:
    """Gaussian blur, one standard deviation per channel."""
    planes = [
        cv2.GaussianBlur(plane, (0, 0), sigma) if sigma > 0 else plane
        for plane, sigma in zip(cv2.split(image), sigma_px, strict=True)
    ]
    return np.asarray(cv2.merge(planes), np.float32)


CCD_LINEAR = SynthCamera(
    "ccd_linear",
    red=(Lobe(602, 16, 42), Lobe(535, 18, 18, 0.06)),
    green=(Lobe(532, 30, 36), Lobe(610, 20, 30, 0.07)),
    blue=(Lobe(455, 26, 32), Lobe(530, 22, 22, 0.08)),
    lamp="halogen:3200",
    tint=(1.15, 0.98, 1.06),
    exposure=0.5,
)
CMOS_LINEAR = SynthCamera(
    "cmos_linear",
    red=(Lobe(598, 14, 38), Lobe(525, 25, 25, 0.10), Lobe(440, 15, 20, 0.04)),
    green=(Lobe(528, 30, 34), Lobe(460, 16, 16, 0.10), Lobe(615, 18, 25, 0.10)),
    blue=(Lobe(462, 24, 28), Lobe(525, 20, 20, 0.14)),
    lamp="led:5600",
    ir_cut_nm=660.0,
    exposure=0.42,
    tint=(1.0, 0.96, 1.04),
    full_well_e=8000.0,
)
THREE_CHIP = SynthCamera(
    "three_chip",
    red=(Lobe(620, 14, 34), Lobe(600, 6, 18, 0.5)),
    green=(Lobe(545, 20, 18), Lobe(525, 14, 12, 0.7)),
    blue=(Lobe(450, 20, 16), Lobe(470, 14, 12, 0.6)),
    lamp="halogen:3000",
    ir_cut_nm=690.0,
    exposure=0.4,
    flare=0.04,
    demosaic_px=(0.35, 0.35, 0.35),
    full_well_e=9000.0,
)
PALE_LINEAR = SynthCamera(
    "pale_linear",
    red=(Lobe(608, 18, 36), Lobe(540, 18, 18, 0.08)),
    green=(Lobe(538, 28, 34),),
    blue=(Lobe(448, 22, 34), Lobe(540, 20, 20, 0.05)),
    lamp="halogen:3400",
    balance=0.95,
    exposure=0.74,
    flare=0.05,
    full_well_e=8000.0,
)
DIM_LINEAR = SynthCamera(
    "dim_linear",
    red=(Lobe(595, 15, 45), Lobe(530, 20, 20, 0.12)),
    green=(Lobe(534, 32, 36), Lobe(470, 14, 14, 0.08)),
    blue=(Lobe(466, 28, 28), Lobe(530, 18, 18, 0.10)),
    lamp="halogen:2800",
    balance=0.25,
    tint=(0.9, 0.85, 1.1),
    exposure=0.28,
    black=-0.006,
    full_well_e=6000.0,
)
SCIENTIFIC_12BIT = SynthCamera(
    "scientific_12bit",
    red=(Lobe(604, 16, 40), Lobe(530, 20, 20, 0.05)),
    green=(Lobe(530, 28, 36),),
    blue=(Lobe(458, 24, 30), Lobe(525, 18, 18, 0.06)),
    lamp="led:4800",
    bit_depth=12,
    exposure=0.45,
    black=0.008,
    full_well_e=20000.0,
    read_noise_e=4.0,
)
CMOS_SRGB = SynthCamera(
    "cmos_srgb",
    red=(Lobe(600, 14, 36), Lobe(530, 22, 22, 0.12), Lobe(435, 14, 16, 0.05)),
    green=(Lobe(530, 32, 34), Lobe(465, 14, 14, 0.10), Lobe(612, 16, 24, 0.10)),
    blue=(Lobe(460, 24, 30), Lobe(525, 20, 20, 0.12)),
    lamp="led:5600",
    ir_cut_nm=655.0,
    tone="srgb",
    saturation=0.12,
    exposure=0.22,
)
CONSUMER_SRGB = SynthCamera(
    "consumer_srgb",
    red=(Lobe(594, 18, 34), Lobe(530, 22, 22, 0.16)),
    green=(Lobe(534, 34, 36), Lobe(605, 18, 22, 0.12)),
    blue=(Lobe(456, 22, 34), Lobe(530, 22, 22, 0.12)),
    lamp="halogen:3100",
    ir_cut_nm=665.0,
    tone="srgb",
    saturation=0.25,
    balance=0.2,
    exposure=0.2,
    flare=0.03,
    sharpen=0.35,
    full_well_e=7000.0,
)
XENON_SRGB = SynthCamera(
    "xenon_srgb",
    red=(Lobe(606, 16, 40), Lobe(535, 18, 20, 0.07)),
    green=(Lobe(536, 30, 32), Lobe(468, 12, 12, 0.06)),
    blue=(Lobe(452, 24, 30), Lobe(528, 20, 20, 0.08)),
    lamp="xenon",
    tone="srgb",
    saturation=0.05,
    balance=0.5,
    exposure=0.3,
    full_well_e=8000.0,
)
GAMMA_18 = SynthCamera(
    "gamma_18",
    red=(Lobe(600, 16, 38), Lobe(530, 20, 20, 0.08)),
    green=(Lobe(532, 30, 34), Lobe(610, 16, 20, 0.06)),
    blue=(Lobe(460, 24, 30), Lobe(530, 20, 20, 0.10)),
    lamp="halogen:3300",
    tone="gamma:1.8",
    saturation=0.1,
    exposure=0.24,
)

_SHIPPED = (
    "CCD_LINEAR", "CMOS_LINEAR", "THREE_CHIP", "PALE_LINEAR", "DIM_LINEAR", "SCIENTIFIC_12BIT",
    "CMOS_SRGB", "CONSUMER_SRGB", "XENON_SRGB", "GAMMA_18",
)  # fmt: skip

CAMERAS = Registry("camera", {n.lower(): f"layerscope.synth.camera:{n}" for n in _SHIPPED})
"""Camera name -> `SynthCamera`; outside packages add theirs as entry points."""

BENCHMARK_CAMERAS = ("ccd_linear", "cmos_linear", "three_chip", "cmos_srgb", "consumer_srgb")
"""The five that layer accuracy is quoted on: three linear, two sRGB."""


def find_camera(camera: str | SynthCamera) -> SynthCamera:
    """Camera by name; a `SynthCamera` is returned as it is.

    Raises
    ------
    UnknownName
        With the closest names.
    """
    if isinstance(camera, SynthCamera):
        return camera
    found: SynthCamera = CAMERAS[camera]
    return found
