"""Label pictures from elsewhere, to correct: a run of phases, or a folder of label pictures."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerscope.app.files import read_labels
from layerscope.errors import InputError, UnreadableFile
from layerscope.labelling.scribbles import Labels

_INSIDE = ("classes", "masks", "labels")
_SUFFIXES = (".png", ".tif", ".tiff")
_BACKGROUND = "background"


@dataclass(frozen=True)
class MaskFolder:
    """Label pictures by the stems of their names.

    Attributes
    ----------
    pictures : mapping of str to Path
    values : mapping of str to int
        Value of each class.
    """

    pictures: Mapping[str, Path]
    values: Mapping[str, int]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of their values; a background is only what is not labelled."""
        names = sorted(self.values, key=lambda name: self.values[name])
        return tuple(n for n in names if n != _BACKGROUND)

    def read(self, name: str, classes: Sequence[str]) -> Labels | None:
        """Labels of an image in the values of a project: 1 to K, 0 nobody knows.

        Parameters
        ----------
        name : str
            Of the image.
        classes : sequence of str
            Of the project.

        Returns
        -------
        ndarray of uint8, (H, W), or None
            None where there is no picture of that name.

        Raises
        ------
        InputError
            If the folder has a class that the project has not.
        """
        if name not in self.pictures:
            return None
        missing = [n for n in self.classes if n not in classes]
        if missing:
            raise InputError(
                f"the masks have the class {missing[0]!r}, the project {', '.join(classes)}; "
                f"start with --classes {','.join([*classes, *missing])}"
            )
        table = np.zeros(256, np.uint8)
        for k, known in enumerate(classes, 1):
            if known in self.values:
                table[self.values[known]] = k
        return table[read_labels(self.pictures[name])]


def open_masks(folder: Path) -> MaskFolder:
    """Find the label pictures in the folder of a run, of a project, or of label pictures.

    Raises
    ------
    UnreadableFile
        If there is no picture in it.
    InputError
        If nothing says which value is which class.
    """
    place = next((folder / n for n in _INSIDE if (folder / n).is_dir()), folder)
    inside = sorted(place.iterdir()) if place.is_dir() else []
    pictures = {p.stem: p for p in inside if p.suffix.casefold() in _SUFFIXES}
    if not pictures:
        raise UnreadableFile(
            f"{folder}: no label pictures; expected a run of phases, or a folder with masks/"
        )
    for root in (folder, folder.parent):
        values = _of_run(root / "run.json") or _of_table(root / "classes.toml")
        if values:
            return MaskFolder(pictures, values)
    raise InputError(
        f"{folder}: which value is which class? Write it into classes.toml beside the pictures: "
        "[classes] with lines such as flake = 1"
    )


def _of_run(path: Path) -> dict[str, int]:
    """Values as a run of phases has them: the positions of its model's classes."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
        return {str(n): i for i, n in enumerate(document["provenance"]["model"]["classes"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UnreadableFile(f"{path}: not the run.json of a run of phases") from None


def _of_table(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    try:
        named = tomllib.loads(path.read_text("utf-8-sig"))["classes"]
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFile(f"{path}: no [classes] in it ({error})") from None
    if isinstance(named, list):
        named = {name: value for value, name in enumerate(named)}
    if not all(type(v) is int and 0 <= v <= 255 for v in named.values()):
        raise InputError(f"{path}: expected values from 0 to 255")
    return dict(named)
