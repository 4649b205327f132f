"""Text that an instrument writes beside the image: JEOL and Hitachi .txt, TIA .emi.

Read by `layerscope.io.read` after the image itself. What the image says of its own scale wins; the
companion's other facts are added. Its name and hash are kept in the metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerscope.core.micrograph import Micrograph, Modality, PixelSize, parse_length_nm
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.em.recording import Optics, plausible, positive
from layerscope.io.scale_metadata import safe_xml

_TEXT_FORMATS = frozenset({"tiff", "bmp", "jpeg", "png"})
_MAX_TEXT_BYTES, _MAX_EMI_BYTES = 1_000_000, 1 << 26


@dataclass(frozen=True)
class Said:
    """What a companion says of its image."""

    optics: Optics
    pixel_size: PixelSize | None
    header: Mapping[str, Any]


def with_companion(micrograph: Micrograph, path: Path) -> Micrograph:
    """Return `micrograph` with what a file of the instrument beside it says; else unchanged.

    Parameters
    ----------
    micrograph : Micrograph
        As read from `path`.
    path : Path

    Raises
    ------
    UnreadableFile
        If the companion says that it is a diffraction pattern.
    """
    form = micrograph.metadata.get("format")
    if form == "ser":
        beside, limit = path.with_name(re.sub(r"(_\d+)?$", "", path.stem) + ".emi"), _MAX_EMI_BYTES
    elif form in _TEXT_FORMATS:
        beside, limit = path.with_suffix(".txt"), _MAX_TEXT_BYTES
    else:
        return micrograph
    raw = _bytes(beside, limit)
    if raw is None:
        return micrograph
    notes: list[str] = []
    said = _emi(raw, notes) if form == "ser" else _text(raw, micrograph.shape, notes)
    if said is None:
        return _with_notes(micrograph, notes)
    if said.optics.mode == "diffraction":
        raise UnreadableFile(f"{path}: a diffraction pattern, as {beside.name} says; no image")
    return _joined(_with_notes(micrograph, notes), said, beside.name, raw)


def _with_notes(micrograph: Micrograph, notes: list[str]) -> Micrograph:
    if not notes:
        return micrograph
    told = micrograph.metadata
    return replace(micrograph, metadata={**told, "notes": (*told.get("notes", ()), *notes)})


def _bytes(path: Path, limit: int) -> bytes | None:
    """Content of a regular file of at most `limit` bytes."""
    try:
        if not path.is_file() or path.stat().st_size > limit:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _joined(micrograph: Micrograph, said: Said, name: str, raw: bytes) -> Micrograph:
    metadata = {
        **said.optics.said(),
        **micrograph.metadata,
        "companion": {"name": name, "sha256": hashlib.sha256(raw).hexdigest(), **said.header},
    }
    return replace(
        micrograph,
        modality=said.optics.modality,
        pixel_size=micrograph.pixel_size or said.pixel_size,
        metadata=metadata,
    )


def _text(raw: bytes, shape: tuple[int, int], notes: list[str]) -> Said | None:
    text = _decoded(raw)
    if text.startswith("$"):
        lines = (line.partition(" ") for line in text.splitlines() if line.startswith("$"))
        said = {key.lstrip("$"): value.strip() for key, _, value in lines}
        return _jeol(said, shape, notes) if "CM_MAG" in said or "SM_MICRON_BAR" in said else None
    section = re.match(r"\[(Sem|Tem)ImageFile\]", text)
    if section:
        pairs = (line.partition("=") for line in text.splitlines()[1:])
        said = {key.strip(): value.strip() for key, sign, value in pairs if sign}
        return _hitachi(said, section.group(1) == "Tem", shape, notes)
    return None


def _decoded(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace").lstrip()
    return raw.decode("utf-8-sig", "replace").lstrip()


def _jeol(said: dict[str, str], shape: tuple[int, int], notes: list[str]) -> Said:
    """Length of the burnt-in bar in pixels and in nm or um."""
    optics = Optics(
        Modality.SEM, positive(said.get("CM_MAG")), positive(said.get("CM_ACCEL_VOLT")), "SEM",
        said.get("CM_SIGNAL", ""),
    )  # fmt: skip
    width = said.get("CM_FULL_SIZE", "").split(" ")[0]
    bar_px, marker = positive(said.get("SM_MICRON_BAR")), said.get("SM_MICRON_MARKER", "")
    size = None
    if bar_px and marker and _same_width(width, shape, "JEOL", notes):
        try:
            side_nm = parse_length_nm(marker) / bar_px
            size = plausible(side_nm, side_nm, "JEOL text beside the image", notes)
        except InputError:
            notes.append(f"JEOL bar of {marker[:20]!r} ignored: not a length")
    return Said(optics, size, {k: v[:200] for k, v in said.items()})


def _hitachi(said: dict[str, str], tem: bool, shape: tuple[int, int], notes: list[str]) -> Said:
    volts = positive(said.get("AcceleratingVoltage", "").split(" ")[0])
    optics = Optics(
        Modality.TEM if tem else Modality.SEM, positive(said.get("Magnification")),
        volts / 1e3 if volts else None, "TEM" if tem else "SEM", said.get("SignalName", ""),
    )  # fmt: skip
    side_nm, size = positive(said.get("PixelSize")), None
    if side_nm and _same_width(said.get("DataSize", "").split("x")[0], shape, "Hitachi", notes):
        size = plausible(side_nm, side_nm, "Hitachi text beside the image", notes)
    return Said(optics, size, {k: v[:200] for k, v in said.items()})


def _same_width(width: str, shape: tuple[int, int], maker: str, notes: list[str]) -> bool:
    """Whether the image has the columns of its text: one that was resized has other pixels."""
    if not width.isdigit() or int(width) == shape[1]:
        return True
    notes.append(f"{maker} pixel size ignored: of {width} columns, the image has {shape[1]}")
    return False


def _emi(raw: bytes, notes: list[str]) -> Said | None:
    """XML in the middle of the file: labels, values and units of the microscope's settings."""
    start, end = raw.find(b"<ObjectInfo>"), raw.find(b"</ObjectInfo>")
    if not 0 <= start < end:
        return None
    text = raw[start : end + len(b"</ObjectInfo>")].decode("utf-8", "replace")
    root = safe_xml(text, "TIA's .emi", notes)
    if root is None:
        return None
    rows = {}
    for entry in root.iter("Data"):
        label = entry.findtext("Label", "").strip()
        rows[label] = entry.findtext("Value", "").strip()[:200]
    mode = rows.get("Mode", "")
    kind = "STEM" if "STEM" in mode.split() else "TEM"
    if kind == "TEM" and "Diffraction" in mode:
        kind = "diffraction"
    kilovolts = positive(rows.get("High tension"))
    return Said(
        Optics(Modality.TEM, positive(rows.get("Magnification")), kilovolts, kind), None, rows
    )
