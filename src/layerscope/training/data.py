"""What a data set holds: pixels and objects per class and split, and what is wrong with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Example
from layerscope.errors import InputError
from layerscope.training.splits import hold_out

if TYPE_CHECKING:
    import pandas as pd

_FEW_GROUPS = 3
_TOO_LITTLE = 0.001


@dataclass(frozen=True, eq=False)
class DataReport:
    """Counts and doubts of a data set.

    Attributes
    ----------
    table : DataFrame
        One row per split and class: ``split, class, images, groups, objects, pixels, share``.
        ``images`` and ``groups`` are those that hold the class; ``pixels`` leaves out what nobody
        labelled, ``share`` is of the labelled pixels of the split. ``objects`` is missing where
        none were told apart.
    split_by : str
        Where the splits come from, in words.
    warnings : tuple of str
        What would spoil a training, one line each.
    unreadable : tuple of str
        Images that could not be read, and why.
    """

    table: pd.DataFrame
    split_by: str
    warnings: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def split_examples(dataset: DataSet, share: float = 0.2, seed: int = 0) -> tuple[list[str], str]:
    """Split of each example, and in words where it comes from.

    Those that the files name are taken if they name more than one; else a share of the groups,
    drawn by `seed`, becomes ``valid``. One group alone is all ``train``.
    """
    told = [e.split or "train" for e in dataset.examples]
    if len(set(told)) > 1:
        return told, "as the files say"
    if len(set(dataset.groups)) < 2:
        return ["train"] * len(dataset), "one group: nothing can be held out"
    _, valid = hold_out(dataset.groups, share, seed)
    held = set(valid.tolist())
    parts = ["valid" if i in held else "train" for i in range(len(dataset))]
    return parts, f"{share:.0%} of the images held out by group, seed {seed}"


def describe_data(dataset: DataSet, share: float = 0.2, seed: int = 0) -> DataReport:
    """Count images, groups, objects and pixels per class and split.

    Parameters
    ----------
    dataset : DataSet
    share, seed
        See `split_examples`.
    """
    import pandas as pd

    splits, split_by = split_examples(dataset, share, seed)
    counts: list[_Count] = []
    unreadable: list[str] = []
    for example, split in zip(dataset.examples, splits, strict=True):
        try:
            counts.append(_count(example, split, len(dataset.classes)))
        except InputError as error:
            unreadable.append(f"{example.name}: {error}")
    rows = [
        _row(split, index, name, [c for c in counts if c.split == split])
        for split in sorted(set(splits), key=_split_order)
        for index, name in enumerate(dataset.classes)
    ]
    table = pd.DataFrame(rows).astype({"objects": "Int64"})
    warnings = [*_missing(table), *_leaks(dataset, splits), *_doubts(dataset, counts)]
    return DataReport(table, split_by, tuple(warnings), tuple(unreadable))


def load_arrays(dataset: DataSet) -> tuple[list[npt.NDArray[Any]], list[ClassPixels]]:
    """Images (H, W, C) and label maps (H, W) of a data set, as `PatchSource` takes them.

    Grey images among coloured ones get three equal channels; 8 bits stay 8 bits.

    Raises
    ------
    InputError
        If an image or a label picture cannot be read.
    """
    images = [e.read_image() for e in dataset.examples]
    channels = max((i.shape[2] for i in images), default=1)
    return (
        [i if i.shape[2] == channels else np.repeat(i, channels, axis=2) for i in images],
        [e.label_map() for e in dataset.examples],
    )


@dataclass(frozen=True, eq=False)
class _Count:
    """Of one example: pixels per class and unlabelled ones, objects per class or None."""

    split: str
    group: str
    pixels: npt.NDArray[np.int64]
    unlabelled: int
    objects: npt.NDArray[np.int64] | None


def _count(example: Example, split: str, n_classes: int) -> _Count:
    found = np.bincount(example.label_map().ravel(), minlength=IGNORE + 1)
    objects = None
    if example.instances is not None:
        objects = np.bincount([i.class_index for i in example.instances], minlength=n_classes)
    pixels = found[:n_classes].astype(np.int64)
    return _Count(split, example.group, pixels, int(found[IGNORE]), objects)


def _row(split: str, index: int, name: str, counts: Sequence[_Count]) -> dict[str, Any]:
    holding = [c for c in counts if c.pixels[index] or (c.objects is not None and c.objects[index])]
    pixels = sum(int(c.pixels[index]) for c in counts)
    labelled = sum(int(c.pixels.sum()) for c in counts)
    told_apart = index > 0 and any(c.objects is not None for c in counts)
    return {
        "split": split,
        "class": name,
        "images": len(holding),
        "groups": len({c.group for c in holding}),
        "objects": sum(int(c.objects[index]) for c in counts if c.objects is not None)
        if told_apart
        else None,
        "pixels": pixels,
        "share": pixels / labelled if labelled else 0.0,
    }


def _split_order(split: str) -> tuple[int, str]:
    known = ("train", "valid", "test")
    return (known.index(split) if split in known else len(known), split)


def _missing(table: pd.DataFrame) -> Iterator[str]:
    for _, part in table.groupby("split", sort=False):
        absent = part[part["images"] == 0]
        for name, split in zip(absent["class"], absent["split"], strict=True):
            yield f"class {name!r} is missing from {split}: it is not learned or not judged there"


def _leaks(dataset: DataSet, splits: Sequence[str]) -> Iterator[str]:
    where: dict[str, set[str]] = {}
    for example, split in zip(dataset.examples, splits, strict=True):
        where.setdefault(example.group, set()).add(split)
    torn = sorted(g for g, parts in where.items() if len(parts) > 1)
    if torn:
        yield (
            f"{len(torn)} groups, e.g. {torn[0]}, lie in more than one split: scores will look "
            "better than they are; split by group instead"
        )


def _doubts(dataset: DataSet, counts: Sequence[_Count]) -> Iterator[str]:
    groups = Counter(dataset.groups)
    if len(groups) < _FEW_GROUPS:
        yield (
            f"{len(groups)} group{'s' * (len(groups) != 1)}: too few to judge a model on unseen "
            "specimens; 3 or more are needed"
        )
    if not counts:
        return
    pixels = np.sum([c.pixels for c in counts], axis=0)
    unlabelled = sum(c.unlabelled for c in counts)
    objects = [c.objects for c in counts if c.objects is not None]
    for index, name in enumerate(dataset.classes[1:], 1):
        marked = bool(objects) and int(np.sum(objects, axis=0)[index]) > 0
        if pixels[index] == 0 and marked:
            yield f"class {name!r} has boxes and no masks: good for counting, not for areas"
        elif 0 < pixels[index] < _TOO_LITTLE * pixels.sum():
            yield f"class {name!r} is {pixels[index] / pixels.sum():.3%} of the labelled pixels"
    if unlabelled > pixels.sum():
        yield f"{unlabelled / (unlabelled + pixels.sum()):.0%} of the pixels are not labelled"
