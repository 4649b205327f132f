"""From carbon in nm to the picture of a transmission electron microscope.

Mass-thickness contrast with an objective aperture, phase contrast by the contrast transfer
function, shot noise, detector (L. Reimer, H. Kohl, Transmission Electron Microscopy, 5th ed.,
chapters 3 and 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.synth.surface_fields import draw_field

_POTENTIAL_V = 9.5
"""Mean inner potential of carbon, amorphous or graphite, within 15 %."""

_ATOMS_PER_NM3 = 100.0
_ATOM_NM = 0.15
_MOST_DEFOCUS_NM = 60e3
_FINE_NM = 0.3
_MIRRORED_PX = 160
_LATTICE_NM = 0.213
"""Spacing of the (100) planes of graphene."""


@dataclass(frozen=True)
class Microscope:
    """How the picture is taken.

    Attributes
    ----------
    voltage_kv : float
    defocus_nm : float
        Positive: underfocus.
    cs_mm : float
        Spherical aberration.
    convergence_mrad : float
        Half angle of the illumination; damps fine detail away from focus.
    mean_free_path_nm : float
        Thickness of carbon that lets 1/e of the beam through the aperture.
    dose_e_px : float
        Electrons per pixel where nothing is in the beam.
    blur_px : float
        Of the detector, standard deviation.
    gradient : tuple of float
        Relative change of the illumination from the middle to the lower and right border.
    vignette : float
        Relative loss from the middle to the corners.
    black, white : float
        Transmitted shares of the beam that become the ends of the grey scale.
    """

    voltage_kv: float = 200.0
    defocus_nm: float = 0.0
    cs_mm: float = 1.2
    convergence_mrad: float = 0.1
    mean_free_path_nm: float = 140.0
    dose_e_px: float = 500.0
    blur_px: float = 0.6
    gradient: tuple[float, float] = (0.0, 0.0)
    vignette: float = 0.0
    black: float = 0.0
    white: float = 1.1

    def __post_init__(self) -> None:
        positive = (self.voltage_kv, self.mean_free_path_nm, self.dose_e_px)
        if not (min(positive) > 0 and self.blur_px >= 0 and self.black < self.white):
            raise InputError(
                f"{self}: expected positive voltage, path and dose, and black below white"
            )

    @classmethod
    def draw(cls, rng: np.random.Generator, pixel_nm: float) -> Microscope:
        """Draw a session; fringes of defocus are up to 2.5 px wide, as operators set them."""
        voltage = float(rng.choice([80.0, 120.0, 200.0, 300.0]))
        fringe_nm = pixel_nm * float(rng.uniform(0.2, 2.5))
        sign = 1 if rng.random() < 0.75 else -1
        return cls(
            voltage_kv=voltage,
            defocus_nm=sign * min(fringe_nm**2 / wavelength_nm(voltage), _MOST_DEFOCUS_NM),
            cs_mm=float(rng.uniform(0.5, 2.0)),
            convergence_mrad=float(rng.uniform(0.03, 0.3)),
            mean_free_path_nm=float(rng.uniform(0.35, 0.8) * (90 + 0.5 * voltage)),
            dose_e_px=float(np.exp(rng.uniform(np.log(100), np.log(2500)))),
            blur_px=float(rng.uniform(0.4, 1.0)),
            gradient=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
            vignette=float(rng.uniform(0, 0.15)),
            black=float(rng.uniform(0.0, 0.45)),
            white=float(rng.uniform(1.1, 1.4)),
        )


def wavelength_nm(voltage_kv: float) -> float:
    """Relativistic wavelength of electrons (Reimer and Kohl, equation 2.12)."""
    rest_kev = 510.99895
    return float(1.22643 / np.sqrt(voltage_kv * 1e3 * (1 + voltage_kv / (2 * rest_kev))))


def interaction_rad_v_nm(voltage_kv: float) -> float:
    """Phase shift per volt and nanometre (Reimer and Kohl, equation 3.14)."""
    rest_kev = 510.99895
    part = (rest_kev + voltage_kv) / (2 * rest_kev + voltage_kv)
    return float(2 * np.pi / (wavelength_nm(voltage_kv) * voltage_kv * 1e3) * part)


def expose_em(
    rng: np.random.Generator,
    microscope: Microscope,
    thickness_nm: FloatArray,
    diffraction: FloatArray,
    pixel_nm: float,
    *,
    lattice: FloatArray | None = None,
) -> FloatArray:
    """Beam in the image plane (H, W), 1 where nothing is in the way; no noise yet.

    Parameters
    ----------
    rng : numpy.random.Generator
        For the scatter of atoms in amorphous carbon.
    microscope : Microscope
    thickness_nm : ndarray, (H, W)
        Of carbon.
    diffraction : ndarray, (H, W)
        Share of the beam lost to Bragg reflection, 0 to 1.
    pixel_nm : float
    lattice : ndarray, (H, W), optional
        Further phase, rad: the fringes of a crystal.
    """
    grainy = thickness_nm + _scatter_of_atoms(rng, thickness_nm, pixel_nm)
    amplitude = np.exp(-thickness_nm / (2 * microscope.mean_free_path_nm))
    amplitude *= np.sqrt(np.clip(1 - diffraction, 0.02, 1))
    phase = interaction_rad_v_nm(microscope.voltage_kv) * _POTENTIAL_V * grainy
    if lattice is not None:
        phase = phase + lattice
    return _propagate((amplitude * np.exp(1j * phase)).astype(np.complex64), microscope, pixel_nm)


def lattice_fringes(
    rng: np.random.Generator, layers: npt.NDArray[np.uint16], pixel_nm: float
) -> FloatArray | None:
    """Phase of the three (100) fringes of one crystal, rad; None if pixels are too coarse."""
    if _LATTICE_NM / pixel_nm < 2.2:
        return None
    rows, columns = np.ogrid[: layers.shape[0], : layers.shape[1]]
    turn = rng.uniform(0, np.pi / 3)
    total = np.zeros(layers.shape)
    for k in range(3):
        angle = turn + k * np.pi / 3
        along = (columns * np.cos(angle) + rows * np.sin(angle)) * pixel_nm
        total += np.cos(2 * np.pi * along / _LATTICE_NM)
    return np.asarray(0.05 * np.sqrt(layers) * total)


def _scatter_of_atoms(
    rng: np.random.Generator, thickness_nm: FloatArray, pixel_nm: float
) -> FloatArray:
    """Thickness varies as the number of atoms behind a pixel does, by its square root.

    An atom is no point: below its size, pixels vary together.
    """
    atoms = _ATOMS_PER_NM3 * max(pixel_nm, _ATOM_NM) ** 2
    if pixel_nm < _ATOM_NM:
        noise = draw_field(rng, thickness_nm.shape, _ATOM_NM / pixel_nm)
    else:
        noise = rng.standard_normal(thickness_nm.shape)
    return np.sqrt(thickness_nm / atoms) * noise


def _propagate(
    wave: npt.NDArray[np.complex64], microscope: Microscope, pixel_nm: float
) -> FloatArray:
    """Intensity behind the lens: aberration phase, damped by the convergence of the beam."""
    from scipy import fft

    wavelength = wavelength_nm(microscope.voltage_kv)
    # Spherical aberration carries fine detail far: without a mirror, borders ring in the frame.
    rows, columns = wave.shape
    border = min(_MIRRORED_PX, rows - 1, columns - 1) if pixel_nm < _FINE_NM else 0
    wave = np.pad(wave, border, mode="reflect") if border else wave
    ky, kx = (fft.fftfreq(n, pixel_nm).astype(np.float32) for n in wave.shape)
    k2 = ky[:, None] ** 2 + kx[None, :] ** 2
    cs_nm, defocus = microscope.cs_mm * 1e6, microscope.defocus_nm
    chi = np.pi * wavelength * k2 * (0.5 * cs_nm * wavelength**2 * k2 - defocus)
    slope = defocus - cs_nm * wavelength**2 * k2
    angle = microscope.convergence_mrad * 1e-3
    damping = np.exp(-((np.pi * angle * slope) ** 2) * k2)
    damping *= np.exp(-2 * (np.pi * microscope.blur_px * pixel_nm) ** 2 * k2)
    seen = fft.ifft2(fft.fft2(wave) * (damping * np.exp(-1j * chi)).astype(np.complex64))
    seen = seen[border : border + rows, border : border + columns]
    return np.asarray(seen.real**2 + seen.imag**2, float)


def detect(
    rng: np.random.Generator, microscope: Microscope, beam: FloatArray, bits: int
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Grey values (H, W) that the camera stores: illumination, shot noise, grey scale."""
    lit = np.maximum(beam, 0) * illumination(microscope, beam.shape)
    electrons = rng.poisson(lit * microscope.dose_e_px).astype(np.float32)
    share = electrons / microscope.dose_e_px
    top = 2**bits - 1
    grey = (share - microscope.black) / (microscope.white - microscope.black) * top
    stored = np.uint8 if bits == 8 else np.uint16
    return np.clip(np.rint(grey), 0, top).astype(stored)


def illumination(microscope: Microscope, shape: tuple[int, ...]) -> FloatArray:
    """Light of the beam without a specimen, (H, W), about 1."""
    y = np.linspace(-1, 1, shape[0])[:, None]
    x = np.linspace(-1, 1, shape[1])[None, :]
    down, right = microscope.gradient
    return np.asarray(1 + down * y + right * x - microscope.vignette * (y**2 + x**2) / 2)
