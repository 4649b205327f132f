"""Labelled images in memory, and which layers a class means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import ClassPixels
from layerscope.errors import InputError

MOST_LAYERS = 300
_THICK = 6
_WORDS = (
    (("mono", "single"), (1, 1)),
    (("bilayer", "double"), (2, 2)),
    (("trilayer", "triple"), (3, 3)),
    (("few",), (2, 5)),
    (("thick", "bulk", "multi"), (_THICK, MOST_LAYERS)),
)
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images and label maps that belong together.

    Attributes
    ----------
    images : tuple of ndarray, (H, W, C)
        uint8, or float32 from 0 to 1; C is 1 or 3.
    labels : tuple of ndarray of uint8, (H, W)
    """

    images: tuple[npt.NDArray[Any], ...]
    labels: tuple[ClassPixels, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or not self.images:
            raise InputError(f"{len(self.images)} images with {len(self.labels)} label maps")
        if len({i.shape[2] for i in self.images}) != 1:
            raise InputError("some images are grey, some in colour; make them all the same")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Channels of each image."""
        return int(self.images[0].shape[2])

    def first(self, n: int) -> Labelled:
        """Return the first `n`, or all where there are fewer."""
        return Labelled(self.images[:n], self.labels[:n])


def layer_ranges(classes: Sequence[str]) -> Ranges | None:
    """Fewest and most layers of each class, from its name; None where a name does not say.

    ``1``, ``2L``, ``3-5 layers``, ``6+``, ``monolayer``, ``bilayer``, ``few``, ``thick`` are
    understood. With a single class beside the background, any other name means any number.
    """
    told = [(0, 0), *(_range_of(name) for name in classes[1:])]
    if len(told) == 2 and told[1] is None:
        return ((0, 0), (1, MOST_LAYERS))
    known = tuple(r for r in told if r is not None)
    return known if len(known) == len(told) else None


def _range_of(name: str) -> tuple[int, int] | None:
    text = name.casefold().replace("–", "-").replace("_", " ")
    if match := re.search(r"(\d+)\s*(?:-|to)\s*(\d+)", text):
        return int(match[1]), int(match[2])
    if match := re.search(r"(\d+)\s*\+|>=?\s*(\d+)", text):
        return int(match[1] or match[2]), MOST_LAYERS
    if match := re.fullmatch(r"\D*?(\d+)\s*(?:l|ml|layers?)?", text):
        return int(match[1]), int(match[1])
    return next((r for words, r in _WORDS if any(w in text for w in words)), None)


def classes_of(layers: npt.NDArray[np.integer[Any]], ranges: Ranges) -> ClassPixels:
    """Class of every pixel (H, W) from its number of layers; 0 where no class has that number."""
    table = np.zeros(MOST_LAYERS + 1, np.uint8)
    for index in range(len(ranges) - 1, 0, -1):
        low, high = ranges[index]
        table[low : high + 1] = index
    return table[np.clip(layers, 0, MOST_LAYERS)]
