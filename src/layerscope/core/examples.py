"""What a person labelled: examples of a data set, with instances or label maps.

Class 0 is the background. A pixel that nobody labelled is `IGNORE`: no loss and no score counts
it. Files in which 255 means a class are translated while they are read: `layerscope.io.annotated`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError

IGNORE = 255
"""Value of a pixel that nobody labelled, or that lies outside of the picture."""

MOST_CLASSES = 254
"""Beside the background; one value of a byte is `IGNORE`."""

ClassPixels = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Instance:
    """One object that somebody marked.

    Attributes
    ----------
    class_index : int
        Into the classes of the data set, from 1.
    box : tuple of int
        Top, left, bottom, right, half-open.
    mask : ndarray of bool, (bottom - top, right - left), or None
        Cropped to the box; None: only the box is known.
    crowd : bool
        The mask covers several objects that nobody told apart.
    """

    class_index: int
    box: tuple[int, int, int, int]
    mask: BoolArray | None = None
    crowd: bool = False

    def __post_init__(self) -> None:
        top, left, bottom, right = self.box
        if not (0 <= top < bottom and 0 <= left < right):
            raise InputError(f"box {self.box}: expected top, left, bottom, right with an area")
        if not 1 <= self.class_index <= MOST_CLASSES:
            raise InputError(f"class {self.class_index} of an object: expected 1 to {MOST_CLASSES}")
        if self.mask is not None and self.mask.shape != (bottom - top, right - left):
            raise InputError(f"a mask of {self.mask.shape} in the box {self.box}")

    @property
    def area_px(self) -> int:
        """Pixels of the mask, or of the box where there is no mask."""
        if self.mask is not None:
            return int(np.count_nonzero(self.mask))
        top, left, bottom, right = self.box
        return (bottom - top) * (right - left)


@dataclass(frozen=True, eq=False)
class Example:
    """One image and what is marked on it; pixels are read when they are asked for.

    Attributes
    ----------
    name : str
        Unique in its data set.
    path : Path
        Of the image.
    group : str
        Specimen. Examples of one group never lie on both sides of a split.
    shape : tuple of int
        Height and width, px.
    load_image : callable
        Without arguments; returns the image.
    instances : tuple of Instance, or None
        None where objects were not told apart.
    load_labels : callable, or None
        Without arguments; returns the label map. None: it is painted from `instances`.
    label_path : Path or None
        Of the label picture, where there is one.
    pixel_size_nm : float or None
    split : str
        ``train``, ``valid``, ``test`` where the files say so, else empty.
    load_masks : callable, or None
        Without arguments; returns a mask per class but the background, see `class_masks`.
    """

    name: str
    path: Path
    group: str
    shape: tuple[int, int]
    load_image: Callable[[], Pixels] = field(repr=False)
    instances: tuple[Instance, ...] | None = field(default=None, repr=False)
    load_labels: Callable[[], ClassPixels] | None = field(default=None, repr=False)
    label_path: Path | None = None
    pixel_size_nm: float | None = None
    split: str = ""
    load_masks: Callable[[], ClassPixels] | None = field(default=None, repr=False)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        image: Pixels,
        labels: ClassPixels | Sequence[Instance],
        *,
        group: str = "",
        pixel_size_nm: float | None = None,
    ) -> Example:
        """Return an example that lives in memory.

        Parameters
        ----------
        name : str
        image : ndarray, (H, W) or (H, W, C)
            uint8, or float32 from 0 to 1.
        labels : ndarray of uint8, (H, W), or sequence of Instance
            (H, W, K): a mask of 0, 1 and `IGNORE` per class but the background; they may overlap.
        group : str
            Default `name`.
        pixel_size_nm : float, optional
        """
        pixels = image if image.ndim == 3 else image[:, :, None]
        loaded = partial(_same, labels) if isinstance(labels, np.ndarray) else None
        apart = isinstance(labels, np.ndarray) and labels.ndim == 3
        return cls(
            name,
            Path(name),
            group or name,
            (image.shape[0], image.shape[1]),
            partial(_same, pixels),
            None if isinstance(labels, np.ndarray) else tuple(labels),
            None if apart else loaded,
            pixel_size_nm=pixel_size_nm,
            load_masks=loaded if apart else None,
        )

    def read_image(self) -> Pixels:
        """Image (H, W, C) with C 1 or 3: uint8, or float32 from 0 to 1.

        Raises
        ------
        UnreadableFile
            If the file is missing or damaged.
        InputError
            If the image has not the size that its labels were made for.
        """
        return self._fitting(self.load_image(), "image")

    def label_map(self) -> ClassPixels:
        """Class of every pixel, uint8 (H, W); `IGNORE` where nobody labelled.

        Where objects overlap the smaller one is on top, whatever their order in the file. In a box
        without mask the class of a pixel is not known: `IGNORE`, unless a mask covers it.

        Raises
        ------
        UnreadableFile
            If the label picture is missing or damaged.
        InputError
            If it has not the size of the image, or nothing is labelled.
        """
        if self.load_labels is not None:
            return self._fitting(self.load_labels(), "label picture")
        if self.load_masks is not None:
            return _flat(self._fitting(self.load_masks(), "picture of masks"))
        if self.instances is None:
            raise InputError(f"{self.name}: nothing is labelled")
        return paint(self.instances, self.shape)

    def class_masks(self, count: int) -> ClassPixels:
        """Mask of each class but the background, uint8 (H, W, count); they may overlap.

        1 is the class, 0 is not, `IGNORE` says that nobody knows. From objects: their masks of one
        class together; in a box without mask nobody knows. From a label map: as it is.

        Parameters
        ----------
        count : int
            Classes of the data set, without the background.

        Raises
        ------
        UnreadableFile, InputError
            As in `label_map`; or if there are other masks than classes.
        """
        if self.load_masks is not None:
            masks = self._fitting(self.load_masks(), "picture of masks")
            if masks.ndim != 3 or masks.shape[2] != count:
                raise InputError(f"{self.name}: masks {masks.shape} for {count} classes")
            return masks
        if self.load_labels is None and self.instances is not None:
            return _painted_apart(self.instances, self.shape, count)
        labels = self.label_map()
        known = [np.where(labels == IGNORE, IGNORE, labels == k + 1) for k in range(count)]
        return np.stack(known, axis=-1).astype(np.uint8)

    def _fitting(self, pixels: Pixels, what: str) -> Pixels:
        if pixels.shape[:2] != self.shape:
            came, expected = (" x ".join(map(str, s)) for s in (pixels.shape[:2], self.shape))
            raise InputError(
                f"{self.name}: the {what} is {came} px (rows x columns), not {expected}"
            )
        return pixels


@dataclass(frozen=True, eq=False)
class DataSet:
    """Examples that share their classes.

    Attributes
    ----------
    examples : tuple of Example
        Sorted by name.
    classes : tuple of str
        ``classes[0]`` is the background; values of label maps and ``class_index`` count into it.
    notes : tuple of str
        What was skipped, guessed or lost, one line each.
    grouped_by : str
        Where the groups come from, in words.
    """

    examples: tuple[Example, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    grouped_by: str = "each image is its own group"

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= MOST_CLASSES + 1:
            raise InputError(f"{len(self.classes)} classes: expected 1 to {MOST_CLASSES + 1}")
        names = [e.name for e in self.examples]
        twice = (
            sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise InputError(f"two examples are named {twice[0]!r}; names must be unique")

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each example."""
        return tuple(e.group for e in self.examples)

    def take(self, index: Sequence[int] | npt.NDArray[np.int64]) -> DataSet:
        """Return the data set of the examples at the positions `index`."""
        return replace(self, examples=tuple(self.examples[i] for i in index))


