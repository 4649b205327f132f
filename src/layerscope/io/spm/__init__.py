"""Scanning probe files: one module per family, one way to choose a channel.

    from layerscope.io.spm import list_channels, read_spm
    heights = read_spm("scan.spm")
    phase = read_spm("scan.spm", channel="Phase", direction="retrace")

`layerscope.io.read` opens the same files with the height channel.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import InputError, UnreadableFile
from layerscope.io import MAX_PIXELS, Format, find_format, read_bytes, refusals, signed
from layerscope.io.spm.gwyddion_files import write_gsf, write_gwy
from layerscope.io.spm.scan import Channel, Scan, pick_height, pick_named, to_micrograph, with_units

__all__ = ["Channel", "Scan", "list_channels", "read_spm", "write_gsf", "write_gwy"]

_PACKAGE = "layerscope.io.spm."
SCANNERS = {
    "gwy": "gwy:scan_gwy",
    "gsf": "gsf:scan_gsf",
    "nanoscope": "nanoscope:scan_nanoscope",
    "ibw": "ibw:scan_ibw",
    "jpk": "jpk:scan_jpk",
    "nanonis": "nanonis:scan_nanonis",
    "mdt": "mdt:scan_mdt",
    "park": "park:scan_park",
    "wsxm": "wsxm:scan_wsxm",
    "matrix": "matrix:scan_matrix",
    "hdf5": "hdf5:scan_hdf5",
    "npy": "arrays:scan_npy",
}
"""Name of a format to the function that lists its channels."""


def read_spm(
    path: str | os.PathLike[str],
    *,
    channel: str | int | None = None,
    direction: str = "trace",
    value_unit: str | None = None,
    pixel_size: PixelSize | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Micrograph:
    """Read one channel of a scan.

    Parameters
    ----------
    path : path
    channel : str or int, optional
        Name, in any case, or place in `list_channels`; the height channel if not given.
    direction : {"trace", "retrace"}
        Taken where the file has both; a note says if it has only the other.
    value_unit : str, optional
        Unit of the stored values, in place of what the file says.
    pixel_size : PixelSize, optional
        In place of what the file says.
    max_pixels : int

    Returns
    -------
    Micrograph
        Of modality AFM, float32 (H, W), lengths in nm, first row on top as the instrument shows
        it; NaN and `excluded` where there is no value. ``metadata["header"]`` holds the vendor's
        header, ``metadata["channels"]`` the names of all channels.

    Raises
    ------
    UnreadableFile
        If the file is damaged, no scan, or holds no heights; one line says what it holds.
    UnknownName
        If it has no channel of that name.
    InputError
        If `direction` is no direction.
    """
    if direction not in ("trace", "retrace"):
        raise InputError(f"direction {direction!r}; expected trace or retrace")
    file = Path(path)
    data, found, shown = _open(file, max_pixels)
    with refusals(shown, found.description):
        scan = _scan(data, found, max_pixels)
        default = pick_height(scan, direction) if channel is None else None
    # Outside of the block above: a wrong name is no damage of the file.
    chosen = default or pick_named(scan, channel or 0, direction)
    with refusals(shown, found.description):
        told = with_units(chosen, value_unit, pixel_size)
        micrograph = to_micrograph(scan, told, direction)
    return signed(micrograph, found, data, name=file.stem, extension=file.suffix)


def list_channels(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS
) -> tuple[Channel, ...]:
    """Channels of a scan in the order of the file, without their values.

    Parameters
    ----------
    path : path
    max_pixels : int

    Returns
    -------
    tuple of Channel
        Name, direction, unit, shape and pixel size of each.

    Raises
    ------
    UnreadableFile
        If the file is damaged or no scan.
    """
    data, found, shown = _open(Path(path), max_pixels)
    with refusals(shown, found.description):
        return _scan(data, found, max_pixels).channels


def _open(path: Path, max_pixels: int) -> tuple[bytes, Format, str]:
    shown = " ".join(str(path).split())
    data = read_bytes(path, max_pixels=max_pixels)
    found = find_format(data, path.suffix.casefold(), shown)
    if found.name not in SCANNERS:
        raise UnreadableFile(f"{shown}: a {found.description}; expected a scan")
    return data, found, shown


def _scan(data: bytes, found: Format, max_pixels: int) -> Scan:
    module, _, function = SCANNERS[found.name].partition(":")
    scan: Scan = getattr(import_module(_PACKAGE + module), function)(data, max_pixels=max_pixels)
    return scan
