"""Synthetic micrographs of grown crystals on disk, as `layerscope train phases` reads them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.synth.crystals import GrownImage

TRUTH_COLUMNS = (
    "image", "crystal_id", "shape", "lattice_deg", "touching", "core_share", "area_px", "y_px",
    "x_px",
)  # fmt: skip
IMAGE_COLUMNS = ("image", "pixel_size_nm", "true_stack", "camera", "tone", "materials")


def write_crystals(images: Iterable[GrownImage], directory: str | os.PathLike[str]) -> list[Path]:
    """Write a folder of labelled images.

    - ``images/NAME.jpg`` or ``.png``;
    - ``masks/NAME.png``: material per pixel, named in ``classes.toml``; where sheets lie on each
      other the lowest;
    - ``layers/NAME.png``: layers per pixel;
    - ``instances/NAME.png``: 16 bit, number of the crystal;
    - ``images.csv``, and last ``truth.csv``, one row per crystal.

    Parameters
    ----------
    images : iterable of GrownImage
    directory : path
        Made if absent.

    Returns
    -------
    list of Path
        The image files, in order.

    Raises
    ------
    InputError
        If there is no image.
    """
    root, pictures = Path(directory), list(images)
    if not pictures:
        raise InputError("no image to write: expected one or more")
    names = sorted({s[0][0] for p in pictures for s in p.sheets if s})
    for folder in ("images", "masks", "layers", "instances"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    paths = [_write_one(p, root, names) for p in pictures]
    classes = ", ".join(f'"{c}"' for c in ("substrate", *names))
    write_bytes(root / "classes.toml", f"classes = [{classes}]\n".encode())
    facts = [_facts(p, path.name) for p, path in zip(pictures, paths, strict=True)]
    _write_table(root / "images.csv", IMAGE_COLUMNS, facts)
    rows = [r for p, path in zip(pictures, paths, strict=True) for r in _rows(p, path.name)]
    _write_table(root / "truth.csv", TRUTH_COLUMNS, rows)
    return paths


def _write_one(picture: GrownImage, root: Path, names: Sequence[str]) -> Path:
    name = picture.micrograph.name
    path = root / "images" / f"{name}{'.jpg' if picture.encoded else '.png'}"
    write_bytes(path, picture.encoded or _png(picture.micrograph.data))
    write_bytes(root / "masks" / f"{name}.png", _png(picture.materials(names)))
    layers = np.minimum(picture.layers(), 255).astype(np.uint8)
    write_bytes(root / "layers" / f"{name}.png", _png(layers))
    numbers = picture.masks.labels().astype(np.uint16)
    write_bytes(root / "instances" / f"{name}.png", _png(numbers))
    return path


def _facts(picture: GrownImage, name: str) -> tuple[object, ...]:
    known, size = picture.micrograph.metadata, picture.micrograph.require_scale()
    told = (known[key] for key in ("true_stack", "camera", "tone", "material"))
    return (name, round(size.x_nm, 3), *told)


def _rows(picture: GrownImage, name: str) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for i, (where, crop) in enumerate(picture.masks):
        y, x = (float(v) for v in np.argwhere(crop).mean(axis=0))
        rows.append(
            (
                name, i + 1, picture.shape[i], _number(picture.lattice_deg[i]),
                int(picture.touching[i]), _number(picture.core_share[i]), int(crop.sum()),
                round(where[0].start + y, 2), round(where[1].start + x, 2),
            )
        )  # fmt: skip
    return rows


def _number(value: float) -> float | str:
    return round(float(value), 4) if np.isfinite(value) else ""


def _png(data: npt.NDArray[Any]) -> bytes:
    done, encoded = cv2.imencode(".png", data[..., ::-1] if data.ndim == 3 else data)
    if not done:
        raise InputError(f"cannot write {data.dtype} {data.shape} as PNG")
    return encoded.tobytes()


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    write_bytes(path, table.getvalue().encode())
