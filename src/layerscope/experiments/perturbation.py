"""What may be wrong with a test image: noise, defocus, lamp, magnification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import ClassPixels
from layerscope.experiments.labelled import Labelled
from layerscope.ops.normalisation import as_unit
from layerscope.ops.recolour import blur

Image = npt.NDArray[np.float32]
Harm = Callable[[Image, ClassPixels, float, np.random.Generator], tuple[Image, ClassPixels]]


@dataclass(frozen=True)
class Perturbation:
    """One kind of trouble.

    Attributes
    ----------
    name : str
    axis : str
        What the levels are, with the unit.
    levels : tuple of float
        The first leaves images as they are.
    harm : callable
        ``harm(image, labels, level, rng)``.
    """

    name: str
    axis: str
    levels: tuple[float, ...]
    harm: Harm

    def applied(self, labelled: Labelled, level: float, seed: int) -> Labelled:
        """All images with the trouble at that level."""
        pairs = [
            self.harm(as_unit(image), labels, level, np.random.default_rng([seed, i, 0xBAD]))
            for i, (image, labels) in enumerate(zip(labelled.images, labelled.labels, strict=True))
        ]
        return Labelled(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))


def _gaussian(
    image: Image, labels: ClassPixels, level: float, rng: np.random.Generator
) -> tuple[Image, ClassPixels]:
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(level / 100)
    return np.clip(image + noise, 0, 1), labels


def _salt_pepper(
    image: Image, labels: ClassPixels, level: float, rng: np.random.Generator
) -> tuple[Image, ClassPixels]:
    drawn = rng.random(image.shape[:2])
    out = image.copy()
    out[drawn < level / 200] = 0
    out[drawn > 1 - level / 200] = 1
    return out, labels


def _defocus(
    image: Image, labels: ClassPixels, level: float, rng: np.random.Generator
) -> tuple[Image, ClassPixels]:
    return np.asarray(blur(image, level), np.float32), labels


def _lamp(
    image: Image, labels: ClassPixels, level: float, rng: np.random.Generator
) -> tuple[Image, ClassPixels]:
    """Red up and blue down by the same factor; a grey image only becomes brighter."""
    shift = np.float32(1 + level / 100)
    gain = np.array([shift, 1, 1 / shift], np.float32) if image.shape[2] == 3 else shift
    return np.clip(image * gain, 0, 1), labels


def _magnify(
    image: Image, labels: ClassPixels, level: float, rng: np.random.Generator
) -> tuple[Image, ClassPixels]:
    size = tuple(max(32, round(n * level)) for n in image.shape[1::-1])
    how = cv2.INTER_AREA if level < 1 else cv2.INTER_LINEAR
    large: npt.NDArray[Any] = cv2.resize(image, size, interpolation=how)
    marked = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    return large.reshape(*marked.shape, -1).astype(np.float32), marked.astype(np.uint8)


PERTURBATIONS = (
    Perturbation("Gaussian noise", "standard deviation, % of white", (0, 2, 5, 10), _gaussian),
    Perturbation("Salt and pepper", "pixels, %", (0, 1, 5, 10, 20), _salt_pepper),
    Perturbation("Defocus", "blur, standard deviation, px", (0, 1, 2, 4), _defocus),
    Perturbation("Lamp", "red over green, change in %", (0, -30, -15, 15, 30), _lamp),
    Perturbation("Magnification", "against training", (1, 0.5, 0.7, 1.4, 2), _magnify),
)
