r"""Bruker NanoScope files, .spm and .000 to .999, from version 4.3 on.

A text header of sections (``\*Ciao image list`` for each channel) gives offsets into little-endian
integers, stored from the bottom row up, as the instrument's own picture of a scan shows.

    value = raw * hard / 256^bytes * sensitivity

where `hard` is the last number of the line ``Z scale`` (full range), `bytes` is ``Bytes/pixel`` and
the sensitivity is the one that the line names. The number before ``/LSB`` is not used: it is off by
1e-5, and by the magnification (44 times, in a calibration scan) where 32-bit data are magnified.
From version 9.2 on all data are stored in 32 bits while ``Bytes/pixel`` may still say 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid, pixels_nm
from layerscope.io.spm.scan import Channel, Scan, height
from layerscope.io.spm.units import nm_per, split_quantity

_MAX_HEADER = 4 << 20
_END = b"\\*File list end"
_IMAGE = re.compile(r"(?:@\d*:?)?image data", re.IGNORECASE)
_SCANS = ("ciao scan list", "afm scan list", "stm scan list", "ncafm scan list", "scan list")
_ALL_32_BIT = 0x09200000
_QUANTITY = re.compile(
    r"[VCS]\s*(?:\[(?P<soft>[^\]]*)\])?\s*(?:\((?:[^()]|\([^()]*\))*\))?\s*(?P<hard>[-+0-9.eE]+)\s*(?P<unit>\S*)"
)
_PREFIX = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "~": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Section:
    """One section of the header, keys in lower case."""

    name: str
    lines: dict[str, str] = field(default_factory=dict)


def decode_nanoscope(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the height channel of a NanoScope file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no heights.
    """
    return height(scan_nanoscope(data, max_pixels=max_pixels))


def scan_nanoscope(data: bytes, *, max_pixels: int) -> Scan:
    """Return all images of a NanoScope file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, older than version 4.3, or holds force curves only.
    """
    if data.startswith(b"?"):
        raise UnreadableFile("a NanoScope file with its numbers as text; save it as binary")
    sections = _sections(data)
    images = [s for s in sections if s.name.casefold().endswith("image list")]
    pictures = [s for s in images if "force" not in s.name.casefold()]
    soft = {k: v for s in sections if s not in images for k, v in s.lines.items()}
    if _is_force(sections[0], soft):
        pictures = []
    other = ("force curves",) if len(pictures) < len(images) else ()
    if not pictures:
        raise UnreadableFile(f"it holds {other[0] if other else 'no image'}; expected an image")
    if not any(_IMAGE.fullmatch(k) for s in pictures for k in s.lines):
        version = sections[0].lines.get("version", "unknown")
        raise UnreadableFile(f"NanoScope version {version[:20]}; expected 4.3 or newer")
    notes: list[str] = []
    channels = tuple(_channel(s, sections, soft, data, max_pixels, notes) for s in pictures)
    return Scan(channels, _whole(sections), tuple(dict.fromkeys(notes)), other)


def _is_force(first: Section, soft: dict[str, str]) -> bool:
    """Whether the images of the file are plots of force curves."""
    mode, context = soft.get("operating mode", ""), first.lines.get("start context", "")
    return mode.casefold() == "force" or context.upper() == "FOL"


def _sections(data: bytes) -> list[Section]:
    end = data.find(_END, 0, _MAX_HEADER)
    if end < 0:
        raise UnreadableFile("a NanoScope file without the end of its header: truncated")
    found: list[Section] = []
    for line in data[:end].decode("latin-1").splitlines():
        plain = line.strip().removeprefix("\\")
        if plain.startswith("*"):
            found.append(Section(plain[1:].strip()))
        elif found and plain:
            key, _, value = plain.partition(": " if ": " in plain else ":")
            if plain.startswith("@") and re.match(r"@\d+:", plain):
                key, value = _numbered(plain)
            found[-1].lines.setdefault(key.strip().casefold(), value.strip())
    return found


def _numbered(plain: str) -> tuple[str, str]:
    """Key and value of ``@2:Z scale: V ...``, whose key holds a colon."""
    number, _, rest = plain.partition(":")
    key, _, value = rest.partition(":")
    return f"{number}:{key}", value


def _whole(sections: list[Section]) -> dict[str, dict[str, str]]:
    """All sections by name; those of equal name are numbered."""
    whole: dict[str, dict[str, str]] = {}
    for section in sections:
        name, n = section.name, 1
        while name in whole:
            n += 1
            name = f"{section.name} {n}"
        whole[name] = section.lines
    return whole


def _channel(
    section: Section,
    sections: list[Section],
    soft: dict[str, str],
    data: bytes,
    max_pixels: int,
    notes: list[str],
) -> Channel:
    lines, name = section.lines, _name(section.lines)
    scan = next((s.lines for s in sections if s.name.casefold() in _SCANS), {})
    bits = int(lines.get("bytes/pixel", 2))
    if bits not in (2, 4):
        raise UnreadableFile(f"{name}: {bits} bytes per pixel; expected 2 or 4")
    shape, size = _stored(lines, scan, bits, int(sections[0].lines.get("version", "0"), 16))
    offset = int(lines["data offset"])
    raw = grid(data, offset, f"<i{size}", shape, what=name, max_pixels=max_pixels)
    scale, shift, unit = _calibration(lines, soft, 256**bits)
    return Channel(
        name=name,
        unit=unit,
        shape=shape,
        pixel_nm=_pixel_nm(lines, scan, shape, notes),
        direction=lines.get("line direction", "").casefold(),
        header=lines,
        load=lambda: raw[::-1] * scale + shift,
    )


