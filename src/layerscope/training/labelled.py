"""Labelled images in memory, alike in their channels: what a pixel classifier learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet
from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with a class for their pixels.

    Attributes
    ----------
    names, groups : tuple of str
        Of each image; images of one group are of one specimen.
    images : tuple of ndarray, (H, W, C)
        uint8, or float32 from 0 to 1; C is 1 or 3, the same for all.
    labels : tuple of ndarray of uint8, (H, W)
        `IGNORE` where nobody labelled. Of classes that overlap a mask each, (H, W, K).
    classes : tuple of str
        Of classes that overlap those with a mask; else the first is the background.
    pixel_size_nm : tuple of float, or None
        Smallest and largest; None if one is not known.
    notes : tuple of str
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    images: tuple[npt.NDArray[Any], ...]
    labels: tuple[npt.NDArray[np.uint8], ...]
    classes: tuple[str, ...]
    pixel_size_nm: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return int(self.images[0].shape[2])

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return sum(i.shape[0] * i.shape[1] for i in self.images)

    @property
    def overlapping(self) -> bool:
        """Whether a pixel may be of several classes."""
        return self.labels[0].ndim == 3

    @property
    def specimens(self) -> int:
        """Different groups."""
        return len(set(self.groups))

    def take(self, index: Sequence[int] | IntArray) -> LabelledImages:
        """Return the images at the positions `index`."""
        parts = ("names", "groups", "images", "labels")
        return replace(self, **{p: tuple(getattr(self, p)[i] for i in index) for p in parts})

    def counts(self) -> npt.NDArray[np.int64]:
        """Labelled pixels of each class, (K,)."""
        if len(self) and self.overlapping:
            return np.sum([(m == 1).sum(axis=(0, 1)) for m in self.labels], axis=0)
        width = len(self.classes)
        return np.sum([np.bincount(_known(m), minlength=width) for m in self.labels], axis=0)

    def unit(self, index: int) -> FloatImage:
        """Image `index` as float32 (H, W, C) from 0 to 1."""
        return as_unit(self.images[index])


def load_labelled(data: DataSet, *, overlapping: bool = False) -> LabelledImages:
    """Read the images and label maps of a data set.

    Parameters
    ----------
    data : DataSet
        Images without a labelled pixel are left out.
    overlapping : bool
        Take a mask per class but the background instead of one map of classes.

    Raises
    ------
    InputError
        If fewer than two classes are labelled, or a value has no class.
    """
    images, labels, kept, notes = [], [], [], list(data.notes)
    names = data.classes[1:] if overlapping else data.classes
    for example in data.examples:
        found = example.class_masks(len(names)) if overlapping else example.label_map()
        if (found == IGNORE).all():
            notes.append(f"{example.name}: nothing is labelled")
            continue
        images.append(example.read_image())
        labels.append(found)
        kept.append(example)
    if not images:
        raise InputError("no image with labelled pixels; expected images/ and masks/, or COCO")
    sizes = [e.pixel_size_nm for e in kept]
    known = [s for s in sizes if s is not None]
    loaded = LabelledImages(
        tuple(e.name for e in kept),
        tuple(e.group for e in kept),
        _alike(images),
        tuple(labels),
        names,
        (min(known), max(known)) if known and len(known) == len(sizes) else None,
        tuple(notes),
    )
    return _checked_masks(loaded) if overlapping else _checked(loaded)


def _checked_masks(loaded: LabelledImages) -> LabelledImages:
    counts = loaded.counts()
    if not counts.any():
        raise InputError(f"no pixel is labelled as any of {', '.join(loaded.classes)}")
    empty = [c for c, n in zip(loaded.classes, counts.tolist(), strict=True) if not n]
    told = [f"class {c!r} has no labelled pixel: it will never be found" for c in empty]
    return replace(loaded, notes=(*loaded.notes, *told))


def _checked(loaded: LabelledImages) -> LabelledImages:
    top = max(int(_known(m).max()) for m in loaded.labels)
    if top >= len(loaded.classes):
        raise InputError(f"value {top} in a mask, but only {len(loaded.classes)} classes are named")
    counts = loaded.counts()
    if np.count_nonzero(counts) < 2:
        only = loaded.classes[int(counts.argmax())]
        raise InputError(f"every labelled pixel is {only!r}; label some of a second class")
    empty = [c for c, n in zip(loaded.classes, counts.tolist(), strict=True) if not n]
    told = [f"class {c!r} has no labelled pixel: it will never be found" for c in empty]
    return replace(loaded, notes=(*loaded.notes, *told))


def _known(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return labels[labels != IGNORE]


def _alike(images: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], ...]:
    """Grey as one channel if all are grey, even those stored as RGB; else three channels."""
    if all(i.shape[2] == 1 or _is_grey(i) for i in images):
        return tuple(np.ascontiguousarray(i[:, :, :1]) for i in images)
    return tuple(np.repeat(i, 3, axis=2) if i.shape[2] == 1 else i for i in images)


def _is_grey(image: npt.NDArray[Any]) -> bool:
    return all(np.array_equal(image[:, :, 0], image[:, :, c]) for c in range(1, image.shape[2]))


def take_few(data: LabelledImages, number: int, seed: int) -> tuple[IntArray, IntArray]:
    """Choose `number` images from as many specimens as there are, and return the rest beside.

    Parameters
    ----------
    data : LabelledImages
    number : int
    seed : int

    Returns
    -------
    few, rest : ndarray of int
        Positions, ascending. The few hold every class if some choice of those tried does.

    Raises
    ------
    InputError
        If there are fewer images.
    """
    if not 1 <= number <= len(data):
        raise InputError(f"--few {number}: there are {len(data)} labelled images")
    present = [_present(m) for m in data.labels]
    best: IntArray = np.arange(number)
    seen = -1
    for attempt in range(32):
        chosen = _spread(data.groups, number, np.random.default_rng([seed, attempt]))
        classes = len(set().union(*(present[i] for i in chosen)))
        if classes > seen:
            best, seen = chosen, classes
    return best, np.setdiff1d(np.arange(len(data)), best)


def _present(labels: npt.NDArray[np.uint8]) -> set[int]:
    if labels.ndim == 3:
        return set(np.flatnonzero((labels == 1).any(axis=(0, 1))).tolist())
    return {int(v) for v in np.unique(_known(labels))}


def _spread(groups: Sequence[str], number: int, rng: np.random.Generator) -> IntArray:
    """One image of each specimen in turn, in an order drawn by `rng`."""
    order = rng.permutation(len(groups))
    round_of: dict[str, int] = {}
    ranked = []
    for place, i in enumerate(order.tolist()):
        turn = round_of[groups[i]] = round_of.get(groups[i], -1) + 1
        ranked.append((turn, place, i))
    return np.sort([i for _, _, i in sorted(ranked)[:number]])
