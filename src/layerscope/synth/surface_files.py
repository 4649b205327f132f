"""Synthetic scans on disk: scans, pictures, masks of the truth, and one table."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.io.spm.gwyddion_files import write_gsf, write_gwy
from layerscope.synth.surface import SynthSurface
from layerscope.synth.surface_picture import AnnotatedPicture, annotated_picture

SURFACE_COLUMNS = (
    "image", "coverage", "n_layers_max", "step_nm", "offset_nm", "n_domains", "n_grains",
    "pixel_size_y_nm", "pixel_size_x_nm", "material", "substrate", "shape", "noise_nm",
)  # fmt: skip
PICTURE_COLUMNS = (
    "image", "coverage", "crop_top", "crop_left", "crop_bottom", "crop_right", "low_nm", "high_nm",
    "scale_bar_nm", "scale_bar_px", "pixel_size_x_nm", "colour_map", "theme",
)  # fmt: skip
FORMATS = ("gsf", "gwy", "npy")


def write_surfaces(
    surfaces: Iterable[SynthSurface], directory: str | os.PathLike[str], *, suffix: str = "gsf"
) -> list[Path]:
    """Write scans ``NAME.gsf``, layers ``layers/NAME.png`` and, last, ``truth.csv``.

    Parameters
    ----------
    surfaces : iterable of SynthSurface
    directory : path
        Made if absent.
    suffix : str
        ``gsf``, ``gwy`` (with the film as mask) or ``npy`` (float32 nm; knows no pixel size).

    Returns
    -------
    list of Path
        The scans, in order.

    Raises
    ------
    InputError
        If the format is not known; CannotWrite if there is no room.
    """
    if suffix not in FORMATS:
        raise InputError(f"format {suffix!r}: expected one of {', '.join(FORMATS)}")
    root = Path(directory)
    (root / "layers").mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for surface in surfaces:
        path = root / f"{surface.micrograph.name}.{suffix}"
        _write_scan(path, surface)
        write_bytes(root / "layers" / f"{path.stem}.png", _png(surface.layers))
        paths.append(path)
        rows.append(_row(path.name, surface))
    _write_table(root / "truth.csv", SURFACE_COLUMNS, rows)
    return paths


def write_pictures(
    surfaces: Iterable[SynthSurface],
    directory: str | os.PathLike[str],
    *,
    colour_map: str = "gold",
    theme: str = "dark",
) -> list[Path]:
    """Write ``NAME.png`` as an instrument exports it, levelled, and ``truth.csv``.

    Levelled means true heights with the white noise of the scan: whoever exports a picture has
    taken the background out by hand.

    Returns
    -------
    list of Path
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for surface in surfaces:
        picture = annotated_picture(_flat(surface), colour_map=colour_map, theme=theme)
        path = root / f"{surface.micrograph.name}.png"
        write_bytes(path, _png(picture.rgb))
        paths.append(path)
        rows.append(_picture_row(path.name, surface, picture))
    _write_table(root / "truth.csv", PICTURE_COLUMNS, rows)
    return paths


def _flat(surface: SynthSurface) -> Micrograph:
    rng = np.random.default_rng([surface.layers.size, int(surface.layers.sum())])
    noise = surface.artefacts.noise_nm * rng.standard_normal(surface.layers.shape)
    data = (surface.heights_nm + noise).astype(np.float32)
    return replace(surface.micrograph, data=data)


def _write_scan(path: Path, surface: SynthSurface) -> None:
    if path.suffix == ".gsf":
        write_gsf(path, surface.micrograph)
    elif path.suffix == ".gwy":
        write_gwy(path, surface.micrograph, {surface.micrograph.name: surface.layers > 0})
    else:
        stream = io.BytesIO()
        np.save(stream, surface.micrograph.data, allow_pickle=False)
        write_bytes(path, stream.getvalue())


def _row(name: str, surface: SynthSurface) -> tuple[object, ...]:
    size = surface.micrograph.require_scale()
    return (
        name, surface.coverage, int(surface.layers.max()), surface.step_nm, surface.offset_nm,
        surface.n_domains, len(np.unique(surface.grains[surface.grains > 0])), size.y_nm, size.x_nm,
        surface.material, surface.substrate.name, surface.habit.shape, surface.artefacts.noise_nm,
    )  # fmt: skip


def _picture_row(name: str, surface: SynthSurface, picture: AnnotatedPicture) -> tuple[object, ...]:
    bar_px = picture.scale_bar[3] - picture.scale_bar[1]
    return (
        name, surface.coverage, *picture.crop, picture.low_nm, picture.high_nm,
        picture.scale_bar_nm, bar_px, picture.pixel_size.x_nm, picture.colour_map, picture.theme,
    )  # fmt: skip


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    write_bytes(path, table.getvalue().encode())


def _png(data: npt.NDArray[np.uint8]) -> bytes:
    done, encoded = cv2.imencode(".png", data[..., ::-1] if data.ndim == 3 else data)
    if not done:
        raise InputError(f"cannot write {data.shape} as PNG")
    return encoded.tobytes()