def paint(instances: Sequence[Instance], shape: tuple[int, int]) -> ClassPixels:
    """Label map (H, W) of `instances`; see `Example.label_map`."""
    out = np.zeros(shape, np.uint8)
    for instance in sorted(instances, key=lambda i: (i.mask is not None, -i.area_px)):
        top, left, bottom, right = instance.box
        where = out[top:bottom, left:right]
        if instance.mask is None:
            where[...] = IGNORE
        else:
            where[instance.mask[: where.shape[0], : where.shape[1]]] = instance.class_index
    return out


def _flat(masks: ClassPixels) -> ClassPixels:
    """Label map of masks that overlap: the first class of a pixel counts."""
    first = np.where((masks == 1).any(axis=2), (masks == 1).argmax(axis=2) + 1, 0)
    unknown = (first == 0) & (masks == IGNORE).any(axis=2)
    return np.where(unknown, IGNORE, first).astype(np.uint8)


def _painted_apart(
    instances: Sequence[Instance], shape: tuple[int, int], count: int
) -> ClassPixels:
    out = np.zeros((*shape, count), np.uint8)
    for instance in sorted(instances, key=lambda i: i.mask is not None):
        top, left, bottom, right = instance.box
        where = out[top:bottom, left:right, instance.class_index - 1]
        if instance.mask is None:
            where[...] = IGNORE
        else:
            where[instance.mask[: where.shape[0], : where.shape[1]]] = 1
    return out


def _same(pixels: Pixels) -> Pixels:
    return pixels
