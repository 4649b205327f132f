"""Patches of labelled pictures with the coverage of each, as the WSe2 study cut them.

Mirrored, turned by 0 to 360 degrees, magnified 0.5 to 2 times and cropped, each independently and
as likely as not; a patch that is not wholly inside its picture is drawn again. So no patch has
invented corners, and its coverage is that of its own pixels. (The study's code turned patches again
while training and filled the corners with black under an unchanged label; here a patch that is
turned is cut anew, and keeps its turn where the picture ends.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.ops.augment import mirror, take_patch
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit
from layerscope.tasks.coverage.channels import film_channels
from layerscope.training.coverage_models import CoverageModel

_MOST_TRIES = 2000
_SCALES = (0.5, 2.0)
_LEAST_KNOWN = 0.5  # of a patch, labelled


@dataclass(frozen=True)
class Place:
    """Where a patch lies: picture, centre (row, column), magnification, turn, mirrored axes."""

    picture: int
    centre: tuple[float, float]
    scale: float = 1.0
    turn_rad: float = 0.0
    columns: bool = False
    rows: bool = False

    def fits(self, shape: tuple[int, ...], size_px: int) -> bool:
        """Whether the patch lies wholly inside a picture of `shape`."""
        reach = (abs(math.cos(self.turn_rad)) + abs(math.sin(self.turn_rad))) * size_px / 2
        return all(
            reach / self.scale <= at <= n - reach / self.scale
            for at, n in zip(self.centre, shape, strict=False)
        )


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures (H, W, C), uint8 or float32 from 0 to 1, with film 1, substrate 0 or `IGNORE`."""

    images: Sequence[npt.NDArray[Any]]
    masks: Sequence[npt.NDArray[np.uint8]]

    def cut(self, place: Place, size_px: int) -> tuple[FloatImage, npt.NDArray[np.uint8]]:
        """Patch (S, S, C), 0 to 1, and its mask."""
        i = place.picture
        image, mask = take_patch(
            self.images[i], self.masks[i], size_px, place.centre, place.scale, place.turn_rad
        )
        flip = {"columns": place.columns, "rows": place.rows}
        return mirror(image, **flip), np.ascontiguousarray(mirror(mask, **flip))


def scaled_picture(
    image: npt.NDArray[Any], labels: npt.NDArray[np.uint8], factor: float, model: CoverageModel
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    """Picture (H, W, C) as a model reads it at another scale, and film or not."""
    grey = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    size = tuple(max(1, round(n * factor)) for n in labels.shape[::-1])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    copy = cv2.resize(grey, size, interpolation=how).reshape(size[1], size[0], 1)
    film = np.where(labels == IGNORE, IGNORE, labels > 0).astype(np.uint8)
    mask = cv2.resize(film, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    if model.reads == "film":
        return np.rint(255 * film_channels(as_unit(copy), mask != IGNORE)).astype(np.uint8), mask
    return np.ascontiguousarray(np.repeat(copy, model.channels, axis=2)), mask


def coverage_of(mask: npt.NDArray[np.uint8]) -> float:
    """Share of film among the labelled pixels; NaN without any."""
    known = mask != IGNORE
    return float(np.mean(mask[known] > 0)) if known.any() else float("nan")


def draw_places(
    pictures: Pictures, size_px: int, per_picture: int, rng: np.random.Generator
) -> tuple[Place, ...]:
    """Draw valid patches of every picture.

    Raises
    ------
    InputError
        If a picture is too small for any.
    """
    return tuple(
        _draw(i, pictures, size_px, rng)
        for i in range(len(pictures.images))
        for _ in range(per_picture)
    )


def _draw(i: int, pictures: Pictures, size_px: int, rng: np.random.Generator) -> Place:
    shape = pictures.images[i].shape[:2]
    for _ in range(_MOST_TRIES):
        flip, flop, turned, scaled = rng.random(4) < 0.5
        place = Place(
            i,
            (float(rng.uniform(0, shape[0])), float(rng.uniform(0, shape[1]))),
            float(np.exp(rng.uniform(*np.log(_SCALES)))) if scaled else 1.0,
            float(rng.uniform(0, 2 * np.pi)) if turned else 0.0,
            bool(flip),
            bool(flop),
        )
        if place.fits(shape, size_px):
            known = pictures.cut(place, size_px)[1] != IGNORE
            if known.mean() >= _LEAST_KNOWN:
                return place
    raise InputError(
        f"a picture of {shape[0]} x {shape[1]} px holds no labelled patch of {size_px} px at any "
        "scale that was tried: give larger pictures"
    )


def turned_anew(place: Place, shape: tuple[int, ...], size_px: int, rng: Any) -> Place:
    """Turn by up to 180 degrees and mirror, if the patch then still fits."""
    turn = place.turn_rad + float(rng.uniform(0, np.pi))
    columns, rows = (bool(v) for v in rng.random(2) < 0.5)
    moved = replace(place, columns=columns, rows=rows)
    turned = replace(moved, turn_rad=turn)
    return turned if turned.fits(shape, size_px) else moved


def copies_of(place: Place) -> tuple[Place, ...]:
    """Quarter turns of a patch, each mirrored or not: eight, all valid."""
    return tuple(
        replace(place, turn_rad=place.turn_rad + quarter * np.pi / 2, columns=flip)
        for quarter in range(4)
        for flip in (False, True)
    )


def error_figures(found: FloatArray, true: FloatArray) -> dict[str, float]:
    """RMSE, MAE and R2 of coverages (n,)."""
    error = found - true
    around = float(np.sum((true - true.mean()) ** 2))
    figures = {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
    }
    return figures | ({"r2": 1 - float(np.sum(error**2)) / around} if around > 0 else {})
