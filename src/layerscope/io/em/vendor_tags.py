"""What makers of electron microscopes and cameras write into the tags of a TIFF.

FEI/Thermo Fisher (34680, 34682), Zeiss (34118), TVIPS (37706), Olympus-SIS (33560, 33471), JEOL
(XML in the description) and DigitalMicrograph's exports (65003 to 65010). One function each; the
table at the end says which belongs to which tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from layerscope.core.micrograph import Modality, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.recording import Optics, plausible, positive, scale_of, unit_refusal
from layerscope.io.scale_metadata import CENTIMETRE_NM, INCH_NM, ratio, safe_xml
from layerscope.io.spm.units import nm_per

Tags = Mapping[str, Any]

_FINEST_LIGHT_NM = 20.0
"""No light microscope has smaller pixels: 3.45 um of a fine camera behind 160x are 22 nm."""
_MOST_LIGHT = 2000.0
"""Nor a higher magnification."""


@dataclass(frozen=True)
class Vendor:
    """What the tags of one maker say.

    Attributes
    ----------
    optics : Optics
    pixel_size : PixelSize or None
    """

    optics: Optics
    pixel_size: PixelSize | None


def read_vendor(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    """Read what an electron microscope said of a TIFF; None where no maker known wrote it.

    Parameters
    ----------
    tags : mapping
        By name, as tifffile decodes them.
    shape : tuple of int
        Rows and columns of the image.
    notes : list of str
        Reasons for ignoring something are appended.

    Raises
    ------
    UnreadableFile
        If it is a diffraction pattern.
    """
    for name, reader in _READERS:
        if name in tags:
            found = reader(tags, shape, notes)
            if found is not None:
                return found
    return None


def _fei(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    said: dict[str, Any] = {}
    for name in ("FEI_SFEG", "FEI_HELIOS"):
        said |= tags[name] if isinstance(tags.get(name), dict) else {}
    if not said:
        return None
    beam = str(_entry(said, "Beam", "Beam") or "EBeam")
    times = _entry(said, "User", "Magnification") or _entry(said, "Image", "MagnificationReal")
    volts = positive(_entry(said, "Beam", "HV") or _entry(said, beam, "HV"))
    optics = Optics(
        Modality.SEM, positive(times), volts / 1e3 if volts else None,
        "FIB" if beam == "IBeam" else "SEM", str(_entry(said, "Detectors", "Name") or ""),
    )  # fmt: skip
    return Vendor(optics, _fei_scale(said, beam, shape, notes))


def _fei_scale(said: Tags, beam: str, shape: tuple[int, int], notes: list[str]) -> PixelSize | None:
    """Pixel of the scan; or field of view over the pixels that were scanned."""
    scanned = positive(_entry(said, "Image", "ResolutionX"))
    if scanned and scanned != shape[1]:
        notes.append(f"FEI pixel size ignored: of {scanned:g} columns, the image has {shape[1]}")
        return None
    x_m, y_m = (positive(_entry(said, "Scan", n)) for n in ("PixelWidth", "PixelHeight"))
    where = "FEI tags, PixelWidth"
    if not (x_m and y_m):
        high = positive(_entry(said, "Image", "ResolutionY"))
        wide_m, tall_m = (positive(_entry(said, beam, n)) for n in ("HFW", "VFW"))
        if not (wide_m and tall_m and scanned and high):
            return None
        x_m, y_m, where = wide_m / scanned, tall_m / high, "FEI tags, field width"
    return plausible(y_m * 1e9, x_m * 1e9, where, notes)


def _entry(said: Tags, section: str, name: str) -> Any:
    inside = said.get(section)
    return inside.get(name) if isinstance(inside, dict) else None


def _zeiss(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    said = tags["CZ_SEM"]
    if not isinstance(said, dict):
        return None
    times = _zeiss_times(said.get("ap_mag"))
    kilovolts = _zeiss_in(said.get("ap_actualkv") or said.get("ap_manualkv"), {"V": 1e-3, "kV": 1})
    detector = said.get("dp_detector_channel") or said.get("dp_detector_type") or ("", "")
    name = str(detector[1]) if isinstance(detector, tuple) and len(detector) > 1 else ""
    optics = Optics(Modality.SEM, times, kilovolts, "SEM", name)
    return Vendor(optics, _zeiss_scale(said, shape, notes))


def _zeiss_scale(said: Tags, shape: tuple[int, int], notes: list[str]) -> PixelSize | None:
    """Pixel of the image or, in files without it, of a screen 1024 wide.

    ``ap_pixel_size`` is that of the screen too: wrong for images of another width.
    """
    own = said.get("ap_image_pixel_size")
    if isinstance(own, tuple) and len(own) == 3 and positive(own[1]):
        return scale_of(own[1], own[1], (str(own[2]),) * 2, "Zeiss tag, image pixel size", notes)
    unnamed = said.get("")
    side_m = positive(unnamed[3]) if isinstance(unnamed, tuple) and len(unnamed) > 3 else None
    if side_m is None:
        return None
    side_nm = side_m * 1e9 * 1024 / shape[1]
    return plausible(side_nm, side_nm, "Zeiss tag, pixel of the screen", notes)


def _zeiss_times(entry: Any) -> float | None:
    """``Mag = 10.00 K X`` or ``Mag = 150 X``."""
    parts = " ".join(str(p) for p in entry[1:]) if isinstance(entry, tuple) else ""
    match = re.match(r"([\d.]+)\s*(K?)\s*X\s*$", parts, re.IGNORECASE)
    number = positive(match.group(1)) if match else None
    return number * (1000 if match and match.group(2) else 1) if number else None


def _zeiss_in(entry: Any, factors: Mapping[str, float]) -> float | None:
    if not isinstance(entry, tuple) or len(entry) < 3 or entry[2] not in factors:
        return None
    number = positive(entry[1])
    return number * factors[entry[2]] if number else None


def _tvips(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    said = tags["TVIPS"]
    if not isinstance(said, dict) or not said:
        return None
    times = positive(said.get("TemMagnification")) or positive(said.get("Magnification"))
    volts = positive(said.get("TemHighTension")) or positive(said.get("HighTension"))
    kilovolts = volts / 1e3 if volts and volts > 1000 else volts  # version 1 counts in kV
    optics = Optics(Modality.TEM, times, kilovolts, "TEM", str(said.get("CameraType") or ""))
    x, y = positive(said.get("PixelSizeX")), positive(said.get("PixelSizeY"))
    if not (x and y):
        return Vendor(optics, None)
    return Vendor(optics, plausible(y, x, "TVIPS tag", notes))


def _olympus(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    said = tags["OlympusSIS"]
    if not isinstance(said, dict):
        return None
    x_m, y_m = positive(said.get("pixelsizex")), positive(said.get("pixelsizey"))
    times = positive(said.get("magnification"))
    size = plausible(y_m * 1e9, x_m * 1e9, "Olympus-SIS tag", notes) if x_m and y_m else None
    # The same program runs light microscopes.
    electrons = (times or 0) > _MOST_LIGHT or (size and size.x_nm < _FINEST_LIGHT_NM)
    if not electrons:
        return Vendor(Optics(Modality.OPTICAL, times), size)
    return Vendor(Optics(Modality.TEM, times, None, "", str(said.get("cameraname") or "")), size)


def _jeol(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    """JEOL's XML; the resolution is that of the camera, before magnification."""
    text = tags.get("ImageDescription")
    if not str(tags["Make"]).startswith("JEOL") or not isinstance(text, str):
        return None
    root = safe_xml(text.strip("\x00\x01 \r\n\t"), "JEOL description", notes)
    if root is None:
        return None
    said = {e.tag: (e.text or "").strip() for e in root.iter()}
    scanning = said.get("EosMode") == "modeASID"
    volts, number = positive(said.get("AccelerationVoltage")), positive(said.get("SelectorValue"))
    if said.get("ModeString", "").startswith("DIFF") and not scanning:
        raise UnreadableFile("a diffraction pattern (imaging mode of the microscope), no image")
    times = number if said.get("SelectorUnitString", "X").upper() in ("X", "") else None
    kilovolts = volts / 1e3 if volts else None
    optics = Optics(Modality.TEM, times, kilovolts, "STEM" if scanning else "TEM")
    return Vendor(optics, None if scanning else _camera_scale(tags, times, notes))


