"""What an electron microscope file holds, and which of it becomes the micrograph.

Each reader of the package turns bytes into a `Recording`: images that know their shape, scale and
optics, and give their frames when asked. What is no image, a diffraction pattern or a spectrum, is
listed with the reason. Everything after that is the same for all formats and lives here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.io.pixels import build_micrograph
from layerscope.io.spm.units import nm_per

Array = npt.NDArray[Any]

_FINEST_NM, _COARSEST_NM = 1e-4, 1e5
_RECIPROCAL = re.compile(r"1\s*/|\^?-1\b|⁻¹|rad\b|°|\bdeg", re.IGNORECASE)
_ENERGY = re.compile(r"[kmM]?eV")
_EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True)
class Optics:
    """How an image was taken, as far as the file says.

    Attributes
    ----------
    modality : Modality
    magnification : float or None
        As indicated by the instrument.
    voltage_kv : float or None
        Accelerating voltage.
    mode : str
        ``"TEM"``, ``"STEM"``, ``"SEM"``, ``"diffraction"`` or what else the instrument calls it.
    detector : str
        Camera or detector.
    """

    modality: Modality = Modality.TEM
    magnification: float | None = None
    voltage_kv: float | None = None
    mode: str = ""
    detector: str = ""

    def said(self) -> dict[str, Any]:
        """Return what is known, for the metadata."""
        facts = {
            "magnification": positive(self.magnification),
            "voltage_kv": positive(self.voltage_kv),
            "mode": self.mode[:80],
            "detector": self.detector[:80],
        }
        return {name: value for name, value in facts.items() if value}


@dataclass(frozen=True, eq=False)
class Image:
    """One image, or stack of images, of a file.

    Attributes
    ----------
    name : str
    shape : tuple of int
        Rows and columns of one frame.
    pixel_size : PixelSize or None
    optics : Optics
    n_frames : int
    refusal : str
        What it is instead of an image, e.g. ``"a diffraction pattern (1/nm)"``; else empty.
    header : mapping
        What the file says of this image alone.
    notes : tuple of str
    load : callable
        Frame number to values (H, W) or (H, W, 3) as stored, first row on top.
    """

    name: str
    shape: tuple[int, int]
    pixel_size: PixelSize | None = None
    optics: Optics = field(default_factory=Optics)
    n_frames: int = 1
    refusal: str = ""
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    load: Callable[[int], Array] = field(default=lambda frame: np.empty((0, 0)), repr=False)

    def __str__(self) -> str:
        """Name, size, frames and what it is on one line."""
        name = " ".join(self.name.split())[:60] or "unnamed"
        frames = f", {self.n_frames} frames" if self.n_frames > 1 else ""
        what = f": {self.refusal}" if self.refusal else ""
        return f"{name} ({self.shape[1]} x {self.shape[0]} px{frames}){what}"

    def check_frame(self, frame: int) -> None:
        """Raise InputError if there is no frame of that number."""
        if not 0 <= frame < self.n_frames:
            raise InputError(f"frame {frame} of {self.n_frames}; expected 0 to {self.n_frames - 1}")


@dataclass(frozen=True, eq=False)
class Recording:
    """All images of a file, and what else it says.

    Attributes
    ----------
    images : tuple of Image
        In the order of the file; what is no image has a `refusal`.
    header : mapping
        The vendor's header.
    notes : tuple of str
        What was inferred or ignored.
    """

    images: tuple[Image, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def positive(value: Any) -> float | None:
    """Return a finite number over 0, from a number or its text, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < np.inf else None


def unit_refusal(unit: str) -> str:
    """Name what an image with an axis of such a unit is instead; empty for a length or no unit."""
    plain = " ".join(unit.split())[:20]
    if _ENERGY.fullmatch(plain.strip("[]() ")):
        return f"a spectrum ({plain} per pixel)"
    return f"a diffraction pattern ({plain} per pixel)" if _RECIPROCAL.search(plain) else ""


def scale_of(
    y: Any, x: Any, units: tuple[str, str], source: str, notes: list[str]
) -> PixelSize | None:
    """Pixel size from steps of rows and columns in a unit each; None where it is not believable.

    Parameters
    ----------
    y, x : number
        Either sign.
    units : tuple of str
        Of rows, of columns.
    source : str
        What the pixel size is said to come from.
    notes : list of str
        Reasons for ignoring it are appended.
    """
    sides = []
    for step, unit in zip((y, x), units, strict=True):
        factor, size = nm_per(unit), positive(abs(step)) if isinstance(step, int | float) else None
        if factor is None or size is None:
            return None
        sides.append(size * factor)
    return plausible(sides[0], sides[1], source, notes)


