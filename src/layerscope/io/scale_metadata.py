"""Pixel size from what a file says about itself, and reasons when it cannot be believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from layerscope.core.micrograph import PixelSize, parse_length_nm
from layerscope.errors import InputError

INCH_NM, CENTIMETRE_NM, METRE_NM = 2.54e7, 1e7, 1e9
MAX_XML_CHARACTERS = 10_000_000

# What printers, scanners and screens use, beyond those already coarser than 20 um per pixel.
_PRINT_DPI = (1440, 2400, 2880, 3600, 4800, 5760, 9600)
_COARSEST_NM, _FINEST_NM = 20_000.0, 0.01


def from_ome_xml(text: str, notes: list[str]) -> tuple[PixelSize | None, dict[str, int]]:
    """Pixel size and integer attributes of the first ``Pixels`` element of an OME-XML text.

    Parameters
    ----------
    text : str
        OME-XML, schema 2016-06 or older (the unit then is um).
    notes : list of str
        Reasons for ignoring something are appended.

    Returns
    -------
    PixelSize or None
    dict
        ``SignificantBits``, ``SizeC``, ``SizeZ``, ``SizeT`` where present.
    """
    pixels = _ome_pixels(text, notes)
    if pixels is None:
        return None, {}
    names = ("SignificantBits", "SizeC", "SizeZ", "SizeT")
    counts = {n: int(pixels.get(n, "")) for n in names if pixels.get(n, "").isdecimal()}
    lengths = {}
    for axis in "XY":
        value = pixels.get(f"PhysicalSize{axis}")
        if value is not None:
            unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
            lengths[axis] = _length_nm(f"{value} {unit}", f"OME PhysicalSize{axis}", notes)
    x_nm, y_nm = lengths.get("X"), lengths.get("Y")
    if x_nm is None and y_nm is None:
        return None, counts
    return PixelSize(y_nm or x_nm or 0, x_nm or y_nm or 0, "metadata: OME PhysicalSize"), counts


def from_imagej(
    description: Mapping[str, str], x_per_unit: float, y_per_unit: float, notes: list[str]
) -> PixelSize | None:
    """Pixel size from ImageJ's ``unit`` and the TIFF resolution tags, pixels per that unit."""
    unit = description.get("unit", "").replace("\\u00B5", "µ").replace("\\u00b5", "µ").strip()
    if unit.casefold() in ("", "pixel", "pixels", "inch"):
        return None
    x_nm = (
        _length_nm(f"{1 / x_per_unit!r} {unit}", "ImageJ unit", notes) if x_per_unit > 0 else None
    )
    y_nm = (
        _length_nm(f"{1 / y_per_unit!r} {unit}", "ImageJ unit", notes) if y_per_unit > 0 else None
    )
    if x_nm is None or y_nm is None:
        return None
    return PixelSize(y_nm, x_nm, f"metadata: ImageJ, unit {unit}")


def from_resolution(
    x_per_unit: float, y_per_unit: float, unit_nm: float, where: str, notes: list[str]
) -> PixelSize | None:
    """Pixel size from a print resolution, where it can be one of a microscope.

    Programs write 72, 96, 150 or 300 dots per inch when they know nothing: such values, whole
    printer resolutions and pixels over 20 um are ignored, and `notes` says so.
    """
    if not (x_per_unit > 0 and y_per_unit > 0):
        return None
    x_nm, y_nm = unit_nm / x_per_unit, unit_nm / y_per_unit
    dpi = INCH_NM / x_nm
    printer = any(abs(dpi - known) < 0.6 for known in _PRINT_DPI)
    sizes = sorted((x_nm, y_nm))
    if printer or sizes[0] < _FINEST_NM or sizes[1] > _COARSEST_NM or sizes[1] > 2 * sizes[0]:
        notes.append(f"{where} of {dpi:.6g} dots per inch ignored: a print setting, not a scale")
        return None
    return PixelSize(y_nm, x_nm, f"metadata: {where}")


def parse_imagej(description: str) -> dict[str, str]:
    """``key=value`` lines of an ImageJ image description; empty when it is none."""
    if not description.startswith("ImageJ="):
        return {}
    pairs = (line.partition("=") for line in description.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def _ome_pixels(text: str, notes: list[str]) -> ElementTree.Element | None:
    root = safe_xml(text, "OME-XML", notes)
    if root is None:
        return None
    return next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)


def safe_xml(text: str, what: str, notes: list[str]) -> ElementTree.Element | None:
    """Root of an XML text from a file, or None and a note where it cannot be trusted.

    Parameters
    ----------
    text : str
    what : str
        Named in the note.
    notes : list of str
        Reasons for ignoring it are appended.
    """
    if len(text) > MAX_XML_CHARACTERS:
        notes.append(f"{what} of {len(text)} characters ignored: over {MAX_XML_CHARACTERS}")
        return None
    # Entities are the road to reading local files and to exhausting memory; these texts have none.
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        notes.append(f"{what} ignored: it declares a document type or entities")
        return None
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        notes.append(f"{what} ignored: {error}")
        return None


def _length_nm(text: str, where: str, notes: list[str]) -> float | None:
    try:
        return parse_length_nm(text)
    except InputError:
        notes.append(f"{where} {text!r} ignored: not a length")
        return None


def ratio(value: Any) -> float:
    """Convert a TIFF rational ``(numerator, denominator)`` or a plain number; 0 if undefined."""
    top, bottom = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
    if not isinstance(top, int | float) or not isinstance(bottom, int | float) or bottom == 0:
        return 0.0
    return float(top) / float(bottom)
