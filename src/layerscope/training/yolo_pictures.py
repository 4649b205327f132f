"""Labelled pictures as a network of objects is shown them: moved, turned, mixed, recoloured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import DataSet, Example
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.models.yolo import empty_of, normalised
from layerscope.models.yolo_decode import MASK_STRIDE
from layerscope.ops.augmentation import Augmentation
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit
from layerscope.ops.recolour import recolour
from layerscope.training.yolo_loss import Marked, pack

Batch = Callable[[int], tuple[FloatImage, FloatImage]]

VARIED = Augmentation(
    white_balance=(0.92, 1.08), gamma=(0.9, 1.1), brightness=(-0.03, 0.03), noise=(0.0, 0.03),
    blur_px=(0.0, 1.0), salt_pepper_share=0.0,
)  # fmt: skip
"""Colours tell materials apart: they vary no more than a lamp and a camera do."""

NOISY = Augmentation(
    white_balance=(0.92, 1.08), gamma=(0.9, 1.1), brightness=(-0.03, 0.03), noise=(0.0, 0.25),
    blur_px=(0.0, 1.0), salt_pepper=(0.0, 0.25), noise_share=0.5, salt_pepper_share=0.4,
)  # fmt: skip
"""Noise of both kinds up to a quarter, for networks that must stand it."""

_LEAST_PX = 4.0
_LEAST_SHARE = 0.15
_FREEDOM = 0.2
_CUT = (0.35, 0.65)
_SPARE = 1.7
"""Largest level kept, in units of what the largest magnification shows: what is magnified most is
drawn 1.2 times as large as it is kept, and 1280 x 720 px take 0.9 MB."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A labelled picture in memory, as small as training lets it be.

    Attributes
    ----------
    levels : tuple of ndarray, (h, w, 3)
        The picture, halved again and again: float32 and normalised, or uint8 from 0 to 255.
    shape : tuple of int
        Height and width of the picture itself.
    classes : ndarray of int, (m,)
        From 0.
    boxes : ndarray of int, (m, 4)
        Top, left, bottom, right in the picture.
    masks : tuple of ndarray of bool
        Of each box.
    """

    levels: tuple[npt.NDArray[Any], ...]
    shape: tuple[int, int]
    classes: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    masks: tuple[BoolArray, ...]


@dataclass(frozen=True)
class Drawing:
    """How inputs are made of pictures.

    Attributes
    ----------
    side_px : int
        Of an input, a multiple of 32.
    normalisation : str
        Of whole pictures.
    zoom : tuple of float
        Magnification beside that of a whole picture in the input.
    mosaic : float
        Share of inputs that are made of four pictures.
    augmentation : Augmentation
        Of values; pictures whose normalisation is not ``unit`` keep theirs.
    """

    side_px: int = 416
    normalisation: str = "unit"
    zoom: tuple[float, float] = (0.6, 1.7)
    mosaic: float = 0.4
    augmentation: Augmentation = field(default_factory=lambda: VARIED)

    def __post_init__(self) -> None:
        if self.side_px < 32 or self.side_px % 32:
            raise InputError(f"inputs of {self.side_px} px: expected a multiple of 32")
        if not 0 < self.zoom[0] <= self.zoom[1] or not 0 <= self.mosaic <= 1:
            raise InputError(
                f"zoom {self.zoom}, mosaic {self.mosaic}: expected a range, and 0 to 1"
            )


def read_pictures(data: DataSet, drawing: Drawing) -> tuple[Picture, ...]:
    """Read labelled pictures into memory.

    Raises
    ------
    InputError
        If nothing is marked, or an object has no outline.
    """
    pictures = tuple(_picture(e, drawing) for e in data.examples)
    if not any(len(p.classes) for p in pictures):
        raise InputError(f"{len(pictures)} images without one marked object; mark some outlines")
    return pictures


def _picture(example: Example, drawing: Drawing) -> Picture:
    if example.instances is None:
        raise InputError(
            f"{example.name}: classes of pixels, but objects are not told apart; give outlines "
            "(COCO, YOLO segments) or pictures in instances/"
        )
    objects = [i for i in example.instances if not i.crowd]
    if any(i.mask is None for i in objects):
        raise InputError(f"{example.name}: boxes without outlines; masks cannot be learned of them")
    image, plain = example.read_image(), drawing.normalisation == "unit"
    if image.dtype != np.uint8 or not plain:
        image = as_unit(image)
    levels = [image.repeat(3, axis=2) if image.shape[2] == 1 else image]
    while max(levels[-1].shape[:2]) >= drawing.side_px:
        height, width = levels[-1].shape[:2]
        half = (-(-width // 2), -(-height // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    most = _SPARE * drawing.zoom[1] * drawing.side_px
    kept = [x for x in levels if max(x.shape[:2]) <= most] or levels[-1:]
    return Picture(
        tuple(x if plain else normalised(x, drawing.normalisation) for x in kept),
        example.shape,
        np.array([i.class_index - 1 for i in objects], np.int64),
        np.array([i.box for i in objects], np.int64).reshape(-1, 4),
        tuple(i.mask for i in objects if i.mask is not None),
    )


def batches(pictures: Sequence[Picture], drawing: Drawing, size: int, seed: int) -> Batch:
    """Batches of `size` inputs by the number of the step, for `training.loop.fit`."""
    if not pictures or size < 1:
        raise InputError(f"{len(pictures)} pictures in batches of {size}: expected 1 or more")

    def batch(step: int) -> tuple[FloatImage, FloatImage]:
        rng = np.random.default_rng([seed, 0xD0, step])
        drawn = [draw_input(pictures, drawing, rng) for _ in range(size)]
        images = np.stack([image.transpose(2, 0, 1) for image, _ in drawn])
        return np.ascontiguousarray(images), pack([marked for _, marked in drawn])

    return batch


def draw_input(
    pictures: Sequence[Picture], drawing: Drawing, rng: np.random.Generator
) -> tuple[FloatImage, Marked]:
    """One input (S, S, 3) and the objects on it; of four pictures for a share of the draws."""
    side = drawing.side_px
    canvas = np.full((side, side, 3), empty_of(drawing.normalisation), np.float32)
    rows: tuple[int, ...] = (0, side)
    columns = rows
    if rng.random() < drawing.mosaic:
        cut = rng.uniform(*_CUT, 2) * side
        rows, columns = (0, int(cut[0]), side), (0, int(cut[1]), side)
    parts = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            picture = pictures[int(rng.integers(len(pictures)))]
            where = slice(top, bottom), slice(left, right)
            size = (bottom - top, right - left)
            matrix = draw_move(rng, picture.shape, size, drawing.zoom)
            canvas[where] = take(picture, matrix, size, empty_of(drawing.normalisation))
            parts.append(_marked(picture, matrix, size, (top, left), side))
    if drawing.normalisation == "unit":
        canvas = recolour(canvas, rng, drawing.augmentation)
    joined = (np.concatenate([p[k] for p in parts]) for k in range(3))
    return canvas, Marked(*joined)


def draw_move(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: tuple[int, int],
    zoom: tuple[float, float],
) -> FloatArray:
    """Matrix (2, 3) from a picture of `shape` to a field of `size`: any turn, mirrored or not.

    Coordinates are x, y of pixel corners.
    """
    scale = max(size) / max(shape) * float(np.exp(rng.uniform(*np.log(zoom))))
    turn = float(rng.uniform(0, 2 * np.pi))
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if rng.random() < 0.5:
        linear[:, 0] *= -1
    whole = np.array(shape[::-1], float)
    free = np.maximum(whole - np.array(size[::-1]) / scale, 0) + _FREEDOM * whole
    centre = whole / 2 + rng.uniform(-0.5, 0.5, 2) * free
    return np.column_stack([linear, np.array(size[::-1]) / 2 - linear @ centre])


def take(picture: Picture, matrix: FloatArray, size: tuple[int, int], empty: float) -> FloatImage:
    """Field (h, w, 3) of a picture; from the level that is nearest, so that nothing aliases."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    factors = [x.shape[1] / picture.shape[1] for x in picture.levels]
    level = max((i for i, f in enumerate(factors) if f >= 0.8 * scale), default=0)
    of_level = matrix.copy()
    down, across = (n / m for n, m in zip(picture.levels[level].shape, picture.shape, strict=False))
    of_level[:, 0] /= across
    of_level[:, 1] /= down
    source = picture.levels[level]
    white = 255 if source.dtype == np.uint8 else 1
    seen = cv2.warpAffine(
        source, _of_centres(of_level), size[::-1], flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(white * empty,) * 3,
    )  # fmt: skip
    return np.asarray(seen, np.float32) / np.float32(white)


