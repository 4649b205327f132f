"""EMD files: HDF5 as Velox (Thermo Fisher) and NCEM's programs write it. `emd_child` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import UnreadableFile
from layerscope.io.em.emd_child import COLUMNS_FIRST
from layerscope.io.em.recording import (
    Array,
    Image,
    Optics,
    Recording,
    pick,
    positive,
    scale_of,
    to_micrograph,
    unit_refusal,
)
from layerscope.io.pixels import check_size
from layerscope.io.spm.binary import grid
from layerscope.io.spm.hdf5 import ask_child

_CHILD = "layerscope.io.em.emd_child"
_MARKS = (b'"Velox"', b"emd_group_type")
_NO_IMAGES = {
    "Spectrum": "a spectrum",
    "SpectrumImage": "a spectrum image",
    "SpectrumStream": "a stream of spectra",
}

Said = Mapping[str, Any]


def is_emd(data: bytes) -> bool:
    """Whether an HDF5 file is of Velox or NCEM: both leave a name in plain text."""
    return any(mark in data for mark in _MARKS)


def decode_emd(data: bytes, *, max_pixels: int) -> Micrograph:
    """Decode the first image of an EMD file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, too large, or holds no image.
    MissingExtra
        If h5py is not installed.
    """
    recording = open_emd(data, max_pixels=max_pixels)
    return to_micrograph(recording, pick(recording, None))


def open_emd(data: bytes, *, max_pixels: int) -> Recording:
    """Return all data of an EMD file: images of detectors, then maps computed from spectra.

    Raises
    ------
    UnreadableFile
        If the file is damaged or too large.
    MissingExtra
        If h5py is not installed.
    """
    answer, _ = ask_child(_CHILD, data, {"path": None})
    makers = {"velox": _velox, "ncem": _ncem}
    found = [makers[s["layout"]](s, data, answer["header"], max_pixels) for s in answer["found"]]
    if not found:
        raise UnreadableFile("an EMD file without data: an unfinished recording or damaged")
    images = sorted(
        found, key=lambda i: (bool(i.refusal), not i.optics.detector, -i.shape[0] * i.shape[1])
    )
    for image in images:
        if not image.refusal:
            check_size(*image.shape, channel_bytes=1, stored_bytes=len(data), max_pixels=max_pixels)
    return Recording(tuple(images), answer["header"])


def _velox(said: Said, data: bytes, header: Said, max_pixels: int) -> Image:
    shape, told, notes = tuple(said["shape"]), said["metadata"], list[str]()
    refusal = _NO_IMAGES.get(said["kind"], "" if said["kind"] == "Image" else "no picture")
    if said["type"] == "c":
        refusal = refusal or "a Fourier transform (complex values)"
    units = [str(_at(told, "BinaryResult", f"PixelUnit{axis}") or "") for axis in "YX"]
    refusal = refusal or _shape_refusal(shape) or next(filter(None, map(unit_refusal, units)), "")
    optics = _velox_optics(told)
    if not refusal and optics.mode == "diffraction":
        refusal = "a diffraction pattern (projector mode of the microscope)"
    rows, columns = (*shape, 1)[:2]
    name = optics.detector or said["path"].split("/")[-2][:8]
    return Image(
        name=name,
        shape=(rows, columns),
        pixel_size=None if refusal else _velox_scale(told, units, notes),
        optics=optics,
        n_frames=shape[2] if len(shape) > 2 else 1,
        refusal=refusal,
        header=told,
        notes=tuple(notes),
        load=partial(_frame, said["path"], "velox", (rows, columns), data, max_pixels),
    )


def _velox_optics(told: Said) -> Optics:
    volts = positive(_at(told, "Optics", "AccelerationVoltage"))
    # Operating mode 1: the beam stands still, 2: it scans. Projector mode 1: diffraction. Files of
    # cameras have a scan as well, that of the last scanned image.
    mode, times = "TEM" if told else "", _at(told, "Optics", "NominalMagnification")
    operating = str(_at(told, "Optics", "OperatingMode") or "")
    if operating == "2" or (not operating and _at(told, "Scan", "ScanSize")):
        mode, times = "STEM", _at(told, "CustomProperties", "StemMagnification", "value")
    elif str(_at(told, "Optics", "ProjectorMode")) == "1":
        mode, times = "diffraction", None
    return Optics(
        magnification=positive(times),
        voltage_kv=volts / 1e3 if volts else None,
        mode=mode,
        detector=str(_at(told, "BinaryResult", "Detector") or ""),
    )


def _velox_scale(told: Said, units: list[str], notes: list[str]) -> PixelSize | None:
    y, x = (positive(_at(told, "BinaryResult", "PixelSize", n)) for n in ("height", "width"))
    return scale_of(y, x, (units[0], units[1]), "Velox PixelSize", notes)


def _at(told: Any, *names: str) -> Any:
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told


def _shape_refusal(shape: tuple[int, ...]) -> str:
    if len(shape) > 3:
        return f"data of {len(shape)} dimensions"
    if len(shape) < 2 or min(shape) < 1 or sorted(shape)[-2] < 2:
        return "a line profile or spectrum"
    return ""


def _ncem(said: Said, data: bytes, header: Said, max_pixels: int) -> Image:
    shape, told, layout, notes = tuple(said["shape"]), said["axes"], "ncem", list[str]()
    if _columns_first(told):
        shape, told, layout = shape[::-1], told[::-1], COLUMNS_FIRST
    axes = [(a.get("step"), _unit(a.get("units", ""))) for a in told]
    kinds = [unit_refusal(unit) for _, unit in axes]
    several = " image" if len(shape) > 2 else ""
    refusal = f"a spectrum{several}" if any("spectrum" in k for k in kinds) else ""
    refusal = refusal or _shape_refusal(shape) or next(filter(None, kinds[-2:]), "")
    if said["type"] not in "biuf":
        refusal = "a Fourier transform (complex values)"
    rows, columns = (1, *shape)[-2:]
    (y, unit_y), (x, unit_x) = ([(None, ""), (None, ""), *axes])[-2:]
    where = "EMD dimensions"
    return Image(
        name=said["path"].strip("/").removesuffix("/data").rpartition("/")[2] or "data",
        shape=(rows, columns),
        pixel_size=None if refusal else scale_of(y, x, (unit_y, unit_x), where, notes),
        optics=_ncem_optics(header.get("microscope")),
        n_frames=shape[0] if len(shape) == 3 else 1,
        refusal=refusal,
        header={"axes": said["axes"]},
        notes=tuple(notes),
        load=partial(_frame, said["path"], layout, (rows, columns), data, max_pixels),
    )


def _columns_first(axes: Sequence[Said]) -> bool:
    """Whether x comes before y, as HyperSpy writes all and Prismatic its images; by their names.

    Not of volumes: x, y, z is also what ncempy calls the sections, rows and columns of an MRC file.
    """
    names = [str(a.get("name", "")).strip().casefold().removeprefix("r_") for a in axes]
    return names[:2] == ["x", "y"] and "z" not in names


def _unit(text: Any) -> str:
    """``[n_m]`` is nm; a bare A, of diffraction programs, an Angstrom."""
    plain = str(text).strip().strip("[]").replace("_", "")
    return "Å" if plain == "A" else plain


def _ncem_optics(told: Any) -> Optics:
    volts = positive(_at(told, "voltage")) or positive(_at(told, "high_tension"))
    kilovolts = volts / 1e3 if volts and volts > 5000 else volts
    return Optics(magnification=positive(_at(told, "magnification")), voltage_kv=kilovolts)


def _frame(
    path: str, layout: str, shape: tuple[int, int], data: bytes, max_pixels: int, frame: int
) -> Array:
    request = {"path": path, "layout": layout, "frame": frame, "max_pixels": max_pixels}
    answer, body = ask_child(_CHILD, data, request)
    if tuple(answer["shape"]) != shape:
        raise UnreadableFile(f"a frame of shape {answer['shape']}; expected {shape}: damaged")
    dtype = np.dtype(answer["dtype"]).str
    return grid(body, 0, dtype, shape, what="the image", max_pixels=max_pixels)
