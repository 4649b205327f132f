r"""Bruker NanoScope files, .spm and .000 to .999, from version 4.3 on.

A text header of sections (``\*Ciao image list`` for each channel) gives offsets into little-endian
integers, stored from the bottom row up, as the instrument's own picture of a scan shows.

    value = raw * hard / 256^bytes * sensitivity

where `hard` is the last number of the line ``Z scale`` (full range), `bytes` is ``Bytes/pixel`` and
the sensitivity is the one that the line names. The number before ``/LSB`` is not used: it is off by
1e-5, and by the magnification (44 times, in a calibration scan) where 32-bit data are magnified.
From version 9.2 on all data are stored in 32 bits while ``Bytes/pixel`` may still say 2, so the
size of a stored number comes from ``Data length``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io.spm.binary import grid
from layerscope.io.spm.scan import Channel, Scan, height
from layerscope.io.spm.units import nm_per

_MAX_HEADER = 4 << 20
_END = b"\\*File list end"
_IMAGE = re.compile(r"(?:@\d*:?)?image data", re.IGNORECASE)
_QUANTITY = re.compile(
    r"[VCS]\s*(?:\[(?P<soft>[^\]]*)\])?\s*(?:\([^)]*\))?\s*(?P<hard>[-+0-9.eE]+)\s*(?P<unit>\S*)"
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
    sections = _sections(data)
    images = [s for s in sections if s.name.casefold().endswith("image list")]
    pictures = [s for s in images if "force" not in s.name.casefold()]
    other = ("force curves",) if len(pictures) < len(images) or _is_force(sections) else ()
    if not pictures:
        raise UnreadableFile(f"it holds {other[0] if other else 'no image'}; expected an image")
    version = sections[0].lines.get("version", "unknown")
    if not any(_IMAGE.fullmatch(k) for s in pictures for k in s.lines):
        raise UnreadableFile(f"NanoScope version {version[:20]}; expected 4.3 or newer")
    soft = {k: v for s in sections if s not in images for k, v in s.lines.items()}
    notes: list[str] = []
    channels = tuple(_channel(s, soft, data, max_pixels, notes) for s in pictures)
    return Scan(channels, _whole(sections), tuple(dict.fromkeys(notes)), other)


def _is_force(sections: list[Section]) -> bool:
    return any("force" in s.name.casefold() and "image" in s.name.casefold() for s in sections)


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
    section: Section, soft: dict[str, str], data: bytes, max_pixels: int, notes: list[str]
) -> Channel:
    lines = section.lines
    shape = int(lines["number of lines"]), int(lines["samps/line"])
    name = _name(lines)
    offset, length = int(lines["data offset"]), int(lines["data length"])
    size = length // max(shape[0] * shape[1], 1)
    if size not in (2, 4):
        raise UnreadableFile(f"{name}: {length} bytes for {shape[1]} x {shape[0]} pixels: damaged")
    raw = grid(data, offset, f"<i{size}", shape, what=name, max_pixels=max_pixels)
    declared = int(lines.get("bytes/pixel", size))
    if declared not in (2, 4):
        raise UnreadableFile(f"{name}: {declared} bytes per pixel; expected 2 or 4")
    scale, shift, unit = _calibration(lines, soft, 256**declared)
    return Channel(
        name=name,
        unit=unit,
        shape=shape,
        pixel_nm=_pixel_nm(lines, shape, notes),
        direction=lines.get("line direction", "").casefold(),
        header=lines,
        load=lambda: raw[::-1] * scale + shift,
    )


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
    lines: dict[str, str], shape: tuple[int, int], notes: list[str]
) -> tuple[float, float] | None:
    """Distance of rows and columns; a scan size of one number is the width."""
    words = lines.get("scan size", "").split()
    nm = nm_per(words[-1]) if len(words) > 1 else None
    if nm is None:
        return None
    width, tall = float(words[0]), float(words[1]) if len(words) > 2 else float(words[0])
    across, _, down = lines.get("aspect ratio", "1:1").partition(":")
    ratio = float(down or 1) / float(across)
    if ratio != 1 and tall == width:
        tall = width * ratio
        notes.append(f"height of the scan from its aspect ratio {across}:{down}")
    return tall * nm / shape[0], width * nm / shape[1]
