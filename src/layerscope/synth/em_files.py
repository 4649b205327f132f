"""Synthetic electron micrographs on disk, as `layerscope train phases` reads them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.io.annotated.class_masks import write_mask
from layerscope.io.atomic import write_bytes
from layerscope.synth.em import CLASSES, PIXEL_RANGE_NM, SynthEm, draw_pixel, synth_em
from layerscope.synth.em_optics import Microscope
from layerscope.synth.em_support import Support

FLAKE_COLUMNS = (
    "image",
    "flake_id",
    "n_layers",
    "crumpled",
    "contrast",
    "area_px",
    "area_nm2",
    "y_px",
    "x_px",
)
IMAGE_COLUMNS = (
    "image", "pixel_size_nm", "support", "n_flakes", "flake_share", "hole_share",
    "contamination_share", "fold_share", "voltage_kv", "defocus_nm", "dose_e_px",
)  # fmt: skip
MASKS = ("flake", "hole", "contamination", "fold")
"""Folders of the masks that overlap, below ``annotations``."""


def em_set(
    seed: int, number: int, *, specimens: int | None = None, **arguments: Any
) -> Iterator[SynthEm]:
    """Micrographs of a series, ``tem-0000`` and on.

    Parameters
    ----------
    seed, number : int
        The first images of a longer series are those of a shorter one.
    specimens : int, optional
        Images 0, n, 2n ... show one specimen in one session: the same kind of film, thickness of
        carbon, voltage, aperture and grey scale; focus, dose and light differ a little. None: each
        image is a specimen of its own.
    **arguments
        Of `synth_em`.

    Raises
    ------
    InputError
        If `number` or `specimens` is not positive.
    """
    if number < 1 or (specimens is not None and specimens < 1):
        raise InputError(f"{number} images of {specimens} specimens: expected 1 or more")
    return _draw_set(seed, number, specimens, arguments)


def _draw_set(
    seed: int, number: int, specimens: int | None, arguments: Mapping[str, Any]
) -> Iterator[SynthEm]:
    for i in range(number):
        own = seed * 100_003 + i
        shared = {} if specimens is None else _session(seed, i % specimens, own, arguments)
        picture = synth_em(own, name=f"tem-{i:04d}", **{**arguments, **shared})
        yield picture if specimens is None else replace(picture, specimen=i % specimens)


def _session(seed: int, specimen: int, own: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Film and microscope of a specimen, as they were for its image `own`."""
    rng, shot = np.random.default_rng([seed, specimen, 0x5E]), np.random.default_rng([own, 0x5E])
    told = arguments.get("support")
    film = told if isinstance(told, Support) else Support.draw(rng, told)
    pixel_nm = draw_pixel(shot, arguments.get("pixel_size_nm", PIXEL_RANGE_NM))
    scope = arguments.get("microscope") or Microscope.draw(rng, pixel_nm)
    scope = replace(
        scope,
        defocus_nm=scope.defocus_nm * float(shot.uniform(0.5, 1.5)),
        dose_e_px=scope.dose_e_px * float(np.exp(shot.normal(0, 0.2))),
        gradient=(float(shot.normal(0, 0.04)), float(shot.normal(0, 0.04))),
    )
    return {"support": film, "microscope": scope, "pixel_size_nm": pixel_nm}


