"""From the answer of a YOLO network with masks to objects of the image.

The answer is two arrays: one row per place in the image with a box (centre and size in pixels of
the input), a probability per class and 32 coefficients; and 32 prototype masks at a quarter of the
input's resolution. A mask is the sum of the prototypes, each times its coefficient, above zero, and
within the box (Bolya et al., YOLACT, ICCV 2019, arXiv 1904.02689, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Objects
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.models.letterbox import Letterbox

N_PROTOTYPES = 32
MASK_STRIDE = 4
"""Pixels of the input per pixel of a prototype."""

_MOST_CANDIDATES = 3000
Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Picking:
    """Which candidates become objects.

    Attributes
    ----------
    least : float
        Smallest probability of the class, as the network says it.
    most_overlap : float
        Of two boxes of one class that overlap more (IoU), the less probable one goes.
    most : int
        Objects of an image, the most probable.
    any_class : bool
        Boxes of different classes exclude each other, too.
    """

    least: float = 0.25
    most_overlap: float = 0.6
    most: int = 300
    any_class: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.least <= 1 and 0 <= self.most_overlap <= 1 and self.most > 0):
            raise InputError(f"{self}: expected 0 to 1, and one object or more")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes with a class, most probable first.

    Attributes
    ----------
    boxes : ndarray, (n, 4)
        Top, left, bottom, right in pixels of the input.
    score : ndarray, (n,)
    class_index : ndarray of int, (n,)
        From 0.
    coefficients : ndarray of float32, (n, 32)
    """

    boxes: FloatArray
    score: FloatArray
    class_index: IntArray
    coefficients: Single

    def __len__(self) -> int:
        return len(self.score)

    def take(self, index: IntArray) -> Candidates:
        """Rows at the integer positions `index`."""
        return Candidates(
            self.boxes[index], self.score[index], self.class_index[index],
            self.coefficients[index],
        )  # fmt: skip


def read_candidates(answer: Single, n_classes: int, least: float) -> Candidates:
    """Candidates of one image whose best class is probable enough.

    Parameters
    ----------
    answer : ndarray of float32, (4 + n_classes + 32, places)
        Rows: centre x and y, width, height, classes, coefficients.
    n_classes : int
    least : float

    Raises
    ------
    InputError
        If the answer has another number of rows.
    """
    if answer.ndim != 2 or len(answer) != 4 + n_classes + N_PROTOTYPES:
        raise InputError(
            f"an answer of {answer.shape}: expected 4 + {n_classes} classes + {N_PROTOTYPES} rows"
        )
    probability = answer[4 : 4 + n_classes]
    score = probability.max(axis=0)
    kept = np.flatnonzero(score >= least)
    kept = kept[np.argsort(-score[kept], kind="stable")][:_MOST_CANDIDATES]
    x, y, width, height = answer[:4, kept].astype(float)
    boxes = np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)
    return Candidates(
        boxes,
        score[kept].astype(float),
        probability[:, kept].argmax(axis=0).astype(np.int64),
        np.ascontiguousarray(answer[4 + n_classes :, kept].T),
    )


def suppress(found: Candidates, picking: Picking) -> Candidates:
    """Keep the most probable of boxes that overlap (greedy non-maximum suppression)."""
    rival = box_overlap(found.boxes) > picking.most_overlap
    if not picking.any_class:
        rival &= found.class_index[:, None] == found.class_index[None, :]
    free = np.ones(len(found), bool)
    kept: list[int] = []
    for i in range(len(found)):
        if free[i]:
            kept.append(i)
            free &= ~rival[i]
        if len(kept) == picking.most:
            break
    return found.take(np.array(kept, np.int64))


def box_overlap(boxes: FloatArray) -> FloatArray:
    """Intersection over union of every box (n, 4) with every other, (n, n); 0 of empty boxes."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=-1)
    area = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=-1)
    union = area[:, None] + area[None, :] - common
    return np.asarray(common / np.maximum(union, 1e-12), float)


def draw_objects(found: Candidates, prototypes: Single, place: Letterbox) -> Objects:
    """Masks of candidates in the image, at its resolution; those without a pixel are left out.

    Parameters
    ----------
    found : Candidates
    prototypes : ndarray of float32, (32, h, w)
    place : Letterbox

    Raises
    ------
    InputError
        If there are other numbers of prototypes than of coefficients.
    """
    if prototypes.ndim != 3 or len(prototypes) != found.coefficients.shape[1]:
        raise InputError(
            f"prototypes {prototypes.shape} for {found.coefficients.shape[1]} coefficients"
        )
    limits = np.array([*place.shape, *place.shape])
    corners = np.clip(np.rint(place.to_image(found.boxes)), 0, limits).astype(np.int64)
    boxes, crops, kept = [], [], []
    for i, box in enumerate(corners.tolist()):
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        mask = _mask(box, found.coefficients[i], prototypes, place)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        boxes.append((box[0] + top, box[1] + left, box[0] + bottom, box[1] + right))
        crops.append(np.ascontiguousarray(mask[top:bottom, left:right]))
        kept.append(i)
    masks = CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), place.shape)
    return Objects.found(masks, found.class_index[kept] + 1, found.score[kept])


def _mask(box: list[int], coefficients: Single, prototypes: Single, place: Letterbox) -> BoolArray:
    """Mask within a box of the image; only the prototypes under the box are added up."""
    # Where the centre of the box's first pixel, and the next one, lie in the prototypes.
    scale = np.array(place.scale) / MASK_STRIDE
    first = (np.array(box[:2]) + 0.5) * scale + np.array(place.corner) / MASK_STRIDE - 0.5
    size = np.array(box[2:]) - np.array(box[:2])
    low = np.maximum(np.floor(first).astype(int) - 1, 0)
    high = np.ceil(first + size * scale).astype(int) + 2
    part = prototypes[:, low[0] : high[0], low[1] : high[1]]
    summed = np.tensordot(coefficients, part, axes=1)
    (down, right), (y, x) = scale, first - low
    matrix = np.array([[right, 0.0, x], [0.0, down, y]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(
        summed, matrix, (int(size[1]), int(size[0])), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(drawn > 0)