def plausible(y_nm: float, x_nm: float, source: str, notes: list[str]) -> PixelSize | None:
    """Pixel size, unless no electron microscope has such pixels; then a note says so."""
    low, high = min(y_nm, x_nm), max(y_nm, x_nm)
    if not (low > _FINEST_NM and high < _COARSEST_NM and high < 20 * low):
        notes.append(f"pixel size of {y_nm:.4g} x {x_nm:.4g} nm ignored: not believable")
        return None
    return PixelSize(y_nm, x_nm, f"metadata: {source}")


def pick(recording: Recording, image: str | int | None) -> Image:
    """Return the image asked for, else the first that is one.

    Raises
    ------
    UnreadableFile
        If what it names, or all there is, is no image; the message says what it is.
    UnknownName, InputError
        If there is none of that name or number.
    """
    if image is None:
        readable = [i for i in recording.images if not i.refusal]
        if readable:
            return readable[0]
        raise UnreadableFile(_nothing(recording))
    if isinstance(image, int):
        if not 0 <= image < len(recording.images):
            raise InputError(f"image {image} of {len(recording.images)}; expected 0 or more")
        found = recording.images[image]
    else:
        named = [i for i in recording.images if i.name.casefold() == image.strip().casefold()]
        if not named:
            raise UnknownName.of("image", image, {i.name for i in recording.images})
        found = named[0]
    if found.refusal:
        raise UnreadableFile(f"{found.name} is {found.refusal}, no image")
    return found


def _nothing(recording: Recording) -> str:
    if len(recording.images) == 1:
        return f"it holds {recording.images[0].refusal}, no image"
    held = list(dict.fromkeys(i.refusal for i in recording.images))
    return "it holds no image" + (f" but {', '.join(held[:4])}" if held else "")


def to_micrograph(recording: Recording, image: Image, frame: int = 0) -> Micrograph:
    """Micrograph of one frame.

    Parameters
    ----------
    recording : Recording
    image : Image
        One of it.
    frame : int

    Returns
    -------
    Micrograph
        uint8 and uint16 as stored; whole numbers from 0 to 65535 as uint16, all else as float32.
        Pixels without a finite value get the lowest one, and are `excluded`.
    """
    notes = [*recording.notes, *image.notes, *_choice_notes(recording, image, frame)]
    values = image.load(frame)
    _note_rounding(values, notes)
    values, missing = _without_gaps(values, notes)
    built = build_micrograph(
        values,
        metadata={
            "image": image.name,
            "images": tuple(str(i) for i in recording.images),
            "frame": frame,
            "n_frames": image.n_frames,
            **image.optics.said(),
            "header": {**recording.header, **image.header},
        },
        notes=notes,
        pixel_size=image.pixel_size,
    )
    return replace(built, modality=image.optics.modality, excluded=missing)


def _choice_notes(recording: Recording, image: Image, frame: int) -> list[str]:
    notes = []
    if image.n_frames > 1:
        notes.append(f"stack of {image.n_frames} frames: only frame {frame} was read")
    others = [str(i) for i in recording.images if i is not image]
    if others:
        more = f" and {len(others) - 6} more" if len(others) > 6 else ""
        notes.append(f"read {image.name}; also in the file: {'; '.join(others[:6])}{more}")
    return notes


def _note_rounding(values: Array, notes: list[str]) -> None:
    """Whole numbers over 16 bits become float32, which is exact up to 2**24 only."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 4:
        return
    if max(int(values.max()), -int(values.min())) > _EXACT_IN_FLOAT32:
        notes.append("whole numbers over 16777216 rounded to the 24 bits of float32")


def _without_gaps(values: Array, notes: list[str]) -> tuple[Array, npt.NDArray[np.bool_] | None]:
    if values.dtype.kind != "f":
        return values, None
    # float64 beyond the range of float32 would become infinite there.
    limit = np.finfo(np.float32).max
    with np.errstate(invalid="ignore"):
        missing = np.asarray(~(np.abs(values) <= limit))
    if not missing.any():
        return values, None
    if missing.all():
        raise UnreadableFile("no pixel has a value: damaged")
    notes.append(f"{int(missing.sum())} pixels without a value: excluded")
    filled = np.where(missing, values[~missing].min(), values)
    return filled, missing if missing.ndim == 2 else np.asarray(missing.any(axis=2))
