"""From a file to a `Micrograph`: one table of formats, one door.

    from layerscope.io import read
    micrograph = read("flakes.tif")

An outside package adds a format with an entry point in the group ``layerscope.formats`` that
names a `Format`.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import struct
import tokenize
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.errors import TooLarge, UnreadableFile
from layerscope.registry import Registry

MAX_PIXELS = 200_000_000


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes
    ----------
    name, description : str
        Identifier, and what a user calls it.
    magic : tuple of bytes
        What such files start with; it decides before the extension does.
    extensions : tuple of str
        Lower case with the dot.
    reader : str
        ``"package.module:function"`` with the signature ``(data: bytes, *, max_pixels: int) ->
        Micrograph``, raising `UnreadableFile` without naming the file.
    named : tuple of str
        Extensions that mean other things too: such files are read when they are named, and left
        alone in a folder.
    confirm : str
        ``"package.module:function"`` from bytes to bool, where `magic` is short or shared with a
        format further down in the table.
    """

    name: str
    description: str
    magic: tuple[bytes, ...]
    extensions: tuple[str, ...]
    reader: str
    named: tuple[str, ...] = ()
    confirm: str = ""

    def claims(self, data: bytes) -> bool:
        """Whether a file that starts with these bytes is of this format."""
        if not self.magic or not data.startswith(self.magic):
            return False
        return not self.confirm or bool(_imported(self.confirm)(data))

    def decode(self, data: bytes, *, max_pixels: int) -> Micrograph:
        """Micrograph from the bytes of a file of this format."""
        micrograph: Micrograph = _imported(self.reader)(data, max_pixels=max_pixels)
        return micrograph


def _imported(target: str) -> Callable[..., Any]:
    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


_JPEG, _PNG, _NPY = (b"\xff\xd8\xff",), (b"\x89PNG\r\n\x1a\n",), (b"\x93NUMPY",)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_IO, _SPM, _EM = "layerscope.io.", "layerscope.io.spm.", "layerscope.io.em."
_NUMBERED = tuple(f".{n:03d}" for n in range(1000))
FORMATS: tuple[Format, ...] = (
    Format("jpeg", "JPEG photograph", _JPEG, (".jpg", ".jpeg"), _IO + "raster:decode_jpeg"),
    Format("png", "PNG image", _PNG, (".png",), _IO + "raster:decode_png"),
    Format("jpk", "JPK scan", _TIFF, (".jpk", ".jpk-qi-image"), _SPM + "jpk:decode_jpk",
           confirm=_SPM + "jpk:is_jpk"),
    Format("park", "Park scan in a TIFF", _TIFF, (), _SPM + "park:decode_park", (".tiff", ".tif"),
           _SPM + "park:is_park"),
    Format("tiff", "TIFF or OME-TIFF", _TIFF, (".tif", ".tiff", ".btf"), _IO + "tiff:decode_tiff"),
    Format("bmp", "Windows bitmap", (b"BM",), (".bmp", ".dib"), _IO + "raster:decode_bmp"),
    Format("npy", "NumPy array", _NPY, (".npy",), _IO + "raster:decode_npy"),
    Format("gwy", "Gwyddion file", (b"GWYP", b"GWYO"), (".gwy",), _SPM + "gwy:decode_gwy"),
    Format("gsf", "Gwyddion simple field", (b"Gwyddion Simple Field 1.0\n",), (".gsf",),
           _SPM + "gsf:decode_gsf"),
    Format("nanoscope", "Bruker NanoScope scan",
           (b"\\*File list", b"\\*Force file list", b"?*File list"), (".spm", *_NUMBERED),
           _SPM + "nanoscope:decode_nanoscope"),
    Format("nanonis", "Nanonis scan", (b":NANONIS_VERSION:",), (".sxm",),
           _SPM + "nanonis:decode_nanonis"),
    Format("mdt", "NT-MDT file", (b"\x01\xb0\x93\xff",), (".mdt",), _SPM + "mdt:decode_mdt"),
    Format("wsxm", "WSxM image", (b"WSxM file copyright",), (".stp", ".top"),
           _SPM + "wsxm:decode_wsxm"),
    Format("dm", "DigitalMicrograph image", (b"\0\0\0\3", b"\0\0\0\4"), (".dm3", ".dm4"),
           _EM + "dm:decode_dm", confirm=_EM + "dm:is_dm"),
    Format("ser", "TIA series of an FEI microscope", (b"II\x97\1",), (".ser",),
           _EM + "ser:decode_ser"),
    Format("emd", "EMD file of Velox or NCEM", (b"\x89HDF\r\n\x1a\n",), (".emd",),
           _EM + "emd:decode_emd", (".h5", ".hdf5"), _EM + "emd:is_emd"),
    Format("hdf5", "HDF5 file", (b"\x89HDF\r\n\x1a\n",), (".h5", ".hdf5", ".topostats"),
           _SPM + "hdf5:decode_hdf5"),
    Format("mrc", "MRC image or stack", (), (".mrc", ".mrcs"), _EM + "mrc:decode_mrc",
           (".ali", ".map", ".rec", ".st")),
    Format("ibw", "Igor wave of Asylum Research", (), (".ibw",), _SPM + "ibw:decode_ibw"),
    Format("matrix", "matrix or points in a text", (), (".xyz", ".asc"),
           _SPM + "matrix:decode_matrix", (".txt", ".csv", ".tsv", ".dat")),
)  # fmt: skip
"""The formats that layerscope reads itself; `known_formats` has those of outside packages too."""

