"""What one microscope, lamp, camera and wafer were found to be: plain values, saved as TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from layerscope.core.results import FloatArray

Status = Literal["ok", "relative", "refused"]


@dataclass(frozen=True, eq=False)
class SetupCalibration:
    """One setup: images that share exposure, lamp and substrate, known by their background.

    Attributes
    ----------
    background : ndarray, (3,)
        Typical level of the bare substrate, R, G, B, fraction of the white level.
    ladder : ndarray, (N, 3)
        Expected linear-light contrast of 1..N layers, posterior mean.
    ladder_sd : ndarray, (N, 3)
        Its standard deviation.
    draws : ndarray, (S, P)
        Posterior draws of the parameters named in `Calibration.parameters`.
    weights : ndarray, (S,)
        Weight of each draw; they add to one.
    status : {"ok", "relative", "refused"}
        ``relative``: the order of thicknesses holds, absolute numbers are withheld.
    reasons : tuple of str
        Why the status is not ``ok``, in words for the user.
    n_regions : int
        Regions the fit used.
    diagnostics : mapping of str to float
        Log prior, median z, gap to the best rival in nats, and so on.
    """

    background: FloatArray
    ladder: FloatArray
    ladder_sd: FloatArray
    draws: FloatArray
    weights: FloatArray
    status: Status
    reasons: tuple[str, ...]
    n_regions: int
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The setups of one run, and the camera they share.

    Attributes
    ----------
    material, substrate : str
        As the user named them, e.g. ``"graphene"`` and ``"SiO2(90nm)/Si"``.
    tone : str
        Name of the tone curve that levels were decoded with: ``linear`` or ``srgb``.
    parameters : tuple of str
        Names and units of the columns of `SetupCalibration.draws`.
    setups : tuple of SetupCalibration
    provenance : mapping
        Software version, parameters, hash of the inputs.
    """

    material: str
    substrate: str
    tone: str
    parameters: tuple[str, ...]
    setups: tuple[SetupCalibration, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def nearest(self, background: FloatArray) -> int:
        """Index of the setup whose background is closest (log distance) to `background` (3,)."""
        known = np.log(np.maximum([s.background for s in self.setups], 1e-4))
        return int(np.argmin(np.abs(known - np.log(np.maximum(background, 1e-4))).max(axis=1)))