def _stored(
    lines: dict[str, str], scan: dict[str, str], bits: int, version: int
) -> tuple[tuple[int, int], int]:
    """Rows and columns, and bytes of a stored number.

    Some files have wrong numbers of lines in the image's section; those of the scan then fit the
    length of the data.
    """
    shape, length = (_rows(lines), int(lines["samps/line"])), int(lines["data length"])
    size = 4 if version >= _ALL_32_BIT and length >= 4 * shape[0] * shape[1] else bits
    need = shape[0] * shape[1] * size
    whole = _rows(scan) * int(scan.get("samps/line", 0)) * size
    if whole and (length == whole != need or whole <= length < need):
        shape = _rows(scan), int(scan["samps/line"])
    elif length < need:
        raise UnreadableFile(f"{length} bytes for {shape[1]} x {shape[0]} pixels: damaged")
    return shape, size


def _rows(lines: dict[str, str]) -> int:
    return int(lines.get("number of lines", lines.get("lines", 0)))


def _name(lines: dict[str, str]) -> str:
    key = next((k for k in lines if _IMAGE.fullmatch(k)), None)
    if key is None:
        return "unnamed"
    shown = re.search(r'"([^"]*)"', lines[key]) or re.search(r"\[([^\]]*)\]", lines[key])
    return shown.group(1) if shown else "unnamed"


def _calibration(
    lines: dict[str, str], soft: dict[str, str], steps: int
) -> tuple[float, float, str]:
    """Value of one step, value of the offset, unit."""
    hard, sensitivity, unit = _hard(lines, soft, "z scale")
    shift, shift_sensitivity, shift_unit = _hard(lines, soft, "z offset")
    offset = shift * shift_sensitivity if shift_unit == unit else 0.0
    return hard / steps * sensitivity, offset, unit


def _hard(lines: dict[str, str], soft: dict[str, str], key: str) -> tuple[float, float, str]:
    """Hard value, sensitivity and resulting unit of the line called `key`."""
    found = next((v for k, v in lines.items() if re.fullmatch(rf"@\d*:?{key}", k)), None)
    match = _QUANTITY.match(found) if found is not None else None
    if match is None:
        if key == "z scale":
            raise UnreadableFile("a NanoScope image without a Z scale: damaged")
        return 0.0, 0.0, ""
    hard, unit = float(match["hard"]), match["unit"]
    if not match["soft"]:
        return hard, 1.0, unit
    line = soft.get(f"@{match['soft'].casefold()}", "")
    parts = _QUANTITY.match(line)
    if parts is None:
        raise UnreadableFile(f"the sensitivity [{match['soft'][:30]}] is missing: damaged")
    sensitivity, ratio = float(parts["hard"]), parts["unit"]
    if "/" not in ratio:
        return hard, sensitivity, unit
    numerator, _, denominator = ratio.partition("/")
    return hard * _factor(unit, denominator), sensitivity, numerator


def _factor(unit: str, wanted: str) -> float:
    """Value of one `unit` in `wanted`, which differ by a prefix at most."""
    for left, right, power in ((unit, wanted, 1), (wanted, unit, -1)):
        if left[1:] == right and left[:1] in _PREFIX:
            return float(_PREFIX[left[:1]] ** power)
    return 1.0


def _pixel_nm(
    lines: dict[str, str], scan: dict[str, str], shape: tuple[int, int], notes: list[str]
) -> tuple[float, float] | None:
    """Distance of rows and columns.

    The scan's ``Slow Axis Size`` is believed before the second number of the image's ``Scan Size``,
    which repeats the first in some versions; without both the aspect ratio gives the height.
    """
    across, _, down = lines.get("aspect ratio", "1:1").partition(":")
    ratio = float(down or 1) / float(across)
    if "slow axis size" in scan and "scan size" in scan:
        (width, unit), (tall, unit_y) = (
            split_quantity(scan[k]) for k in ("scan size", "slow axis size")
        )
        # The size is that of the whole scan, also if it was stopped early.
        rows = max(_rows(scan), shape[0]) if ratio != 1 else shape[0]
        return pixels_nm(tall, width, (rows, shape[1]), nm_per(unit_y), nm_per(unit))
    words = lines.get("scan size", "").split()
    nm = nm_per(words[-1]) if len(words) > 1 else None
    width, tall = (float(words[0]), float(words[-2])) if nm else (0.0, 0.0)
    if ratio != 1 and tall == width:
        tall = width * ratio
        notes.append(f"height of the scan from its aspect ratio {across}:{down}")
    declared = max(_rows(lines), 1), max(int(lines["samps/line"]), 1)
    return pixels_nm(tall, width, declared, nm, nm)
