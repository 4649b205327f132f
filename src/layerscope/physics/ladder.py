"""The contrast ladder as a function of what is not known about a microscope.

A camera's channels, its tone exponent, stray light and the oxide are never known exactly. Nine
parameters with priors describe them; `LadderModel` turns a guess into the colours of 1..N layers
and of thicker flakes. Priors are wide enough for cameras from several laboratories
(channel centres were fitted at 439-446, 535-553 and 609-622 nm, exponents at 1.07-1.16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from layerscope.core.results import FloatArray
from layerscope.ops.tone import ToneCurve
from layerscope.physics.materials import Material
from layerscope.physics.mixture import Nodes
from layerscope.physics.thin_film import (
    WAVELENGTH_NM,
    Camera,
    Stack,
    flake_reflectance,
    planck,
)

MAX_THICKNESS_NM = 220.0
"""Thickest flake that is given a number; interference branches are listed up to here."""

_LAYER_SCALE_STEP = 0.04
_THICK_NODES = 56
_RESIDUE_NM = np.geomspace(3.0, 160.0, 24)
_RESIDUE_INDEX = 1.5  # polymers: tape glue, resist, PMMA


@dataclass(frozen=True)
class Parameter:
    """One unknown of the microscope or the wafer: Gaussian prior, hard limits, meaning."""

    name: str
    mean: float
    sd: float
    low: float
    high: float
    meaning: str


_CAMERA = Camera()

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("oxide_nm", 90.0, 10.0, 1.0, 2000.0, "effective thickness of the tunable film"),
    Parameter("centre_r_nm", _CAMERA.centre_nm[0], 12.0, 560.0, 650.0, "centre of the red channel"),
    Parameter(
        "centre_g_nm", _CAMERA.centre_nm[1], 12.0, 490.0, 580.0, "centre of the green channel"
    ),
    Parameter(
        "centre_b_nm", _CAMERA.centre_nm[2], 12.0, 420.0, 505.0, "centre of the blue channel"
    ),
    Parameter("width_scale", 1.0, 0.25, 0.4, 2.0, "channel width over 32, 33, 27 nm"),
    Parameter("tone_exponent", 1.0, 0.12, 0.6, 1.5, "level ~ light ** exponent beyond the curve"),
    Parameter("flare", 0.0, 0.04, -0.05, 0.25, "stray light (+) or black level (-) over substrate"),
    Parameter("saturation", 0.0, 0.15, -0.5, 0.6, "strength of the camera's colour matrix"),
    Parameter("layer_scale", 1.0, 0.03, 0.9, 1.1, "optical thickness of a layer over its table"),
)
NAMES = tuple(p.name for p in PARAMETERS)


@dataclass(frozen=True)
class Prior:
    """Independent Gaussian priors on the parameters, with hard limits."""

    mean: FloatArray
    sd: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def default(cls, *, oxide_nm: float, oxide_sd_nm: float) -> Prior:
        """Priors of `PARAMETERS`, with the oxide that the user named."""
        mean, sd, low, high = (
            np.array([getattr(p, f) for p in PARAMETERS]) for f in ("mean", "sd", "low", "high")
        )
        mean[0], sd[0] = oxide_nm, oxide_sd_nm
        low[0], high[0] = max(1.0, oxide_nm - 4 * oxide_sd_nm), oxide_nm + 4 * oxide_sd_nm
        return cls(mean, sd, low, high)

    def around(self, centre: FloatArray, shrink: float, columns: Sequence[int]) -> Prior:
        """Return a narrower prior for `columns`: mean `centre`, sd times `shrink`."""
        mean, sd = self.mean.copy(), self.sd.copy()
        chosen = list(columns)
        mean[chosen], sd[chosen] = centre[chosen], sd[chosen] * shrink
        return Prior(mean, sd, self.low, self.high)

    def log_density(self, theta: FloatArray) -> FloatArray:
        """Log prior of `theta` (..., P), zero at the mean."""
        return -0.5 * np.sum(((theta - self.mean) / self.sd) ** 2, axis=-1)


class LadderModel:
    """Colours of a material on a stack, as a function of the parameters.

    Parameters
    ----------
    material : Material
    stack : Stack
    oxide_range_nm : tuple of float
        The tunable film is tabulated over this range, in 1 nm steps.
    max_layers : int
        N; longer flakes are nodes of a thickness grid up to `MAX_THICKNESS_NM`.
    na : float
        Numerical aperture of the objective.
    residue : bool, optional
        Whether polymer residue has nodes of its own; by default where its index is far from the
        material's.

    Attributes
    ----------
    thickness_nm : ndarray, (T,)
        1..N layers, then the grid.
    nodes : Nodes
        These, then films of polymer residue: glue has colours of its own, and without them it is
        taken for a strange flake.
    """

    def __init__(
        self,
        material: Material,
        stack: Stack,
        oxide_range_nm: tuple[float, float],
        *,
        max_layers: int = 10,
        na: float = 0.45,
        residue: bool | None = None,
    ):
        self.material, self.stack, self.na = material, stack, na
        self.max_layers = max_layers
        layer = material.require_layer_nm()
        thin = layer * np.arange(1, max_layers + 1)
        thick = np.geomspace(layer * (max_layers + 1), MAX_THICKNESS_NM, _THICK_NODES)
        self.thickness_nm: FloatArray = np.concatenate([thin, thick])
        low, high = np.floor(oxide_range_nm[0]), np.ceil(oxide_range_nm[1])
        alike = np.abs(material.index(550.0) - _RESIDUE_INDEX) < 1.0  # hBN: cannot be told apart
        with_residue = not alike if residue is None else residue
        self.nodes = Nodes(max_layers, len(thick), len(_RESIDUE_NM) if with_residue else 0)
        self.oxide_nm: FloatArray = np.arange(max(low, 1.0), high + 1.5)

    @property
    def is_transparent(self) -> bool:
        """Whether thick flakes show interference colours rather than those of the bulk."""
        return bool(self.material.index(550.0).imag < 0.2)

    def of_material(self, material: Material) -> LadderModel:
        """Return the same model, with residue, for another material."""
        span = (float(self.oxide_nm[0]), float(self.oxide_nm[-1]) - 1)
        return LadderModel(
            material, self.stack, span, max_layers=self.max_layers, na=self.na, residue=True
        )

    @cached_property
    def _table(self) -> tuple[FloatArray, FloatArray]:
        """Reflectance (O, 1 + K, W), and its change when each layer is 4 % thicker."""
        nodes = np.concatenate([[0.0], self.thickness_nm])
        scaled = nodes.copy()
        scaled[: self.max_layers + 1] *= 1 + _LAYER_SCALE_STEP  # thick nodes are free anyway
        base, thicker = self._reflect(self.material, nodes), self._reflect(self.material, scaled)
        slope = (thicker - base) / _LAYER_SCALE_STEP
        if self.nodes.residue == 0:
            return base, slope
        glue = self._reflect(_polymer(), _RESIDUE_NM)
        return np.concatenate([base, glue], 1), np.concatenate([slope, 0 * glue], 1)

    def _reflect(self, material: Material, thickness_nm: FloatArray) -> FloatArray:
        oxide = self.oxide_nm if self.stack.tunable is not None else None
        r = flake_reflectance(material, thickness_nm, self.stack, oxide_nm=oxide, na=self.na)
        return r.reshape(-1, len(thickness_nm), len(WAVELENGTH_NM))

    def _reflectance(self, theta: FloatArray) -> FloatArray:
        base, slope = self._table
        at = np.clip(theta[:, 0] - self.oxide_nm[0], 0, len(base) - 1.001) if len(base) > 1 else 0.0
        i = np.asarray(at, int) * np.ones(len(theta), int)
        w = (at - i)[:, None, None]
        j = np.minimum(i + 1, len(base) - 1)
        scale = (theta[:, 8] - 1)[:, None, None]
        return (1 - w) * (base[i] + scale * slope[i]) + w * (base[j] + scale * slope[j])

    def ratio(self, theta: FloatArray) -> FloatArray:
        """Light from each thickness over light from the substrate: (B, P) -> (B, K, 3)."""
        centre, width = theta[:, 1:4, None], theta[:, 4, None, None]
        sd = np.array(_CAMERA.width_nm)[:, None] * width
        response = np.exp(-0.5 * ((WAVELENGTH_NM - centre) / sd) ** 2)
        response = response * planck(WAVELENGTH_NM, _CAMERA.lamp_k)  # (B, 3, W)
        seen = self._reflectance(theta) @ response.transpose(0, 2, 1)  # (B, 1 + K, 3)
        contrast = seen[:, 1:] / seen[:, :1] - 1
        grey = contrast.mean(axis=2, keepdims=True)
        contrast = contrast + theta[:, 7, None, None] * (contrast - grey)
        flare = theta[:, 6, None, None]
        return np.maximum((1 + contrast + flare) / (1 + flare), 1e-3)

    def encoded(self, theta: FloatArray, tone: ToneCurve, background: FloatArray) -> FloatArray:
        """Contrast on the file's own scale, level / background - 1: (B, P) -> (B, K, 3).

        Parameters
        ----------
        theta : ndarray, (B, P)
        tone : ToneCurve
            How the camera's file encodes light.
        background : ndarray, (3,)
            Level of the substrate, fraction of the white level.
        """
        ratio = self.ratio(theta) ** theta[:, 5, None, None]
        if tone.name == "linear":
            return ratio - 1
        level = np.linspace(0, 1.6, 1601)  # beyond white: saturated channels are handled one-sided
        light = tone.decode(level)
        bare = tone.decode(background)
        return np.interp(ratio * bare, light, level) / background - 1

    def measured(self, theta: FloatArray, tone: ToneCurve, background: FloatArray) -> FloatArray:
        """Contrast as `ops.tone.contrast` measures it on such a camera: (B, P) -> (B, K, 3)."""
        level = (self.encoded(theta, tone, background) + 1) * background
        return tone.decode(level) / tone.decode(background) - 1


def _polymer() -> Material:
    grid = np.array([380.0, 780.0])
    index = np.full(2, _RESIDUE_INDEX)
    return Material("polymer", None, grid, index, np.zeros(2), "", "typical of polymers", "")
