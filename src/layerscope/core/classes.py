"""The classes that a flake's layer number falls into: names, colours, values in label images."""

from __future__ import annotations

from layerscope.core.results import THICK, UNKNOWN, Detections
from layerscope.errors import InputError

THICK_VALUE = 254
UNKNOWN_VALUE = 255
"""Values of a layers image; 0 is no flake, 1..253 the number of layers."""

# Okabe and Ito (2008): distinct with every common colour blindness; green to red with thickness.
# Their blues are left out: thin graphene itself is blue on 90 nm oxide.
_LAYER_COLOURS = {1: (0, 158, 115), 2: (240, 228, 66), 3: (230, 159, 0), 4: (213, 94, 0)}
_MANY, _THICK, _UNKNOWN = (204, 121, 167), (170, 170, 170), (255, 255, 255)


def class_name(n_layers: int) -> str:
    """``"1L"``, ``"2L"``, ... ``"thick"`` or ``"unknown"``."""
    if n_layers == THICK:
        return "thick"
    return f"{n_layers}L" if n_layers > 0 else "unknown"


def class_value(n_layers: int) -> int:
    """Value of the class in a layers image, and its category number in COCO files.

    Raises
    ------
    InputError
        If there are more layers than an 8-bit image holds.
    """
    if n_layers == THICK:
        return THICK_VALUE
    if n_layers >= THICK_VALUE:
        raise InputError(f"{n_layers} layers do not fit an 8-bit layers image, which ends at 253")
    return n_layers if n_layers > 0 else UNKNOWN_VALUE


def class_colour(n_layers: int) -> tuple[int, int, int]:
    """Red, green, blue, 0 to 255: a colour each for 1 to 4 layers, one for all up to thick."""
    if n_layers == THICK:
        return _THICK
    return _LAYER_COLOURS.get(n_layers, _MANY) if n_layers > 0 else _UNKNOWN


def layer_numbers(detections: Detections) -> list[int]:
    """Answer per region: number of layers, `THICK` or `UNKNOWN`."""
    if detections.layers is None:
        return [UNKNOWN] * len(detections)
    numbers: list[int] = detections.layers.n_layers.tolist()
    return numbers
