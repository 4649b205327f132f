"""A mask per class: ``masks/flake/NAME.png``, ``masks/hole/NAME.png`` beside ``images/NAME.tif``.

The way to label what overlaps: a hole under a flake is in both pictures. In a mask 0 is not the
class, 255 is (1 in a picture of 0 and 1), and a grey between (64 to 191) says that nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from layerscope.core.examples import IGNORE, ClassPixels, DataSet, Example
from layerscope.core.micrograph import parse_length_nm
from layerscope.core.results import BoolArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated.draft import BACKGROUND, split_of
from layerscope.io.annotated.groups import group_images
from layerscope.io.annotated.images import ImageIndex, image_facts, read_pixels
from layerscope.io.atomic import write_bytes

FOLDERS = ("masks", "annotations", "labels")
"""Where a folder per class is looked for, in this order."""

UNKNOWN = 128
"""Grey of a pixel of which nobody knows whether it is the class."""

_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_NO, _YES = 64, 192


@dataclass(frozen=True)
class _Row:
    image: Path
    masks: tuple[Path | None, ...]


def has_class_masks(path: Path) -> bool:
    """Whether a folder has a folder of pictures per class."""
    return bool(_class_folders(path))


def read_class_masks(
    path: Path,
    classes: Sequence[str] = (),
    *,
    group_pattern: str | None = None,
    pixel_size: str | None = None,
) -> DataSet:
    """Read images with a mask per class.

    Parameters
    ----------
    path : Path
        Folder with ``images/`` and one of `FOLDERS`.
    classes : sequence of str
        Which, in this order; default all, by name.
    group_pattern, pixel_size
        As in `read_dataset`.

    Returns
    -------
    DataSet
        Its examples have `Example.load_masks`. Where an image has no picture for a class, nobody
        knows; one without any is left out.

    Raises
    ------
    UnreadableFile
        If there is no such folder or no image with a mask.
    InputError
        If a class has no folder.
    """
    found = _class_folders(path)
    if not found:
        raise UnreadableFile(f"{path}: expected images/ and masks/CLASS/NAME.png beside it")
    lost = [c for c in classes if c not in found]
    if lost:
        raise InputError(f"{path} has no masks of {lost[0]!r}; there are {', '.join(found)}")
    chosen = tuple(classes) or tuple(found)
    index = ImageIndex(path)
    rows = [_Row(p, tuple(_beside(found[c], p) for c in chosen)) for p in index.paths]
    kept = [row for row in rows if any(row.masks)]
    if not kept:
        raise UnreadableFile(f"{path}: no image has the name of a mask in {', '.join(chosen)}")
    notes = [f"{len(rows) - len(kept)} images have no mask: left out"] * (len(kept) < len(rows))
    names = [row.image.stem for row in kept]
    grouping = group_images(names, [split_of(r.image, path) for r in kept], path, group_pattern)
    told = None if pixel_size is None else parse_length_nm(pixel_size)
    examples = tuple(
        _example(row, group, split, told)
        for row, group, split in zip(kept, grouping.groups, grouping.splits, strict=True)
    )
    return DataSet(examples, (BACKGROUND, *chosen), (*notes, *grouping.notes), grouping.source)


def write_mask(path: Path, mask: BoolArray, unknown: BoolArray | None = None) -> None:
    """Write one mask as `read_class_masks` reads it: 0, 255 and `UNKNOWN`.

    Raises
    ------
    CannotWrite
        If the disk refuses.
    """
    grey = np.where(mask, np.uint8(255), np.uint8(0))
    if unknown is not None:
        grey[unknown] = UNKNOWN
    write_bytes(path, cv2.imencode(".png", grey)[1].tobytes())


def _class_folders(path: Path) -> dict[str, Path]:
    for name in FOLDERS:
        parent = path / name
        if not parent.is_dir():
            continue
        inside = sorted(p for p in parent.iterdir() if p.is_dir() and p.name[0] != ".")
        found = {p.name: p for p in inside if any(q.suffix in _SUFFIXES for q in p.iterdir())}
        if found:
            return found
    return {}


def _beside(folder: Path, image: Path) -> Path | None:
    for suffix in _SUFFIXES:
        if (folder / f"{image.stem}{suffix}").is_file():
            return folder / f"{image.stem}{suffix}"
    return None


def _example(row: _Row, group: str, split: str, pixel_size_nm: float | None) -> Example:
    shape, size_nm = image_facts(row.image)
    return Example(
        row.image.stem,
        row.image,
        group,
        shape,
        partial(read_pixels, row.image),
        pixel_size_nm=pixel_size_nm or size_nm,
        split=split,
        load_masks=partial(_read_masks, row, shape),
    )


def _read_masks(row: _Row, shape: tuple[int, int]) -> ClassPixels:
    out = np.full((*shape, len(row.masks)), IGNORE, np.uint8)
    for k, path in enumerate(row.masks):
        if path is not None:
            out[..., k] = _read_mask(path, shape)
    return out


def _read_mask(path: Path, shape: tuple[int, int]) -> ClassPixels:
    try:
        grey = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as reason:
        raise UnreadableFile(f"{path}: {reason}") from None
    if grey is None or grey.dtype != np.uint8:
        raise UnreadableFile(f"{path}: not a readable mask of 8 bits; copy it again")
    grey = grey[..., 0] if grey.ndim == 3 else grey
    if grey.shape != shape:
        came, wanted = (" x ".join(map(str, s)) for s in (grey.shape, shape))
        raise InputError(f"{path}: the mask is {came} px (rows x columns), the image {wanted}")
    if grey.max(initial=0) <= 1:
        return np.asarray(grey, np.uint8)
    unknown = (grey >= _NO) & (grey < _YES)
    return np.where(unknown, IGNORE, grey >= _YES).astype(np.uint8)
