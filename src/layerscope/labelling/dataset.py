"""Masks to a data set: pair with the images, threshold, resize, fill, open, check, count.

    each image:  read -> pair by name -> masks (thresholds on probabilities) -> one size
                 -> voids to the nearest class -> opening -> overlap check -> counts

What is left out, and why, is in the pairing table: an image without masks and masks without an
image are never dropped in silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerscope import __version__
from layerscope.core.micrograph import Micrograph
from layerscope.core.prepared import COUNT_COLUMNS, PAIRING_COLUMNS, Preparation, PreparedImage
from layerscope.core.run import Failure
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.ilastik.exports import HDF5_SUFFIXES
from layerscope.io.sources import Source, name_sources
from layerscope.labelling.dataset_settings import PrepareSettings
from layerscope.labelling.dataset_sources import hash_of, pair_name, read_told
from layerscope.labelling.dataset_work import MaskWork, resize
from layerscope.ops.scale import mask_annotations, resolve_pixel_size
from layerscope.tasks.image_by_image import table_of

Progress = Callable[[int, int, str], None]


def prepare(
    images: Iterable[str | os.PathLike[str] | Micrograph],
    settings: PrepareSettings,
    *,
    on_image: Callable[[PreparedImage], None] | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Make images and masks ready to learn from.

    Parameters
    ----------
    images : iterable of path or Micrograph
        Files or folders; exports of ilastik among them are no images.
    settings : PrepareSettings
    on_image : callable, optional
        Given each `PreparedImage`, which is not kept.
    progress : callable, optional
        Called with images done, images in all, and the name of the last one.

    Returns
    -------
    Preparation
        A bad image is no error: it is listed in its `failures` and in its pairing.

    Raises
    ------
    InputError
        If there is no folder of masks.
    """
    sources = [s for s in name_sources(images) if Path(s.path).suffix.casefold() not in _NO_IMAGE]
    files = [source.files() for source in settings.sources]
    counts: list[dict[str, Any]] = []
    pairs: list[dict[str, str]] = []
    failures: list[Failure] = []
    for i, source in enumerate(sources):
        key = pair_name(Path(source.path or source.name)).casefold()
        mine = [of_name.get(key) for of_name in files]
        try:
            found = _prepare_one(source, mine, settings)
        except LayerscopeError as error:
            failures.append(Failure(source.path, str(error)))
            status = "refused" if all(mine) else "no mask"
            pairs.append(_pair(source.name, status, source.path, mine, str(error)))
        else:
            pairs.append(_pair(source.name, "paired", source.path, mine, ""))
            counts += [{"image": found.name, **row} for row in found.counts]
            if on_image is not None:
                on_image(found)
        if progress is not None:
            progress(i + 1, len(sources), source.name)
    return Preparation(
        table_of(counts, COUNT_COLUMNS),
        table_of([*pairs, *_lonely(sources, files)], PAIRING_COLUMNS),
        tuple(failures),
        settings.record(),
        {"version": __version__, "schema": 1},
    )


_NO_IMAGE = (*HDF5_SUFFIXES, ".ilp")


def _prepare_one(
    source: Source, files: Sequence[Path | None], settings: PrepareSettings
) -> PreparedImage:
    missing = [s for s, f in zip(settings.sources, files, strict=True) if f is None]
    if missing:
        raise InputError(f"{source.name}: no mask of its name in {missing[0].folder}")
    image = source.micrograph or read(source.path, max_pixels=MAX_PIXELS)
    image = mask_annotations(resolve_pixel_size(image, pixel_size=settings.pixel_size))
    order = {n: settings.numbers.get(n, 1) for n in settings.read_classes}
    paths = [f for f in files if f is not None]
    told = [
        read_told(s, f, order, image.data) for s, f in zip(settings.sources, paths, strict=True)
    ]
    for one, path in zip(told, paths, strict=True):
        _check_shape(one.shape, image.shape, path.name)
    shape = _target(image.shape, settings.size)
    made = MaskWork.of(source.name, told, settings, shape)
    return replace(
        made.finish(resize(image, shape), source.name),
        sources=(
            *(((source.path, image.sha256),) if source.path else ()),
            *((str(p), hash_of(p)) for p in paths),
        ),
    )


def _target(shape: tuple[int, int], size: int | tuple[int, int] | None) -> tuple[int, int]:
    if isinstance(size, tuple):
        return size
    if size is None:
        return shape
    zoom = size / max(shape)
    return max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom))


def _check_shape(mask: tuple[int, int], image: tuple[int, int], name: str) -> None:
    """Refuse a mask that is not of the image: its sides must be alike up to a pixel's rounding."""
    zoom = max(mask) / max(image)
    if any(abs(m - i * zoom) > 1 for m, i in zip(mask, image, strict=True)):
        raise InputError(
            f"{name}: {mask[0]} x {mask[1]} px (rows x columns), the image {image[0]} x {image[1]}"
        )


def _pair(
    name: str, status: str, image: str, masks: Sequence[Path | None], why: str
) -> dict[str, str]:
    listed = "; ".join(str(m) for m in masks if m is not None)
    return {"name": name, "status": status, "image": image, "masks": listed, "why": why}


def _lonely(sources: Sequence[Source], files: Sequence[Mapping[str, Path]]) -> list[dict[str, str]]:
    """Masks that no image is called after."""
    known = {pair_name(Path(s.path or s.name)).casefold() for s in sources}
    lonely = sorted({key for of_name in files for key in of_name} - known)
    return [
        _pair(key, "no image", "", [f.get(key) for f in files], "no image of this name")
        for key in lonely
    ]
