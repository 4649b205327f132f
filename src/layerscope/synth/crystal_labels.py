"""Synthetic grown crystals as labelled images: objects by shape, thickness or material."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from layerscope.core.examples import DataSet, Example, Instance
from layerscope.core.results import BoolArray
from layerscope.errors import InputError, UnknownName
from layerscope.synth.crystal_outlines import SHAPES
from layerscope.synth.crystals import GrownImage

LABELS: Mapping[str, str] = {
    "shape": "one object per crystal, its shape",
    "thickness": "one object per crystal: thin, thick or bulk",
    "material": "one object per crystal and material: cores and shells apart",
}
"""What the class of an object is."""

THICKNESS: Mapping[str, tuple[int, int]] = {"thin": (1, 3), "thick": (4, 15), "bulk": (16, 10_000)}
"""Layers of each class, as most of a crystal has."""

SMALLEST_PART_PX = 60
"""Cores and rings of which less is seen are not labelled."""

_Object = tuple[str, tuple[slice, slice], BoolArray]


def label_grown(pictures: Iterable[GrownImage], label: str) -> DataSet:
    """Labelled images in memory.

    Parameters
    ----------
    pictures : iterable of GrownImage
    label : str
        One of `LABELS`.

    Returns
    -------
    DataSet
        Every shape and thickness is a class; of materials those that are there.

    Raises
    ------
    UnknownName
        No such label.
    InputError
        If there is no picture, or no crystal on any.
    """
    if label not in LABELS:
        raise UnknownName.of("label", label, LABELS)
    seen = list(pictures)
    named = [list(_objects(p, label)) for p in seen]
    if not any(named):
        raise InputError(f"{len(seen)} pictures without a crystal: expected one or more")
    fixed = {"shape": SHAPES, "thickness": tuple(THICKNESS)}
    classes = fixed.get(label) or tuple(sorted({o[0] for own in named for o in own}))
    examples = [
        Example.from_arrays(
            p.micrograph.name, p.micrograph.data, [_instance(o, classes) for o in own],
            pixel_size_nm=p.micrograph.require_scale().x_nm,
        )
        for p, own in zip(seen, named, strict=True)
    ]  # fmt: skip
    examples.sort(key=lambda e: e.name)
    return DataSet(tuple(examples), ("background", *classes))


def _objects(picture: GrownImage, label: str) -> Iterable[_Object]:
    layers = picture.layers()
    names = sorted({s[0][0] for s in picture.sheets if s})
    material = picture.materials(names)
    for shape, (where, crop) in zip(picture.shape, picture.masks, strict=True):
        if label == "shape":
            yield shape, where, crop
        elif label == "thickness":
            yield thickness_of(int(np.median(layers[where][crop]))), where, crop
        else:
            for i, name in enumerate(names, 1):
                part = crop & (material[where] == i)
                if np.count_nonzero(part) >= SMALLEST_PART_PX:
                    yield name, where, part


def thickness_of(layers: int) -> str:
    """Class of a number of layers, one or more."""
    return next(name for name, (low, high) in THICKNESS.items() if low <= layers <= high)


def _instance(found: _Object, classes: Sequence[str]) -> Instance:
    name, where, mask = found
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    y, x = where[0].start, where[1].start
    box = (int(y + top), int(x + left), int(y + bottom), int(x + right))
    return Instance(
        list(classes).index(name) + 1, box, np.ascontiguousarray(mask[top:bottom, left:right])
    )
