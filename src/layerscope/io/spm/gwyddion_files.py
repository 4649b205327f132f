"""Write .gwy and .gsf, so that users of Gwyddion can check results there."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.io.spm.gsf import MAGIC

Mask = npt.NDArray[np.bool_]


def write_gwy(
    path: str | os.PathLike[str],
    channels: Micrograph | Iterable[Micrograph],
    masks: Mapping[str, Mask] | None = None,
) -> None:
    """Write channels, each with its mask, as a Gwyddion file.

    Parameters
    ----------
    path : path
        Written whole or not at all.
    channels : Micrograph or iterable of Micrograph
        Grey. The title is ``metadata["channel"]`` or else the name; heights in nm are stored in
        metres, NaN stays NaN and is marked in the mask if there is no other.
    masks : mapping of str to ndarray of bool, optional
        By title; True where marked. Gwyddion shows them over the channel, in red.

    Raises
    ------
    InputError
        If there is no channel, one is not grey, or a mask fits none.
    """
    held = (channels,) if isinstance(channels, Micrograph) else tuple(channels)
    masks = dict(masks or {})
    titles = [_title(c) for c in held]
    strange = sorted(set(masks) - set(titles))
    if not held or strange:
        raise InputError(f"masks for {strange or 'no channel'}; channels are {titles}")
    items = b"".join(
        _channel(n, title, channel, masks.get(title, channel.excluded))
        for n, (title, channel) in enumerate(zip(titles, held, strict=True))
    )
    write_bytes(os.fspath(path), b"GWYP" + _object("GwyContainer", items))


def write_gsf(path: str | os.PathLike[str], micrograph: Micrograph) -> None:
    """Write one channel as a Gwyddion simple field, float32; heights in nm become metres.

    Raises
    ------
    InputError
        If it is not grey, or the file cannot be written.
    """
    values, unit = _si(micrograph)
    height_m, width_m = _size_m(micrograph)
    rows, columns = values.shape
    lines = {
        "XRes": columns, "YRes": rows, "XReal": repr(width_m), "YReal": repr(height_m),
        "XYUnits": "m" if micrograph.pixel_size else "", "ZUnits": unit,
        "Title": " ".join(_title(micrograph).split()),
    }  # fmt: skip
    header = MAGIC + "".join(f"{k} = {v}\n" for k, v in lines.items() if v != "").encode()
    padding = bytes(4 - len(header) % 4)
    write_bytes(os.fspath(path), header + padding + values.astype("<f4").tobytes())


def _title(micrograph: Micrograph) -> str:
    return str(micrograph.metadata.get("channel") or micrograph.name).replace("\0", "")


def _si(micrograph: Micrograph) -> tuple[npt.NDArray[np.float64], str]:
    if micrograph.data.ndim != 2:
        raise InputError(f"{micrograph.name}: a colour picture; expected one channel (H, W)")
    values = micrograph.data.astype(np.float64)
    if micrograph.value_unit == "nm":
        return values * 1e-9, "m"
    return values, "" if micrograph.value_unit == "intensity" else micrograph.value_unit


def _size_m(micrograph: Micrograph) -> tuple[float, float]:
    """Height and width of the field in metres; in pixels where there is no scale."""
    rows, columns = micrograph.shape
    if micrograph.pixel_size is None:
        return float(rows), float(columns)
    return rows * micrograph.pixel_size.y_nm * 1e-9, columns * micrograph.pixel_size.x_nm * 1e-9


def _channel(number: int, title: str, micrograph: Micrograph, mask: Mask | None) -> bytes:
    values, unit = _si(micrograph)
    lateral = "m" if micrograph.pixel_size else ""
    size = _size_m(micrograph)
    out = _item(f"/{number}/data", "o", _field(values, size, lateral, unit))
    out += _item(f"/{number}/data/title", "s", title.encode() + b"\0")
    out += _item(f"/{number}/data/visible", "b", b"\1")
    if mask is None:
        return out
    if mask.shape != values.shape:
        raise InputError(f"{title}: mask {mask.shape} for a channel {values.shape}")
    marked = _field(mask.astype(np.float64), size, lateral, "")
    return out + _item(f"/{number}/mask", "o", marked)


def _field(
    values: npt.NDArray[np.float64], size_m: tuple[float, float], lateral: str, unit: str
) -> bytes:
    rows, columns = values.shape
    body = _item("xres", "i", struct.pack("<i", columns))
    body += _item("yres", "i", struct.pack("<i", rows))
    body += _item("xreal", "d", struct.pack("<d", size_m[1]))
    body += _item("yreal", "d", struct.pack("<d", size_m[0]))
    for name, text in (("si_unit_xy", lateral), ("si_unit_z", unit)):
        inner = _item("unitstr", "s", text.encode() + b"\0")
        body += _item(name, "o", _object("GwySIUnit", inner))
    stored = struct.pack("<I", values.size) + values.astype("<f8").tobytes()
    return _object("GwyDataField", body + _item("data", "D", stored))


def _item(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + value


def _object(kind: str, body: bytes) -> bytes:
    return kind.encode() + b"\0" + struct.pack("<I", len(body)) + body
