"""One image: what a person labelled against what was answered, in counts that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Answer, Objects
from layerscope.core.examples import IGNORE, ClassPixels, Example
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.measure.scores_overlap import box_area, box_iou, mask_iou
from layerscope.measure.scores_panoptic import confuse_objects, count_objects, hits_of
from layerscope.measure.scores_pixels import confuse_pixels
from layerscope.measure.scores_precision import Ranked, match_objects
from layerscope.training.answers import ClassMatch, renumber

_PIXELS_KEPT = 20_000  # of an image, for reliability; ten bins of 2000 are known to 1 %
_SMALLEST_ISLAND_PX = 50


@dataclass(frozen=True, eq=False)
class ObjectTally:
    """Objects of one image.

    Attributes
    ----------
    ranked : mapping of str to tuple of Ranked
        ``"mask"``, where outlines are known, and ``"box"``; one `Ranked` per class.
    counts : ndarray, (classes, 4)
        From `count_objects`.
    confusion : ndarray of int, (classes + 1, classes + 1)
    score : ndarray, (n,)
    right : ndarray of bool, (n,)
    most_marked : int
        Objects of the class that has most.
    """

    ranked: Mapping[str, tuple[Ranked, ...]]
    counts: FloatArray
    confusion: IntArray
    score: FloatArray
    right: BoolArray
    most_marked: int


@dataclass(frozen=True, eq=False)
class Tally:
    """One image, counted.

    Attributes
    ----------
    name, group : str
    pixels : ndarray of int, (K, K), or None
    otsu_pixels : ndarray of int, (2, 2), or None
        Foreground against background, by Otsu's threshold.
    objects, otsu_objects : ObjectTally or None
    fraction : ndarray, (2, K - 1), or None
        True and answered share of the labelled pixels.
    sureness : ndarray, (2, n), or None
        Probability of the answer at some pixels, and 1 where it was right.
    """

    name: str
    group: str
    pixels: IntArray | None = None
    otsu_pixels: IntArray | None = None
    objects: ObjectTally | None = None
    otsu_objects: ObjectTally | None = None
    fraction: FloatArray | None = None
    sureness: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Sides:
    """Both sides of one image in the classes of a `ClassMatch`.

    Attributes
    ----------
    marked, found : Objects or None
    truth, labels : ndarray of uint8, (H, W), or None
    fraction : float or None
        Answered share, where the answer is no more than that.
    """

    marked: Objects | None
    found: Objects | None
    truth: ClassPixels | None
    labels: ClassPixels | None
    fraction: float | None


def both_sides(example: Example, answer: Answer, match: ClassMatch, min_score: float) -> Sides:
    """Bring labels and answer of one image to common classes.

    Raises
    ------
    InputError
        If the answer is for an image of another size.
    """
    marked = None
    if example.instances is not None:
        marked = renumber(Objects.marked(example.instances, example.shape), match.truth)
    boxes_only = marked is not None and not marked.outlined
    truth = None if boxes_only else match.truth[example.label_map()]
    found = answer.objects
    if found is not None:
        found = renumber(found.take(np.flatnonzero(found.score >= min_score)), match.found)
    labels = found.label_map() if found is not None else answer.label_map()
    if labels is not None and labels.shape != example.shape:
        raise InputError(f"{example.name}: answered for {labels.shape}, not {example.shape} px")
    if found is None and labels is not None:
        labels = match.found[labels]
    return Sides(marked, found, truth, labels, answer.fraction)


def tally_image(
    example: Example,
    answer: Answer,
    sides: Sides,
    n_classes: int,
    *,
    max_detections: int = 100,
    common_class: int = 1,
    image: npt.NDArray[np.uint8] | None = None,
) -> Tally:
    """Count one image.

    Parameters
    ----------
    example : Example
    answer : Answer
    sides : Sides
    n_classes : int
        With the background.
    max_detections : int
    common_class : int
        That of the islands of the trivial method.
    image : ndarray of uint8, (H, W), optional
        Grey picture for the trivial method; None leaves it out.
    """
    islands = None if image is None else otsu_islands(image, common_class)
    marked, found, truth, labels = sides.marked, sides.found, sides.truth, sides.labels
    objects = otsu_objects = pixels = otsu_pixels = None
    if marked is not None and found is not None:
        objects = tally_objects(found, marked, n_classes - 1, max_detections)
        if islands is not None:
            otsu_objects = tally_objects(islands, marked, n_classes - 1, max_detections)
    if truth is not None and labels is not None:
        pixels = confuse_pixels(truth, labels, n_classes)
    if truth is not None and islands is not None:
        binary = np.where(truth == IGNORE, np.uint8(IGNORE), (truth > 0).astype(np.uint8))
        otsu_pixels = confuse_pixels(binary, (islands.label_map() > 0).astype(np.uint8), 2)
    return Tally(
        example.name,
        example.group,
        pixels,
        otsu_pixels,
        objects,
        otsu_objects,
        _fractions(sides, pixels, n_classes),
        _sureness(answer.probability, truth, labels),
    )


def tally_objects(
    found: Objects, marked: Objects, n_classes: int, max_detections: int
) -> ObjectTally:
    """Count the objects of one image; `n_classes` beside the background."""
    kinds = ("mask", "box") if marked.outlined else ("box",)
    ranked: dict[str, list[Ranked]] = {kind: [] for kind in kinds}
    for index in range(1, n_classes + 1):
        one, other = found.of_class(index), marked.of_class(index)
        for kind in kinds:
            iou, area = _overlap(kind, one, other), _areas(kind, one, other)
            ranked[kind].append(match_objects(one, other, iou, area, max_detections=max_detections))
    iou = _overlap(kinds[0], found, marked)
    return ObjectTally(
        {kind: tuple(parts) for kind, parts in ranked.items()},
        count_objects(found, marked, iou, n_classes),
        confuse_objects(found, marked, iou, n_classes),
        found.score,
        hits_of(found, marked, iou),
        int(np.bincount(marked.class_index, minlength=1).max()),
    )


def _overlap(kind: str, found: Objects, marked: Objects) -> FloatArray:
    if kind == "mask":
        return mask_iou(found.masks, marked.masks, marked.crowd)
    return box_iou(found.masks.boxes, marked.masks.boxes, marked.crowd)


def _areas(kind: str, found: Objects, marked: Objects) -> tuple[IntArray, IntArray]:
    own = found.masks.area_px if kind == "mask" else box_area(found.masks.boxes)
    return own, marked.masks.area_px


def _fractions(sides: Sides, pixels: IntArray | None, n_classes: int) -> FloatArray | None:
    if pixels is not None:
        shares = np.stack([pixels.sum(axis=1), pixels.sum(axis=0)]) / max(1, pixels.sum())
        return np.asarray(shares[:, 1:], float)
    if sides.truth is None or sides.fraction is None:
        return None
    known = sides.truth[sides.truth != IGNORE]
    covered = np.count_nonzero(known) / max(1, len(known))
    return np.array([[covered], [sides.fraction]]) if n_classes == 2 else None


def _sureness(
    probability: npt.NDArray[np.float32] | None,
    truth: ClassPixels | None,
    labels: ClassPixels | None,
) -> FloatArray | None:
    """Evenly spaced pixels: neighbours say the same, and all of them fill the memory."""
    if probability is None or truth is None or labels is None:
        return None
    known = np.flatnonzero(truth.ravel() != IGNORE)
    known = known[:: max(1, len(known) // _PIXELS_KEPT)]
    top = probability.reshape(-1, probability.shape[-1])[known].max(axis=1)
    right = truth.ravel()[known] == labels.ravel()[known]
    return np.stack([np.clip(top, 0, 1), right]).astype(float)


def otsu_islands(image: npt.NDArray[np.uint8], class_index: int) -> Objects:
    """Find objects in the simplest way: islands of the rarer side of Otsu's threshold.

    N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979). Grey (H, W) in, larger islands score more.
    """
    _, upper = cv2.threshold(cv2.medianBlur(image, 5), 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    rarer = upper if upper.mean() <= 0.5 else 1 - upper
    _, labels, stats, _ = cv2.connectedComponentsWithStats(rarer, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= _SMALLEST_ISLAND_PX
    large[0] = False
    masks = CropMasks.from_labels(np.where(large[labels], labels, 0))
    score = masks.area_px / max(1, image.size)
    return Objects.found(masks, np.full(len(masks), class_index, np.int64), score)


def grey_picture(image: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Grey (H, W) of 8 bit from an image (H, W, C), stretched between its extremes."""
    grey = np.asarray(image, np.float32).reshape(*image.shape[:2], -1).mean(axis=2)
    low, high = float(grey.min()), float(grey.max())
    return np.asarray((grey - low) * (255 / max(high - low, 1e-9)), np.uint8)


def most_common(tables: Sequence[IntArray]) -> int:
    """Position of the largest of added counts; 0 without any."""
    return int(np.sum(tables, axis=0).argmax()) if tables else 0
