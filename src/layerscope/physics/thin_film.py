"""Reflectance of a flake on a stack, and what a colour camera sees of it.

The stack is coherent and planar, the last medium fills the half space. Light comes from air
through an objective whose pupil is filled evenly up to its numerical aperture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import parse_length_nm
from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.physics.materials import Material, load

WAVELENGTH_NM: FloatArray = np.arange(400.0, 721.0, 8.0)
"""Grid for camera channels: 8 nm steps change a contrast by less than 1e-3."""

ComplexArray = npt.NDArray[np.complex128]
_LAYER = re.compile(r"\s*([^()/]+?)\s*(?:\(\s*([^()]+?)\s*\))?\s*")
_PLANCK_NM_K = 1.438777e7  # h c / k_B


@dataclass(frozen=True)
class Stack:
    """Films from the top down, and the half space under them.

    Attributes
    ----------
    films : tuple of (Material, thickness in nm)
    base : Material
    """

    films: tuple[tuple[Material, float], ...]
    base: Material

    @classmethod
    def parse(cls, text: str) -> Stack:
        """Stack from text such as ``hBN(20nm)/SiO2(285nm)/Si`` or ``PDMS``.

        Raises
        ------
        InputError
            If a film has no thickness, the base has one, or the text is not of that form.
        UnknownName
            If a material is unknown; the closest names are offered.
        """
        parts = [_LAYER.fullmatch(part) for part in text.split("/")]
        if not text.strip() or any(part is None for part in parts):
            raise InputError(f"substrate {text!r}: expected films and a base, e.g. SiO2(90nm)/Si")
        names = [(p.group(1), p.group(2)) for p in parts if p is not None]
        for name, thickness in names[:-1]:
            if thickness is None:
                raise InputError(f"substrate {text!r}: how thick is {name}? e.g. {name}(90nm)")
        base_name, base_thickness = names[-1]
        if base_thickness is not None:
            raise InputError(
                f"substrate {text!r}: the last medium is a half space; write {base_name}"
            )
        films = tuple((load(n), parse_length_nm(t)) for n, t in names[:-1] if t is not None)
        return cls(films, load(base_name))

    def __str__(self) -> str:
        return "/".join([*(f"{m.name}({d:g}nm)" for m, d in self.films), self.base.name])

    @cached_property
    def tunable(self) -> int | None:
        """Index of the film whose thickness calibration may adjust: the thickest; None if none."""
        thickness = [d for _, d in self.films]
        return int(np.argmax(thickness)) if thickness else None

    @property
    def oxide_nm(self) -> float | None:
        """Thickness of the tunable film."""
        return None if self.tunable is None else self.films[self.tunable][1]

    def with_oxide(self, thickness_nm: float) -> Stack:
        """Return the same stack with another thickness of its tunable film."""
        if self.tunable is None:
            raise InputError(f"{self} has no film whose thickness could be changed")
        films = list(self.films)
        films[self.tunable] = (films[self.tunable][0], float(thickness_nm))
        return Stack(tuple(films), self.base)


def pupil_nodes(na: float, count: int = 5) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes sin(theta) over an evenly filled pupil, and weights adding to one.

    The pupil's area element is proportional to d(sin^2 theta).
    """
    x, weight = np.polynomial.legendre.leggauss(count)
    return np.sqrt((x + 1) / 2 * na**2), weight / 2


def flake_reflectance(
    material: Material,
    thickness_nm: npt.ArrayLike,
    stack: Stack,
    wavelength_nm: npt.ArrayLike = WAVELENGTH_NM,
    *,
    oxide_nm: npt.ArrayLike | None = None,
    na: float = 0.45,
) -> FloatArray:
    """Power reflectance of `material` on `stack`, averaged over the pupil and both polarisations.

    Parameters
    ----------
    material : Material
    thickness_nm : array_like, (T,)
        Flake thicknesses; 0 is the bare substrate.
    stack : Stack
    wavelength_nm : array_like, (W,)
    oxide_nm : array_like, (O,), optional
        Thicknesses of the stack's tunable film, instead of its own.
    na : float
        Numerical aperture, 0 < na < 1.

    Returns
    -------
    ndarray, (T, W), or (O, T, W) where `oxide_nm` is given

    Raises
    ------
    InputError
        If `na` is outside (0, 1) or a thickness is negative.

    Notes
    -----
    Fresnel coefficients and the recursion r = (r_01 + r_1 e^{2i beta}) / (1 + r_01 r_1 e^{2i beta})
    from the bottom interface up (Born & Wolf, Principles of Optics, 7th ed., 1.6.4).
    """
    thickness, wave = (
        np.atleast_1d(np.asarray(thickness_nm, float)),
        np.atleast_1d(np.asarray(wavelength_nm, float)),
    )
    if not 0 < na < 1:
        raise InputError(f"NA {na}: expected a dry objective, 0 < NA < 1")
    if np.any(thickness < 0) or not np.all(np.isfinite(thickness)):
        raise InputError("flake thickness must be zero or positive")
    if oxide_nm is None:
        return _reflectance(material, thickness, stack, wave, None, na)[0]
    oxide = np.atleast_1d(np.asarray(oxide_nm, float))
    if stack.tunable is None:
        raise InputError(f"{stack} has no film whose thickness could be changed")
    return _reflectance(material, thickness, stack, wave, oxide, na)


