"""What regions are called and in which colour: layers, or the names of another answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layerscope.core.classes import class_colour, layer_numbers
from layerscope.core.results import UNKNOWN, Detections
from layerscope.ops.lettering import Colour


@dataclass(frozen=True)
class Named:
    """What regions are called, where that is no number of layers.

    Attributes
    ----------
    names : tuple of str
        One per region; ``unknown`` is drawn dashed.
    colours : mapping of str to (red, green, blue)
        Of every name, in the order of the legend.
    """

    names: tuple[str, ...]
    colours: Mapping[str, Colour]


def inks_of(detections: Detections, named: Named | None) -> list[tuple[Colour, bool]]:
    """Colour of each region, and whether its outline is dashed."""
    if named is not None:
        return [(named.colours[name], name == "unknown") for name in named.names]
    return [(class_colour(n), n == UNKNOWN) for n in layer_numbers(detections)]
