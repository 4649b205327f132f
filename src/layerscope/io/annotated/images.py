"""The images that labels belong to: where they are, how large they are, their pixels."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError, UnreadableFile
from layerscope.io import known_formats, read

LABEL_FOLDERS = ("masks", "labels", "instances", "annotations")
"""Folders beside ``images`` that hold labels and no images."""

_QUICK = (".jpg", ".jpeg", ".png", ".bmp")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class ImageIndex:
    """Image files below a folder, found by the names that labels use.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every image below the root, sorted; hidden files and folders of labels are left out."""
        suffixes = {s for f in known_formats() for s in f.extensions}
        found = (p for p in self.root.rglob("*") if p.suffix.casefold() in suffixes)
        return tuple(sorted(p for p in found if self._is_image(p)))

    def _is_image(self, path: Path) -> bool:
        parts = path.relative_to(self.root).parts
        labels = any(p.casefold() in LABEL_FOLDERS for p in parts[:-1])
        return path.is_file() and not labels and not any(p[0] == "." for p in parts)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            for key in {path.name.casefold(), path.stem.casefold()}:
                named[key].append(path)
        return named

    def find(self, name: str, beside: Path | None = None) -> Path:
        """Path of the image that labels call `name`.

        Parameters
        ----------
        name : str
            File name, with or without folders of this or another machine.
        beside : Path, optional
            Folder that relative names start from.

        Raises
        ------
        InputError
            If there is no such image, or there are several.
        """
        plain = unquote(name).replace("\\", "/")
        bare = PureWindowsPath(plain).name
        if beside is not None and bare and (direct := beside / plain).is_file():
            # Not resolved: a link into another folder must keep the name of its split.
            return Path(os.path.normpath(direct))
        for key in (bare.casefold(), bare.rpartition(".")[0].casefold()):
            found = self._by_name.get(key, [])
            near = [p for p in found if beside is not None and p.is_relative_to(beside)] or found
            if len(near) == 1:
                return near[0]
            if near:
                raise InputError(
                    f"{len(near)} images are called {bare!r}, e.g. {near[0]}, {near[1]}"
                )
        raise InputError(f"no image called {bare!r} in {self.root}")


def read_pixels(path: Path) -> npt.NDArray[Any]:
    """Image (H, W, C): 8-bit values as they are, others as float32 from 0 to 1 (white).

    Heights and other values without a white level are spread from the lowest to the highest.
    """
    return unit_pixels(read(path))


def image_facts(path: Path) -> tuple[tuple[int, int], float | None]:
    """Height and width, px, and the pixel size in nm where the file holds one.

    Of JPEG, PNG and BMP only the header is read; they have no pixel size to believe.

    Raises
    ------
    UnreadableFile
        If it is no image.
    """
    if path.suffix.casefold() not in _QUICK:
        micrograph = read(path)
        size = micrograph.pixel_size
        return micrograph.shape, None if size is None else 1e3 * size.um
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                width, height = opened.size
                turned = opened.getexif().get(0x0112) in _TURNED
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UnreadableFile(f"{path}: not a readable image; copy it again") from None
    return ((width, height) if turned else (height, width)), None


def unit_pixels(micrograph: Micrograph) -> npt.NDArray[Any]:
    """Pixels (H, W, C) of a micrograph as models see them; see `read_pixels`."""
    pixels = micrograph.data if micrograph.data.ndim == 3 else micrograph.data[:, :, None]
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    if micrograph.value_unit != "intensity" or values.min() < 0:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        return np.nan_to_num((values - low) / max(high - low, 1e-30)).astype(np.float32)
    return np.clip(values / np.float32(micrograph.white_level), 0, 1)
