"""One channel in which the film is high, whatever the picture was, and which pixels count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality
from layerscope.core.results import BoolArray
from layerscope.errors import InputError

SIDES = ("bright", "dark")
_SMALLEST_PX = 16


@dataclass(frozen=True, eq=False)
class Field:
    """Values of one picture or scan.

    Attributes
    ----------
    values : ndarray of float32, (H, W)
        Heights in nm, or grey values as stored; NaN where not `valid`.
    valid : ndarray of bool, (H, W)
        Finite and no burnt-in text; what is not is counted in nothing.
    is_height : bool
    film : {"bright", "dark"}
        Side of the substrate that the film lies on; "bright" is high for heights.
    white_level : float
    """

    values: npt.NDArray[np.float32]
    valid: BoolArray
    is_height: bool
    film: str
    white_level: float

    @property
    def sign(self) -> float:
        """Factor that makes the film high."""
        return 1.0 if self.film == "bright" else -1.0


def make_field(micrograph: Micrograph, film: str | None = None) -> Field:
    """Take the channel that coverage is read from.

    Parameters
    ----------
    micrograph : Micrograph
        Levelled heights (`value_unit` ``"nm"``) or a picture; colour becomes grey.
    film : {"bright", "dark"}, optional
        Whether the film is brighter or darker than the bare substrate. Unless given: bright
        (high) for AFM; dark for SEM, where a film damps the secondary electrons of the metal
        below, and for transmission, which it weakens.

    Raises
    ------
    InputError
        If `film` is another word, the picture is smaller than 16 px, or no pixel has a value.
    """
    if film not in (None, *SIDES):
        raise InputError(f"film {film!r}: expected bright or dark")
    if min(micrograph.shape) < _SMALLEST_PX:
        raise InputError(
            f"{micrograph.name}: {micrograph.shape[0]} x {micrograph.shape[1]} px is too small for "
            f"coverage, expected at least {_SMALLEST_PX} on each side"
        )
    values = _one_channel(micrograph.data)
    valid = np.isfinite(values)
    if micrograph.excluded is not None:
        valid &= ~micrograph.excluded
    if not valid.any():
        raise InputError(f"{micrograph.name}: no pixel has a value; nothing to take coverage of")
    side = film or ("bright" if micrograph.modality == Modality.AFM else "dark")
    values = np.where(valid, values, np.float32(np.nan))
    return Field(values, valid, micrograph.value_unit == "nm", side, micrograph.white_level)


def _one_channel(data: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Grey values (H, W) as float32, not scaled."""
    plain = data.astype(np.float32)
    return plain if plain.ndim == 2 else np.asarray(cv2.cvtColor(plain, cv2.COLOR_RGB2GRAY))
