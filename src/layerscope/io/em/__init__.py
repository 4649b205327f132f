"""Electron microscope files: one module per format, one way to choose image and frame.

    from layerscope.io.em import list_images, read_em
    picture = read_em("flake.dm4")
    tenth = read_em("movie.mrc", frame=9)

`layerscope.io.read` opens the same files with their first image and first frame.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from layerscope.core.micrograph import Micrograph
from layerscope.errors import UnreadableFile
from layerscope.io import MAX_PIXELS, Format, find_format, read_bytes, refusals, signed
from layerscope.io.em.companion import with_companion
from layerscope.io.em.recording import Image, Optics, Recording, pick, to_micrograph

__all__ = ["Image", "Optics", "Recording", "list_images", "read_em"]

_PACKAGE = "layerscope.io.em."
RECORDERS = {
    "dm": "dm:open_dm",
    "emd": "emd:open_emd",
    "mrc": "mrc:open_mrc",
    "ser": "ser:open_ser",
}
"""Name of a format to the function that lists its images."""


def read_em(
    path: str | os.PathLike[str],
    *,
    image: str | int | None = None,
    frame: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Micrograph:
    """Read one frame of one image of an electron microscope file.

    Parameters
    ----------
    path : path
    image : str or int, optional
        Name, in any case, or place in `list_images`; the first that is an image if not given.
    frame : int
        Of a stack, from 0.
    max_pixels : int

    Returns
    -------
    Micrograph
        Of modality TEM or SEM, with the pixel size of both axes. ``metadata`` has
        ``magnification``, ``voltage_kv``, ``mode`` and ``detector`` where the file says them,
        ``images``, ``frame``, ``n_frames`` and the vendor's ``header``. Values are as stored.

    Raises
    ------
    UnreadableFile
        If the file is damaged, or what it holds is no image; one line says what it is.
    UnknownName
        If it has no image of that name.
    InputError
        If it has no image or frame of that number.
    """
    file = Path(path)
    data, found, shown = _open(file, max_pixels)
    with refusals(shown, found.description):
        recording = _recording(data, found, max_pixels)
        default = pick(recording, None) if image is None else None
    # Outside of the block above: a wrong name is no damage of the file.
    chosen = default or pick(recording, image)
    chosen.check_frame(frame)
    with refusals(shown, found.description):
        micrograph = to_micrograph(recording, chosen, frame)
    named = signed(micrograph, found, data, name=file.stem, extension=file.suffix)
    return with_companion(named, file)


def list_images(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[Image, ...]:
    """Images of a file in its order, without their values; also those that cannot be read as such.

    Parameters
    ----------
    path : path
    max_pixels : int

    Raises
    ------
    UnreadableFile
        If the file is damaged or none of an electron microscope.
    """
    data, found, shown = _open(Path(path), max_pixels)
    with refusals(shown, found.description):
        return _recording(data, found, max_pixels).images


def _open(path: Path, max_pixels: int) -> tuple[bytes, Format, str]:
    shown = " ".join(str(path).split())
    data = read_bytes(path, max_pixels=max_pixels)
    found = find_format(data, path.suffix.casefold(), shown)
    if found.name not in RECORDERS:
        raise UnreadableFile(
            f"{shown}: a {found.description}; expected {', '.join(RECORDERS)}; "
            "layerscope.io.read opens other images"
        )
    return data, found, shown


def _recording(data: bytes, found: Format, max_pixels: int) -> Recording:
    module, _, function = RECORDERS[found.name].partition(":")
    opened: Recording = getattr(import_module(_PACKAGE + module), function)(
        data, max_pixels=max_pixels
    )
    return opened