def write_em(
    pictures: Iterable[SynthEm],
    directory: str | os.PathLike[str],
    *,
    least_contrast: float | None = 0.0,
) -> list[Path]:
    """Write a folder of labelled images.

    - ``images/NAME.tif``: 8 or 16 bit, with the pixel size;
    - ``masks/NAME.png``: index into `CLASSES` per pixel, named in ``classes.toml``;
    - ``annotations/MASK/NAME.png``: 0 or 255, one folder per mask of `MASKS`; they overlap, and
      `read_class_masks` reads them;
    - ``instances/NAME.png``: 16 bit, number of the topmost flake;
    - ``groups.csv``: the specimen of each image, where several show the same;
    - ``images.csv``, and last ``truth.csv``, one row per flake.

    Parameters
    ----------
    pictures : iterable of SynthEm
    directory : path
        Made if absent.
    least_contrast : float or None
        Fainter flakes are not labelled, 255 in ``masks/`` and 128 in ``annotations/flake``; None:
        those that nobody sees, see `SynthEm.visible_contrast`.

    Returns
    -------
    list of Path
        The images, in order.

    Raises
    ------
    CannotWrite
        If there is no room or no permission.
    """
    root = Path(directory)
    for folder in ("images", "masks", "instances", *(f"annotations/{m}" for m in MASKS)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    paths, rows, flakes = [], [], []
    groups: list[tuple[object, ...]] = []
    for picture in pictures:
        path = root / "images" / f"{picture.micrograph.name}.tif"
        write_bytes(path, tiff_bytes(picture.micrograph))
        least = picture.visible_contrast if least_contrast is None else least_contrast
        _write_masks(root, path.stem, picture, least)
        paths.append(path)
        rows.append(_image_row(path.name, picture))
        flakes.extend(_flake_rows(path.name, picture))
        if picture.specimen is not None:
            groups.append((path.name, f"specimen-{picture.specimen}"))
    values = "".join(f"{name} = {value}\n" for value, name in enumerate(CLASSES))
    write_bytes(root / "classes.toml", f"[classes]\n{values}".encode())
    if groups:
        _write_table(root / "groups.csv", ("image", "group"), groups)
    _write_table(root / "images.csv", IMAGE_COLUMNS, rows)
    _write_table(root / "truth.csv", FLAKE_COLUMNS, flakes)
    return paths


def tiff_bytes(micrograph: Micrograph) -> bytes:
    """Grey TIFF with its pixel size, as ImageJ and layerscope read it; the same bytes each time.

    Raises
    ------
    InputError
        If the micrograph is not grey of 8 or 16 bit.
    """
    import tifffile

    data, size = micrograph.data, micrograph.require_scale()
    if data.ndim != 2 or data.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{data.dtype} {data.shape}: expected grey of 8 or 16 bit")
    stream = io.BytesIO()
    tifffile.imwrite(
        stream, data, imagej=True, resolution=(1 / size.x_nm, 1 / size.y_nm),
        metadata={"unit": "nm"}, compression="zlib",
    )  # fmt: skip
    return stream.getvalue()


def _write_masks(root: Path, name: str, picture: SynthEm, least_contrast: float) -> None:
    masks = (picture.flake_mask, picture.holes, picture.contamination, picture.folds)
    seen = picture.label_map_seen(least_contrast)
    for folder, mask in zip(MASKS, masks, strict=True):
        unseen = seen == IGNORE if folder == "flake" else None
        write_mask(root / "annotations" / folder / f"{name}.png", mask, unseen)
    write_bytes(root / "masks" / f"{name}.png", _png(seen))
    write_bytes(root / "instances" / f"{name}.png", _png(picture.instances.astype(np.uint16)))


def _image_row(name: str, picture: SynthEm) -> tuple[object, ...]:
    scope, size = picture.microscope, picture.micrograph.require_scale()
    masks = (picture.flake_mask, picture.holes, picture.contamination, picture.folds)
    shares = [round(float(mask.mean()), 6) for mask in masks]
    return (
        name, float(f"{size.x_nm:.6g}"), picture.support.kind, len(picture.flakes), *shares,
        scope.voltage_kv, round(scope.defocus_nm, 1), round(scope.dose_e_px, 1),
    )  # fmt: skip


def _flake_rows(name: str, picture: SynthEm) -> list[tuple[object, ...]]:
    area_nm2 = picture.micrograph.require_scale().x_nm ** 2
    rows: list[tuple[object, ...]] = []
    for i, (where, crop) in enumerate(picture.flakes):
        y, x = (float(v) for v in np.argwhere(crop).mean(axis=0))
        area_px = int(np.count_nonzero(crop))
        rows.append((
            name, i + 1, int(picture.n_layers[i]), int(picture.crumpled[i]),
            round(float(picture.contrast[i]), 4), area_px, round(area_px * area_nm2, 1),
            round(where[0].start + y, 2), round(where[1].start + x, 2),
        ))  # fmt: skip
    return rows


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    write_bytes(path, table.getvalue().encode())


def _png(data: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> bytes:
    done, encoded = cv2.imencode(".png", data)
    if not done:
        raise InputError(f"cannot write {data.dtype} {data.shape} as PNG")
    return encoded.tobytes()