def _reflectance(
    material: Material,
    thickness: FloatArray,
    stack: Stack,
    wave: FloatArray,
    oxide: FloatArray | None,
    na: float,
) -> FloatArray:
    """Axes throughout: (oxide, thickness, wavelength, angle)."""
    sine, weight = pupil_nodes(na)
    sine = sine[None, None, None, :]
    total = np.zeros(1)
    for polarised in ("s", "p"):
        below = _Medium(stack.base.index(wave), sine, polarised)
        r = np.zeros(1, complex)
        for i in reversed(range(len(stack.films))):
            film, own_nm = stack.films[i]
            d = own_nm if oxide is None or i != stack.tunable else oxide[:, None, None, None]
            medium = _Medium(film.index(wave), sine, polarised)
            r = _enter(medium.fresnel(below), r) * medium.round_trip(d, wave)
            below = medium
        flake = _Medium(material.index(wave), sine, polarised)
        # A film of zero thickness is optically absent, so thickness 0 needs no special case.
        r = _enter(flake.fresnel(below), r) * flake.round_trip(thickness[None, :, None, None], wave)
        air = _Medium(np.ones(len(wave), complex), sine, polarised)
        r = _enter(air.fresnel(flake), r)
        total = total + 0.5 * (np.abs(r) ** 2 @ weight)
    return total


class _Medium:
    """A medium's optical admittance at each wavelength and angle, for one polarisation."""

    def __init__(self, index: ComplexArray, sine: FloatArray, polarised: str):
        n = index[None, None, :, None]
        self.normal = np.sqrt(n**2 - sine**2)  # n cos(theta)
        self.admittance = self.normal if polarised == "s" else n**2 / self.normal

    def fresnel(self, below: _Medium) -> ComplexArray:
        """Amplitude reflected at the interface to the medium below."""
        y, z = self.admittance, below.admittance
        return (y - z) / (y + z)

    def round_trip(self, thickness: FloatArray | float, wave: FloatArray) -> ComplexArray:
        """Amplitude factor exp(2 i beta) of crossing the film down and up."""
        phase = 4j * np.pi / wave[None, None, :, None]
        return np.exp(phase * self.normal * thickness)


def _enter(interface: ComplexArray, r: ComplexArray) -> ComplexArray:
    """Combine an interface with everything under it."""
    return (interface + r) / (1 + interface * r)


def planck(wavelength_nm: npt.ArrayLike, temperature_k: float) -> FloatArray:
    """Black-body spectral radiance, arbitrary unit: the shape of a halogen lamp's spectrum."""
    wave = np.asarray(wavelength_nm, float)
    return (550 / wave) ** 5 / np.expm1(_PLANCK_NM_K / (wave * temperature_k))


@dataclass(frozen=True)
class Camera:
    """Three colour channels, R, G, B, as Gaussians times a lamp.

    Attributes
    ----------
    centre_nm, width_nm : tuple of float
        Centre and standard deviation of each channel.
    lamp_k : float
        Colour temperature of the lamp.
    """

    centre_nm: tuple[float, float, float] = (605.0, 533.0, 462.0)
    width_nm: tuple[float, float, float] = (32.0, 33.0, 27.0)
    lamp_k: float = 3200.0

    def response(self, wavelength_nm: npt.ArrayLike = WAVELENGTH_NM) -> FloatArray:
        """Weights (3, W) of each wavelength in each channel; rows add to one."""
        wave = np.asarray(wavelength_nm, float)
        z = (wave - np.array(self.centre_nm)[:, None]) / np.array(self.width_nm)[:, None]
        weight = np.exp(-0.5 * z**2) * planck(wave, self.lamp_k)
        return weight / weight.sum(axis=1, keepdims=True)


def contrast_ladder(
    material: Material,
    stack: Stack,
    *,
    thickness_nm: npt.ArrayLike | None = None,
    max_layers: int = 10,
    oxide_nm: npt.ArrayLike | None = None,
    camera: Camera | None = None,
    na: float = 0.45,
) -> FloatArray:
    """Linear-light contrast I/I_substrate - 1 that a camera sees, per thickness and channel.

    Parameters
    ----------
    material, stack
    thickness_nm : array_like, (T,), optional
        Default: 1..`max_layers` layers.
    max_layers : int
    oxide_nm : array_like, (O,), optional
        Thicknesses of the stack's tunable film, instead of its own.
    camera : Camera, optional
        Default: a typical colour camera under a halogen lamp.
    na : float

    Returns
    -------
    ndarray, (T, 3), or (O, T, 3) where `oxide_nm` is given
        Channels R, G, B.
    """
    if thickness_nm is None:
        thickness_nm = material.require_layer_nm() * np.arange(1, max_layers + 1)
    thickness = np.concatenate([[0.0], np.atleast_1d(np.asarray(thickness_nm, float))])
    r = flake_reflectance(material, thickness, stack, oxide_nm=oxide_nm, na=na)
    seen = r @ (camera or Camera()).response().T
    return seen[..., 1:, :] / seen[..., :1, :] - 1
