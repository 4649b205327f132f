"""The folder of a prepared data set: what learns from it, what checks it, what documents it.

dataset/images, dataset/masks   what `layerscope train phases` reads
npz/NAME.npz                    image, masks (H, W, K), known, classes
coco/annotations.json           objects: connected areas of each class
qc/                             overlays, probability maps, pixel counts
pairing.csv, counts.csv, prepare.json
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE, DataSet, Example, Instance
from layerscope.core.prepared import Preparation, PreparedImage
from layerscope.core.results import BoolArray
from layerscope.errors import CannotWrite
from layerscope.io.annotated import write_dataset
from layerscope.io.annotated.class_masks import write_mask
from layerscope.io.annotated.draft import BACKGROUND
from layerscope.io.annotated.images import read_pixels, unit_pixels
from layerscope.io.annotated.output import new_folder
from layerscope.io.annotated.values import CLASSES_FILE
from layerscope.io.atomic import write_bytes
from layerscope.io.tables import write_table
from layerscope.report.dataset_pictures import count_bars, draw_prepared, draw_probabilities
from layerscope.report.figures import to_png
from layerscope.report.panels import encode_png
from layerscope.report.run_files import FileStems, json_bytes

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a ZIP can hold: no clock in the files


class PreparedFolder:
    """Writes the folder: ``prepare(images, settings, on_image=folder)``, then ``folder.finish``.

    Parameters
    ----------
    folder : path
        New or empty: labels of two data sets must not mix.

    Raises
    ------
    InputError
        If something is in it.
    CannotWrite
        If it cannot be made.
    """

    def __init__(self, folder: str | Path):
        self._target = new_folder(Path(folder))
        self._stems = FileStems()
        self._examples: list[Example] = []
        self._classes: tuple[str, ...] = ()
        self._record: list[dict[str, Any]] = []

    def __call__(self, image: PreparedImage) -> None:
        """Write the files of one image.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        if not self._examples:
            self._make_folders()
        stem = self._stems.of(image.name)
        path = self._write_image(image, stem)
        self._write_masks(image, stem)
        write_bytes(self._target / "npz" / f"{stem}.npz", npz_bytes(image))
        write_bytes(self._target / "qc" / f"{stem}_overlay.png", encode_png(draw_prepared(image)))
        for name, picture in draw_probabilities(image):
            file = f"{stem}_probability_{name.replace('/', '_')}.png"
            write_bytes(self._target / "qc" / file, encode_png(picture))
        self._classes = image.classes if not image.overlapping else (BACKGROUND, *image.classes)
        self._examples.append(_example(image, stem, path))
        self._record.append(
            {
                "image": image.name,
                "file": path.name,
                "sources": [{"path": p, "sha256": s} for p, s in image.sources],
                "thresholds": dict(zip(image.classes, image.thresholds, strict=False)),
                "notes": list(image.notes),
            }
        )

    def _make_folders(self) -> None:
        """Not before there is an image: a call that was wrong can be made again, right."""
        try:
            for name in ("dataset/images", "dataset/masks", "npz", "qc"):
                (self._target / name).mkdir(parents=True)
        except OSError as error:
            raise CannotWrite(f"cannot write to {self._target}: {error.strerror}") from None

    def finish(self, made: Preparation) -> Path:
        """Write COCO, tables, the figure of the counts and ``prepare.json``; return the folder.

        Raises
        ------
        CannotWrite
            If the disk refuses.
        """
        for name, table in (("counts", made.counts), ("pairing", made.pairing)):
            write_table(table, self._target / f"{name}.csv")
        if self._examples:
            found = tuple(sorted(self._examples, key=lambda e: e.name))
            write_dataset(DataSet(found, self._classes), self._target / "coco", "coco")
            write_bytes(self._target / "qc" / "counts.png", to_png(count_bars(made.counts), 130))
        document = {
            "provenance": made.provenance,
            "parameters": made.parameters,
            "images": self._record,
            "failures": [{"path": f.path, "reason": f.reason} for f in made.failures],
        }
        write_bytes(self._target / "prepare.json", json_bytes(document))
        return self._target

    def _write_image(self, image: PreparedImage, stem: str) -> Path:
        """Write grey of 8 or 16 bit with a scale as TIFF, which holds the scale; others as PNG."""
        data, size = image.micrograph.data, image.micrograph.pixel_size
        folder = self._target / "dataset" / "images"
        if data.dtype not in (np.uint8, np.uint16):
            unit = unit_pixels(image.micrograph)
            data = np.rint(unit * 65535).astype(np.uint16)
            data = data[..., 0] if data.shape[2] == 1 else data
        if size is not None and data.ndim == 2:
            from layerscope.synth.em_files import tiff_bytes

            path = folder / f"{stem}.tif"
            write_bytes(path, tiff_bytes(replace(image.micrograph, data=data)))
            return path
        path = folder / f"{stem}.png"
        stored = data if data.ndim == 2 else data[..., ::-1]
        write_bytes(path, cv2.imencode(".png", stored)[1].tobytes())
        return path

    def _write_masks(self, image: PreparedImage, stem: str) -> None:
        folder = self._target / "dataset" / "masks"
        if not image.overlapping:
            write_bytes(folder / f"{stem}.png", encode_png(_label_map(image)))
            if not self._examples:
                self._write_classes(image.classes)
            return
        for k, name in enumerate(image.classes):
            place = folder / name.replace("/", "_")
            place.mkdir(exist_ok=True)
            write_mask(place / f"{stem}.png", image.masks[..., k], ~image.known)

    def _write_classes(self, classes: tuple[str, ...]) -> None:
        lines = [f"{json.dumps(n, ensure_ascii=False)} = {i}" for i, n in enumerate(classes)]
        text = "\n".join([f"unlabelled = {IGNORE}", "", "[classes]", *lines, ""])
        write_bytes(self._target / "dataset" / CLASSES_FILE, text.encode())


def npz_bytes(image: PreparedImage) -> bytes:
    """Image, masks (H, W, K), known pixels and names of classes as NPZ; the same bytes again.

    ``numpy.savez`` would write the time of day into it.
    """
    arrays = {
        "image": image.micrograph.data,
        "masks": image.masks.astype(np.uint8),
        "known": image.known.astype(np.uint8),
        "classes": np.array(image.classes),
    }
    size = image.micrograph.pixel_size
    if size is not None:
        arrays["pixel_size_nm"] = np.array([size.y_nm, size.x_nm])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue())
    return out.getvalue()


def _label_map(image: PreparedImage) -> npt.NDArray[np.uint8]:
    labels = image.masks.argmax(axis=2).astype(np.uint8)
    return np.where(image.known, labels, np.uint8(IGNORE))


def _example(image: PreparedImage, stem: str, path: Path) -> Example:
    size = image.micrograph.pixel_size
    named = enumerate(image.classes) if image.overlapping else [*enumerate(image.classes)][1:]
    shift = int(image.overlapping)
    found = tuple(i for k, _ in named for i in _objects(image.masks[..., k], k + shift))
    return Example(
        stem, path, stem, image.micrograph.shape, partial(read_pixels, path), found,
        pixel_size_nm=None if size is None else 1e3 * size.um,
    )  # fmt: skip


def _objects(mask: BoolArray, index: int) -> Iterator[Instance]:
    """Yield the connected areas of one class."""
    from scipy import ndimage

    numbered, _ = ndimage.label(mask, np.ones((3, 3), int))
    for i, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
        box = (rows.start, columns.start, rows.stop, columns.stop)
        yield Instance(index, box, np.asarray(numbered[rows, columns] == i, bool))
