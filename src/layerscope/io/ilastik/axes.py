"""Names of the axes of ilastik's arrays, and one plane with its channels out of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnreadableFile

KEYS = "tzyxc"
_KIND = {"c": 1, "x": 2, "y": 2, "z": 2, "t": 8}  # VIGRA's numbers for channel, space and time
_MOST_CHANNELS = 4


def parse_axistags(text: str) -> str:
    """Keys of the axes, e.g. ``"yxc"``, from the JSON that VIGRA writes beside an array.

    Raises
    ------
    UnreadableFile
        If it is no such JSON, or an axis is unknown or named twice.
    """
    try:
        keys = "".join(str(axis["key"]) for axis in json.loads(text)["axes"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UnreadableFile(f"axistags {text[:60]!r}: not the JSON that VIGRA writes") from None
    return check_axes(keys)


def check_axes(keys: str) -> str:
    """Refuse names of axes that are unknown, named twice or without a plane.

    Raises
    ------
    UnreadableFile
    """
    if set(keys) - set(KEYS) or len(set(keys)) < len(keys) or not {"y", "x"} <= set(keys):
        raise UnreadableFile(f"axes {keys!r}: expected y and x, and some of t, z and c, each once")
    return keys


def format_axistags(keys: str) -> str:
    """JSON of the axes `keys` as VIGRA writes it."""
    axes = [{"key": k, "typeFlags": _KIND[k], "resolution": 0, "description": ""} for k in keys]
    return json.dumps({"axes": axes}, indent=2)


def guess_axes(shape: Sequence[int]) -> str:
    """Axes of an array without axistags, by the rule of ilastik itself.

    Two dimensions are yx; three are yxc where the last has at most four, else zyx; four are zyxc,
    five tzyxc.

    Raises
    ------
    UnreadableFile
        For any other number of dimensions.
    """
    if len(shape) == 3:
        return "yxc" if shape[-1] <= _MOST_CHANNELS else "zyx"
    known = {2: "yx", 4: "zyxc", 5: "tzyxc"}
    if len(shape) not in known:
        raise UnreadableFile(f"{len(shape)} dimensions without axistags; expected 2 to 5")
    return known[len(shape)]


def to_plane(values: npt.NDArray[Any], axes: str, what: str) -> npt.NDArray[Any]:
    """Plane (H, W, C) of an array with the axes `axes`.

    Parameters
    ----------
    values : ndarray
    axes : str
        One key per dimension, in any order.
    what : str
        Named in errors.

    Raises
    ------
    InputError
        If there are several slices or times: they would be different images.
    """
    if values.ndim != len(axes):
        raise UnreadableFile(f"{what}: {values.ndim} dimensions but the axes {axes}")
    for key, name in (("t", "times"), ("z", "slices")):
        if key in axes and values.shape[axes.index(key)] != 1:
            raise InputError(
                f"{what}: {values.shape[axes.index(key)]} {name} (axes {axes}); expected one image "
                "per file. If these are no "
                f"{name}, say the axes, e.g. cyx"
            )
    inner = [k for k in axes if k in "yxc"]
    plane = values.reshape([values.shape[axes.index(k)] for k in inner])
    if "c" not in inner:
        plane, inner = plane[..., None], [*inner, "c"]
    return np.ascontiguousarray(plane.transpose([inner.index(k) for k in "yxc"]))


def from_plane(plane: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Array with the axes `axes` of a plane (H, W, C); the reverse of `to_plane`."""
    order = [k for k in axes if k in "yxc"]
    shown = plane if "c" in order else plane[..., 0]
    kept = "yxc" if "c" in order else "yx"
    turned = shown.transpose([kept.index(k) for k in order])
    shape = dict(zip(order, turned.shape, strict=True))
    return np.ascontiguousarray(turned.reshape([shape.get(k, 1) for k in axes]))
