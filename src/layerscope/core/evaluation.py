"""How well answers agree with what a person labelled: the values that an evaluation is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import ClassPixels, Instance
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.core.run import Failure
from layerscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

ALL = ""
"""`Figure.group` of a figure over all classes."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one image, marked or found; one row per object.

    Attributes
    ----------
    masks : CropMasks
        Filled boxes where `outlined` is False.
    class_index : ndarray of int, (n,)
        From 1.
    score : ndarray, (n,)
        0 to 1; 1 for what a person marked.
    crowd : ndarray of bool, (n,)
        Several objects that nobody told apart: found ones inside of it are neither right nor wrong.
    outlined : bool
        Whether masks are known; False: only boxes are.
    """

    masks: CropMasks
    class_index: IntArray
    score: FloatArray
    crowd: BoolArray
    outlined: bool = True

    def __post_init__(self) -> None:
        rows = {len(self.masks), len(self.class_index), len(self.score), len(self.crowd)}
        if len(rows) > 1:
            raise InputError(f"objects with columns of {sorted(rows)} rows: expected equally many")

    @classmethod
    def found(cls, masks: CropMasks, class_index: IntArray, score: FloatArray) -> Objects:
        """Return objects that a method found."""
        return cls(masks, class_index, score, np.zeros(len(masks), bool))

    @classmethod
    def marked(cls, instances: Sequence[Instance], shape: tuple[int, int]) -> Objects:
        """Return objects that a person marked on an image of `shape`; boxes are cut to it.

        A single object without mask makes all of them boxes.
        """
        outlined = all(i.mask is not None for i in instances)
        boxes, crops, kept = [], [], []
        for instance in instances:
            crop = instance.mask if outlined else None
            cut = _cut(instance.box, crop, shape)
            if cut is not None:
                boxes.append(cut[0])
                crops.append(cut[1])
                kept.append(instance)
        return cls(
            CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), shape),
            np.array([i.class_index for i in kept], np.int64),
            np.ones(len(kept)),
            np.array([i.crowd for i in kept], bool),
            outlined,
        )

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, index: IntArray) -> Objects:
        """Return the rows at the integer positions `index`."""
        return Objects(
            self.masks.take(index),
            self.class_index[index],
            self.score[index],
            self.crowd[index],
            self.outlined,
        )

    def of_class(self, class_index: int) -> Objects:
        """Rows of one class, in their order."""
        return self.take(np.flatnonzero(self.class_index == class_index))

    def label_map(self) -> ClassPixels:
        """Class of every pixel (H, W), 0 where nothing is; the smaller object lies on top."""
        order = np.argsort(-self.masks.area_px, kind="stable")
        values = self.class_index[order].tolist()
        return self.masks.take(order).labels(values).astype(np.uint8)


def _cut(
    box: tuple[int, int, int, int], mask: BoolArray | None, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], BoolArray] | None:
    top, left, bottom, right = box
    bottom, right = min(bottom, shape[0]), min(right, shape[1])
    size = bottom - top, right - left
    if min(size) < 1:
        return None
    inside = np.ones(size, bool) if mask is None else mask[: size[0], : size[1]]
    return (top, left, bottom, right), inside


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model or a finished run says about one image.

    Attributes
    ----------
    objects : Objects or None
        None where objects are not told apart.
    labels : ndarray of uint8, (H, W), or None
        Class of every pixel; default painted from `objects`.
    probability : ndarray, (H, W, K), or None
        Of every class, rows adding to one.
    fraction : float or None
        Share that is covered, where the model answers that and no more.
    """

    objects: Objects | None = None
    labels: ClassPixels | None = None
    probability: npt.NDArray[np.float32] | None = None
    fraction: float | None = None

    def label_map(self) -> ClassPixels | None:
        """Class of every pixel, where the answer has one."""
        if self.labels is not None or self.objects is None:
            return self.labels
        return self.objects.label_map()


@dataclass(frozen=True, eq=False)
class Comparison:
    """One image with both sides, as long as it is in memory.

    Attributes
    ----------
    name, group : str
    image : ndarray, (H, W, C)
    truth, found : ndarray of uint8, (H, W), or None
        Classes; `IGNORE` where nobody labelled. None where only a fraction or boxes are known.
    classes : tuple of str
    pixel_size_nm : float or None
    scores : mapping of str to float
        Its row of `Evaluation.images`.
    """

    name: str
    group: str
    image: npt.NDArray[Any]
    truth: ClassPixels | None
    found: ClassPixels | None
    classes: tuple[str, ...]
    pixel_size_nm: float | None
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """One figure of merit.

    Attributes
    ----------
    name : str
        For example ``"mask_ap50"``.
    group : str
        Name of the class, or `ALL`.
    value : float
        NaN where it cannot be told; `note` says why.
    low, high : float
        95 % interval over specimens; NaN where there is none; `note` says why.
    baseline : float
        The same figure of a method that looks at nothing, NaN where none makes sense.
    baseline_name : str
    note : str
    """

    name: str
    group: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    baseline: float = float("nan")
    baseline_name: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of what was true (rows) and what was answered (columns).

    Attributes
    ----------
    unit : str
        ``"pixels"`` or ``"objects"``.
    truth, answer : tuple of str
    count : ndarray of int, (len(truth), len(answer))
    """

    unit: str
    truth: tuple[str, ...]
    answer: tuple[str, ...]
    count: IntArray


@dataclass(frozen=True, eq=False)
class Curve:
    """Points to draw: precision over recall, or share right over probability.

    Attributes
    ----------
    kind : str
        ``"precision_recall"`` or ``"reliability"``.
    name : str
        Of the class, or of what was asked.
    x, y : ndarray, (n,)
    low, high : ndarray, (n,), or None
        95 % interval of `y`.
    """

    kind: str
    name: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Answers against labels, over a data set.

    Attributes
    ----------
    name : str
        Of the model or run.
    classes : tuple of str
        ``classes[0]`` is the background.
    figures : tuple of Figure
    images : pandas.DataFrame
        One row per image, sorted by name.
    image_classes : pandas.DataFrame
        One row per image and class.
    n_groups : int
        Specimens.
    confusions : tuple of Confusion
    curves : tuple of Curve
    signs : tuple of str
        What the figures say is wrong and what helps, one line each.
    notes : tuple of str
    failures : tuple of Failure
        Images that have labels but no answer.
    trained_on : tuple of str
        Names of images that the model learned from. They count in no figure, unless `parameters`
        says ``keep_trained``.
    parameters, provenance : mapping
    """

    name: str
    classes: tuple[str, ...]
    figures: tuple[Figure, ...]
    images: pd.DataFrame
    image_classes: pd.DataFrame
    n_groups: int
    confusions: tuple[Confusion, ...] = ()
    curves: tuple[Curve, ...] = ()
    signs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    trained_on: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def figure(self, name: str, group: str = ALL) -> Figure | None:
        """Return the figure of that name and class, None where it was not asked."""
        return next((f for f in self.figures if (f.name, f.group) == (name, group)), None)
