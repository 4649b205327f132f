"""Many pictures of proposed regions, as a labelled set that other programs open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from layerscope.core.examples import DataSet, Example, Instance
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import CropMasks
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import read
from layerscope.io.annotated import ANNOTATION_FORMATS, read_dataset, write_dataset
from layerscope.io.annotated.images import read_pixels, unit_pixels
from layerscope.io.sources import Source, name_sources
from layerscope.ops.scale import mask_annotations
from layerscope.tasks.proposals import (
    REGION,
    NearestMasks,
    Proposer,
    features_of,
    propose_in_tiles,
    teach_names,
)


@dataclass(frozen=True, eq=False)
class Proposed:
    """What was proposed on many pictures.

    Attributes
    ----------
    dataset : DataSet
    counts : dict of str to int
        Regions per image.
    failures : list of str
        Why others were not looked at, one line each.
    """

    dataset: DataSet
    counts: dict[str, int]
    failures: list[str]


def propose_images(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    proposer: Proposer,
    namer: NearestMasks | None = None,
    *,
    tile_px: int = 1024,
    progress: Callable[[int, int, str], None] | None = None,
) -> Proposed:
    """Propose regions on every picture, and name them where a namer is given.

    Parameters
    ----------
    images : iterable of path or Micrograph
    proposer : Proposer
    namer : NearestMasks, optional
    tile_px : int
        Larger pictures are cut into tiles.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.
    """
    classes = namer.classes if namer else (REGION,)
    examples, counts, failures = [], {}, []
    sources = name_sources(images)
    for i, source in enumerate(sources):
        try:
            example = _propose(source, proposer, namer, classes, tile_px)
        except LayerscopeError as error:
            failures.append(str(error))
        else:
            examples.append(example)
            counts[source.name] = len(example.instances or ())
        if progress is not None:
            progress(i + 1, len(sources), source.name)
    return Proposed(DataSet(tuple(examples), ("background", *classes)), counts, failures)


def learn_names(folder: Path, neighbours: int = 9) -> NearestMasks:
    """Learn names from labelled images whose objects have masks.

    Raises
    ------
    InputError
        If none has.
    """
    data = read_dataset(folder)
    taught = []
    for example in data.examples:
        marked = [i for i in example.instances or () if i.mask is not None and not i.crowd]
        pixels = example.read_image()
        image = Micrograph(pixels[..., 0] if pixels.shape[2] == 1 else pixels, white_level=1.0
                           if pixels.dtype.kind == "f" else 255.0)  # fmt: skip
        boxes = np.array([i.box for i in marked], np.int64).reshape(-1, 4)
        masks = CropMasks(boxes, tuple(np.asarray(i.mask, bool) for i in marked), example.shape)
        taught.append((features_of(image, masks), [data.classes[i.class_index] for i in marked]))
    if not any(names for _, names in taught):
        raise InputError(f"{folder}: no object with a mask and a name to learn from")
    return teach_names(taught, neighbours=neighbours)


def write_proposals(dataset: DataSet, folder: Path) -> None:
    """Write label pictures and, in the same new folder, COCO, which keeps overlaps.

    Raises
    ------
    InputError
        If the folder is not empty.
    """
    write_dataset(dataset, folder, "label_pictures")
    ANNOTATION_FORMATS["coco"].write(dataset, folder)


def _propose(
    source: Source,
    proposer: Proposer,
    namer: NearestMasks | None,
    classes: tuple[str, ...],
    tile_px: int,
) -> Example:
    image = mask_annotations(source.micrograph or read(source.path))
    masks, _ = propose_in_tiles(image, proposer, tile_px=tile_px)
    names = [REGION] * len(masks)
    if namer is not None and len(masks):
        names = list(namer.name(features_of(image, masks)))
    instances = tuple(
        Instance(classes.index(name) + 1, (box[0], box[1], box[2], box[3]), crop)
        for name, box, crop in zip(names, masks.boxes.tolist(), masks.crops, strict=True)
    )
    size = None if image.pixel_size is None else image.pixel_size.um * 1e3
    if source.micrograph is not None:
        return Example.from_arrays(
            source.name, np.asarray(unit_pixels(image)), instances, pixel_size_nm=size
        )
    path = Path(source.path)
    return Example(
        source.name, path, source.name, image.shape, partial(read_pixels, path), instances,
        pixel_size_nm=size,
    )  # fmt: skip