def _camera_scale(tags: Tags, times: float | None, notes: list[str]) -> PixelSize | None:
    unit_nm = {2: INCH_NM, 3: CENTIMETRE_NM}.get(tags.get("ResolutionUnit", 2))
    x, y = ratio(tags.get("XResolution")), ratio(tags.get("YResolution"))
    if not (times and unit_nm and x > 0 and y > 0):
        return None
    where = f"camera pixel over a magnification of {times:g} (JEOL)"
    return plausible(unit_nm / y / times, unit_nm / x / times, where, notes)


def _gatan(tags: Tags, shape: tuple[int, int], notes: list[str]) -> Vendor | None:
    """Read exports of DigitalMicrograph: unit and step of columns, then of rows."""
    units = [_word(tags.get(name)) for name in ("65004", "65003")]
    refusal = next((r for r in map(unit_refusal, units) if r), "")
    if refusal:
        raise UnreadableFile(f"{refusal}, no image")
    if any(nm_per(unit) is None for unit in units):
        return None
    where = "DigitalMicrograph's tags in the TIFF"
    size = scale_of(tags.get("65010"), tags.get("65009"), (units[0], units[1]), where, notes)
    return Vendor(Optics(Modality.TEM), size)


def _word(value: Any) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text.strip("\0 ") if isinstance(text, str) else ""


_READERS: tuple[tuple[str, Callable[[Tags, tuple[int, int], list[str]], Vendor | None]], ...] = (
    ("FEI_SFEG", _fei),
    ("FEI_HELIOS", _fei),
    ("CZ_SEM", _zeiss),
    ("TVIPS", _tvips),
    ("OlympusSIS", _olympus),
    ("Make", _jeol),
    ("65003", _gatan),
)