def _marked(
    picture: Picture,
    matrix: FloatArray,
    size: tuple[int, int],
    corner: tuple[int, int],
    side: int,
) -> tuple[npt.NDArray[np.int64], FloatImage, FloatImage]:
    """Classes, boxes and masks of what is seen of the objects of one field."""
    scale = abs(float(np.linalg.det(matrix[:, :2])))
    classes, boxes, masks = [], [], []
    top, left = corner
    for name, box, mask in zip(picture.classes, picture.boxes, picture.masks, strict=True):
        moved = matrix.copy()
        moved[:, 2] += matrix[:, :2] @ box[1::-1]
        seen = cv2.warpAffine(
            mask.astype(np.uint8), _of_centres(moved), size[::-1], flags=cv2.INTER_NEAREST
        )
        area = int(np.count_nonzero(seen))
        if area < max(_LEAST_PX, _LEAST_SHARE * scale * np.count_nonzero(mask)):
            continue
        x, y, width, height = cv2.boundingRect(seen)
        whole = np.zeros((side, side), np.float32)
        whole[top : top + size[0], left : left + size[1]] = seen
        small = (side // MASK_STRIDE, side // MASK_STRIDE)
        classes.append(int(name))
        boxes.append((left + x, top + y, left + x + width, top + y + height))
        masks.append(cv2.resize(whole, small, interpolation=cv2.INTER_AREA))
    number = len(classes)
    shape = (number, side // MASK_STRIDE, side // MASK_STRIDE)
    return (
        np.array(classes, np.int64),
        np.array(boxes, np.float32).reshape(number, 4),
        np.array(masks, np.float32).reshape(shape),
    )


def _of_centres(matrix: FloatArray) -> FloatArray:
    """Matrix between coordinates of pixel centres, of one between pixel corners."""
    out = matrix.copy()
    out[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return out