# What decoders raise on damaged bytes, found by fuzzing them. MemoryError: a size that passed the
# limits and still is too much for this machine.
DECODER_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError,
    EOFError, SyntaxError, AssertionError, BufferError, MemoryError, struct.error, zlib.error,
    tokenize.TokenError,  # from the header of a NumPy file
)  # fmt: skip


@functools.cache
def known_formats() -> tuple[Format, ...]:
    """Return the formats of layerscope and of the packages installed beside it."""
    return (*FORMATS, *Registry("format", {}).values())


def read(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Micrograph:
    """Read one micrograph.

    The file is read from disk once; hash and pixels come from the same bytes. What an electron
    microscope wrote beside it (JEOL and Hitachi .txt, TIA .emi) is added.

    Parameters
    ----------
    path : path
        An image file; its stem becomes the name.
    max_pixels : int
        The size that the header declares is compared with this before anything is decoded.

    Returns
    -------
    Micrograph
        Grey (H, W) or RGB (H, W, 3), upright, with white level, the file's SHA-256, all its
        metadata, and the pixel size where they hold a believable one. ``metadata["notes"]`` says
        what was converted, inferred or ignored.

    Raises
    ------
    UnreadableFile
        If there is no complete image of a known format within the limits; one line says why.
    """
    from layerscope.io.em.companion import with_companion

    file = Path(path)
    data = read_bytes(file, max_pixels=max_pixels)
    found = decode(data, name=file.stem, extension=file.suffix, max_pixels=max_pixels)
    return with_companion(found, file)


def decode(
    data: bytes, *, name: str = "image", extension: str = "", max_pixels: int = MAX_PIXELS
) -> Micrograph:
    """Micrograph from the bytes of an image file; see `read`.

    Parameters
    ----------
    data : bytes
    name : str
        Identifies the image, also in messages.
    extension : str
        Decides between formats only where the bytes do not.
    max_pixels : int
    """
    shown = " ".join(f"{name}{extension}".split())
    found = find_format(data, extension.casefold(), shown)
    with refusals(shown, found.description):
        micrograph = found.decode(data, max_pixels=max_pixels)
        if micrograph.data.dtype.kind == "f" and not np.isfinite(micrograph.data).any():
            raise UnreadableFile("no pixel has a value; export the image again")
    return signed(micrograph, found, data, name=name, extension=extension)


@contextmanager
def refusals(shown: str, description: str) -> Iterator[None]:
    """Turn whatever damaged bytes raise into one line that names the file.

    Parameters
    ----------
    shown : str
        What messages call the file.
    description : str
        Of its format.

    Raises
    ------
    UnreadableFile
    """
    try:
        yield
    except UnreadableFile as error:
        raise type(error)(f"{shown}: {_one_line(error)[:300]}") from error
    except DECODER_ERRORS as error:
        reason = _one_line(error)[:120] or type(error).__name__
        raise UnreadableFile(
            f"{shown}: truncated, damaged or unsupported {description} ({reason}); copy it again"
        ) from error


def _one_line(error: Exception) -> str:
    """Message without the line breaks and control characters that damaged text may bring."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())


def signed(
    micrograph: Micrograph, found: Format, data: bytes, *, name: str, extension: str
) -> Micrograph:
    """`micrograph` with its name, format, hash and first step.

    Parameters
    ----------
    micrograph : Micrograph
        As its format's reader made it.
    found : Format
    data : bytes
        The file.
    name, extension : str
        Of the file.
    """
    metadata = {"format": found.name, **micrograph.metadata}
    if extension and extension.casefold() not in (*found.extensions, *found.named):
        note = f"named {extension} but is a {found.description}"
        metadata["notes"] = (*metadata.get("notes", ()), note)
    named = replace(micrograph, name=name, metadata=metadata, history=())
    return named.after("read", {"format": found.name}, sha256=hashlib.sha256(data).hexdigest())


def read_bytes(path: Path, *, max_pixels: int) -> bytes:
    """Bytes of a regular, not empty file, up to 16 for each pixel allowed.

    Raises
    ------
    UnreadableFile
    """
    shown = " ".join(str(path).split())
    max_bytes = 16 * max_pixels + (1 << 26)
    size = check_file(path).st_size
    if size > max_bytes:
        raise TooLarge(f"{shown}: {size} bytes, over the limit of {max_bytes}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{shown}: {_reason(error)}") from error
    if not data:
        raise UnreadableFile(f"{shown}: empty (0 bytes); copy it again")
    return data


def check_file(path: Path) -> os.stat_result:
    """Size and kind of a file that can be opened without waiting.

    Raises
    ------
    UnreadableFile
        If there is none, or it is a folder, a pipe or a device.
    """
    shown = " ".join(str(path).split())
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableFile(f"{shown}: {_reason(error)}") from error
    except ValueError as error:  # a NUL in the name
        raise UnreadableFile(f"{shown!r}: not a file name") from error
    refusal = _refusal(status)
    if refusal:
        raise UnreadableFile(f"{shown}: {refusal}")
    return status


def _refusal(status: os.stat_result) -> str:
    """Why such a file is not even opened, or nothing."""
    if stat.S_ISDIR(status.st_mode):
        return "a folder; expected an image file"
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        return "not a regular file; expected an image file"
    return ""


def _reason(error: OSError) -> str:
    known = {
        errno.ENOENT: "no such file",
        errno.EACCES: "permission denied; make it readable",
        errno.ELOOP: "a link that leads to itself",
        errno.ENAMETOOLONG: "the name is too long for this disk",
    }
    return known.get(error.errno or 0, error.strerror or "cannot be read")


def find_format(data: bytes, extension: str, shown: str) -> Format:
    """Format of a file from its first bytes or, where they do not tell, its extension.

    Parameters
    ----------
    data : bytes
        512 or more, or all.
    extension : str
        Lower case with the dot.
    shown : str
        What messages call the file.

    Raises
    ------
    UnreadableFile
        If no format is known for it.
    """
    formats = known_formats()
    for candidate in formats:
        if candidate.claims(data):
            return candidate
    for candidate in formats:
        if not candidate.magic and extension in (*candidate.extensions, *candidate.named):
            return candidate
    readable = ", ".join(f.name for f in formats)
    raise UnreadableFile(f"{shown}: {_describe(data)}; readable are {readable}")


_KNOWN_OTHERS = (
    (b"%PDF", "a PDF; save its pictures as PNG or TIFF"),
    (b"GIF8", "a GIF of at most 256 colours; export PNG or TIFF from the microscope's program"),
    (b"\x1f\x8b", "compressed with gzip; unpack it"),
    (b"PK\x03\x04", "a ZIP archive or an Office file; unpack it, or save its pictures"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Office file, or a project of a microscope; export TIFF"),
    (b"ftypheic", "a HEIC photograph; save it as JPEG or PNG"),
    (b"ftyp", "a video; save frames as PNG"),
    (b"\x1aE\xdf\xa3", "a video; save frames as PNG"),
)
"""What people give instead of an image; the first bytes, or those after a length of four."""


def _describe(data: bytes) -> str:
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not data:
        return "empty (0 bytes)"
    if not data.strip(b"\0"):
        return f"{len(data)} zero bytes, an unfinished copy"
    for start, what in _KNOWN_OTHERS:
        if data.startswith(start) or data[4:].startswith(start):
            return what
    if head[:1] == b"<":
        web = b"<html" in head.lower() or b"<!doctype html" in head.lower()
        return "a web page, not an image" if web else "an XML text, not an image"
    if all(byte in b"\t\n\r" or byte >= 32 for byte in head) and _is_utf8(head):
        return "a text, not an image"
    return f"of an unknown type (first bytes {data[:4].hex(' ')})"


def _is_utf8(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
