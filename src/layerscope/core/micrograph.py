"""An image with its scale, its unit and what was done to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, ScaleUnknown

_UNIT_NM = {
    "pm": 1e-3,
    "å": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
    "in": 2.54e7,
    "inch": 2.54e7,
}
_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµμÅå]+)\s*(?:/\s*px)?\s*")


class Modality(StrEnum):
    """How the micrograph was made."""

    OPTICAL = "optical"
    AFM = "afm"
    TEM = "tem"
    SEM = "sem"


def parse_length_nm(text: str) -> float:
    """Length in nm from text such as ``0.3844um``, ``20 nm`` or ``5 µm``.

    Raises
    ------
    InputError
        If there is no positive number followed by a unit of length.
    """
    match = _LENGTH.fullmatch(text)
    unit = match.group(2).casefold() if match else ""
    if match is None or unit not in _UNIT_NM or float(match.group(1)) <= 0:
        raise InputError(f"{text!r} is not a length: expected a number and a unit, e.g. 0.3844um")
    return float(match.group(1)) * _UNIT_NM[unit]


@dataclass(frozen=True)
class PixelSize:
    """Distance between pixel centres, nm per pixel, and where the figure comes from."""

    y_nm: float
    x_nm: float
    source: str

    def __post_init__(self) -> None:
        if not (0 < self.y_nm < np.inf and 0 < self.x_nm < np.inf):
            raise InputError(f"pixel size must be positive, got {self.y_nm} x {self.x_nm} nm")

    @classmethod
    def parse(cls, text: str, source: str = "user") -> PixelSize:
        """Square pixels from text such as ``0.3844um``."""
        size_nm = parse_length_nm(text)
        return cls(size_nm, size_nm, source)

    @property
    def um(self) -> float:
        """Side in micrometres of the square pixel of equal area."""
        return float(np.sqrt(self.y_nm * self.x_nm)) * 1e-3


@dataclass(frozen=True)
class Step:
    """One thing that was done to a micrograph: its name and its parameters."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Micrograph:
    """One image, never changed in place.

    Attributes
    ----------
    data : ndarray, (H, W) or (H, W, 3)
        Grey or RGB values as the camera or the instrument gave them (uint8, uint16, float32).
    modality : Modality
    pixel_size : PixelSize or None
        None when unknown; whatever needs it calls `require_scale`.
    value_unit : str
        ``"intensity"``, ``"nm"``, ``"counts"``.
    name : str
        Identifies the image in tables and file names.
    white_level : float
        The value at which a channel saturates (255 for 8 bit, 4095 for 12 bit, 1.0 for float).
    excluded : ndarray of bool, (H, W), or None
        True where the pixels are no specimen: burnt-in scale bar and text.
    sha256 : str
        Of the file's bytes; empty for an image made in memory.
    metadata : mapping
        What the file says, whole.
    history : tuple of Step
        Every processing step, oldest first.
    """

    data: npt.NDArray[Any]
    modality: Modality = Modality.OPTICAL
    pixel_size: PixelSize | None = None
    value_unit: str = "intensity"
    name: str = "image"
    white_level: float = 255.0
    excluded: npt.NDArray[np.bool_] | None = None
    sha256: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        colour = self.data.ndim == 3 and self.data.shape[2] == 3
        if not (self.data.ndim == 2 or colour) or 0 in self.data.shape:
            raise InputError(f"{self.name}: expected (H, W) or (H, W, 3), got {self.data.shape}")
        if self.excluded is not None and self.excluded.shape != self.shape:
            raise InputError(f"{self.name}: excluded mask {self.excluded.shape} != {self.shape}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.data.shape[0], self.data.shape[1]

    def require_scale(self) -> PixelSize:
        """Return the pixel size.

        Raises
        ------
        ScaleUnknown
            If there is none; the message says how to give one.
        """
        if self.pixel_size is None:
            raise ScaleUnknown(
                f"{self.name} has no pixel size. Give one: --pixel-size 0.3844um, or --objective "
                "with a magnification table"
            )
        return self.pixel_size

    def after(
        self, step: str, /, parameters: Mapping[str, Any] | None = None, **changes: Any
    ) -> Micrograph:
        """Return a copy with `changes`, and `step` appended to its history."""
        done = Step(step, dict(parameters or {}))
        return replace(self, history=(*self.history, done), **changes)
