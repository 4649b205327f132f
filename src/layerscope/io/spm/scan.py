"""What a scan file holds, and which of it becomes the micrograph.

Each reader of the package turns bytes into a `Scan`: channels that know their shape, unit and
pixel size, and give their values when asked. Everything after that is the same for all formats and
lives here: conversion to nanometres, the choice of the height channel, trace and retrace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.errors import InputError, UnknownName, UnreadableFile
from layerscope.io.spm.units import nm_per

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Channel:
    """One image of a scan.

    Attributes
    ----------
    name : str
        As the instrument calls it, without the direction.
    unit : str
        Of the values; empty if the file does not say.
    shape : tuple of int
        Rows and columns.
    pixel_nm : tuple of float or None
        Distance of rows and of columns.
    direction : str
        ``"trace"``, ``"retrace"`` or empty.
    header : mapping
        What the file says of this channel alone.
    load : callable
        Values (H, W) in `unit`, first row on top.
    """

    name: str
    unit: str
    shape: tuple[int, int]
    pixel_nm: tuple[float, float] | None
    direction: str = ""
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)
    load: Callable[[], Array] = field(default=lambda: np.empty((0, 0)), repr=False)

    def __str__(self) -> str:
        """Name, unit and direction on one line."""
        name = " ".join(f"{self.name} {self.direction}".split())[:80] or "unnamed"
        return f"{name} [{' '.join(self.unit.split())[:20] or 'no unit'}]"

    @property
    def is_length(self) -> bool:
        """Whether the values are lengths."""
        return nm_per(self.unit) is not None


@dataclass(frozen=True, eq=False)
class Scan:
    """All channels of a file, and what else it says or holds.

    Attributes
    ----------
    channels : tuple of Channel
    header : mapping
        The vendor's header, whole.
    notes : tuple of str
        What was inferred or ignored.
    other : tuple of str
        What is in the file and is no image, e.g. ``"force curves"``; for refusals.
    """

    channels: tuple[Channel, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


# Lengths that are no heights: how far the cantilever bends or swings.
_NO_HEIGHT = re.compile(
    r"amplitude|deflection|\bdfl|error|phase|mask|adhesion|deformation|dissipation|indentation"
    r"|lateral|friction|\bx\b|\by\b",
    re.IGNORECASE,
)
# The first is what the microscope shows by default; sensors are more linear and noisier.
_HEIGHT_NAMES = (
    r"height|height \(measured\)|topography|topo|z|z height",
    r"height.*|topograph.*|z[ _]?(piezo|position)?|.*\btopography|.*\bheight",
    r".*(height|topo|z[ _-]?sens).*",
)


def pick_height(scan: Scan, direction: str = "trace") -> Channel:
    """Return the height channel of the best name, in that direction if there is one.

    Raises
    ------
    UnreadableFile
        If there is none; the message says what there is.
    """
    lengths = [c for c in scan.channels if c.is_length and not _NO_HEIGHT.search(c.name)]
    for pattern in _HEIGHT_NAMES:
        named = [c for c in lengths if re.fullmatch(pattern, c.name.strip(), re.IGNORECASE)]
        if named:
            return prefer(named, direction)
    if len(lengths) == 1:
        return lengths[0]
    if len(scan.channels) == 1 and not scan.channels[0].unit and not scan.other:
        return scan.channels[0]
    raise UnreadableFile(
        f"no height channel: {contents(scan)}; name one with --channel, in Python channel="
    )


def pick_named(scan: Scan, channel: str | int, direction: str) -> Channel:
    """Return the channel called `channel` or, from 0, at that place of the list.

    Raises
    ------
    UnknownName
        If there is none.
    InputError
        If `direction` is neither ``trace`` nor ``retrace``.
    """
    if isinstance(channel, int):
        if not 0 <= channel < len(scan.channels):
            raise InputError(f"channel {channel} of {len(scan.channels)}; expected 0 or more")
        return scan.channels[channel]
    wanted = channel.strip().casefold()
    named = [c for c in scan.channels if c.name.strip().casefold() == wanted]
    if direction not in ("trace", "retrace"):
        raise InputError(f"direction {direction!r}; expected trace or retrace")
    if not named:
        raise UnknownName.of("channel", channel, {c.name for c in scan.channels})
    return prefer(named, direction)


def prefer(channels: Sequence[Channel], direction: str) -> Channel:
    """Return the first in that direction, else the first of all."""
    return next((c for c in channels if c.direction == direction), channels[0])


def contents(scan: Scan) -> str:
    """Tell what the file holds, in one line of bounded length."""
    held = [*(str(c) for c in scan.channels[:12]), *scan.other]
    more = len(scan.channels) - 12
    return "it holds " + (", ".join(held) or "no image") + (f" and {more} more" if more > 0 else "")


def height(scan: Scan) -> Micrograph:
    """Micrograph of the height channel of `scan`; see `pick_height`."""
    return to_micrograph(scan, pick_height(scan), "trace")


def to_micrograph(scan: Scan, channel: Channel, direction: str = "trace") -> Micrograph:
    """Micrograph of one channel, lengths in nm.

    Parameters
    ----------
    scan : Scan
    channel : Channel
    direction : str
        What was asked for; a note says if there was only the other.

    Returns
    -------
    Micrograph
        float32 (H, W); NaN where there is no value, and `excluded` there.

    Raises
    ------
    UnreadableFile
        If the channel holds no value at all.
    """
    values, missing = _in_nm(channel)
    return Micrograph(
        values,
        modality=Modality.AFM,
        pixel_size=_pixel_size(channel),
        value_unit="nm" if channel.is_length else channel.unit or "intensity",
        white_level=max(float(np.nanmax(values)), 1.0),
        excluded=missing if missing.any() else None,
        metadata={
            "channel": channel.name,
            "direction": channel.direction,
            "channels": tuple(str(c) for c in scan.channels),
            "header": dict(scan.header),
            "channel_header": dict(channel.header),
            "notes": (*scan.notes, *_notes(scan, channel, direction)),
        },
    )


def _in_nm(channel: Channel) -> tuple[Array, npt.NDArray[np.bool_]]:
    factor = nm_per(channel.unit)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = channel.load() * np.float64(1.0 if factor is None else factor)
        values = np.ascontiguousarray(scaled, np.float32)
    missing = ~np.isfinite(values)
    if missing.all():
        raise UnreadableFile(f"the channel {channel} holds no value at all")
    if missing.any():
        values[missing] = np.nan
    return values, missing


def _pixel_size(channel: Channel) -> PixelSize | None:
    if channel.pixel_nm is None or not all(1e-9 < s < 1e12 for s in channel.pixel_nm):
        return None
    return PixelSize(float(channel.pixel_nm[0]), float(channel.pixel_nm[1]), "metadata: scan size")


def _notes(scan: Scan, channel: Channel, direction: str) -> list[str]:
    notes = []
    if channel.direction and channel.direction != direction:
        notes.append(f"only the {channel.direction} of {channel.name} is in the file")
    alike = [c for c in scan.channels if (c.name, c.direction) == (channel.name, channel.direction)]
    if len(alike) > 1:
        notes.append(f"{len(alike)} channels are called {channel.name}: see list_channels")
    if _pixel_size(channel) is None:
        notes.append("no believable scan size in the file: give the pixel size")
    if not channel.unit:
        notes.append("no unit of the values in the file: give value_unit")
    return notes


def with_units(channel: Channel, value_unit: str | None, pixel_size: PixelSize | None) -> Channel:
    """`channel` with what the user knows better than the file."""
    size = None if pixel_size is None else (pixel_size.y_nm, pixel_size.x_nm)
    return replace(
        channel,
        unit=channel.unit if value_unit is None else value_unit,
        pixel_nm=channel.pixel_nm if size is None else size,
    )
