"""Where masks come from: which files belong to which image, and what they say of its classes."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.io.annotated.label_pictures import read_values
from layerscope.io.ilastik.exports import HDF5_SUFFIXES, kind_of, read_numbers, read_probabilities
from layerscope.io.ilastik.project import IlastikProject, read_project
from layerscope.io.labels import image_key
from layerscope.labelling.ilastik import classify

DEFAULT_THRESHOLD = 0.7
EXPORTS = ("Probabilities", "Labels", "Simple Segmentation")
PROJECT_SUFFIX = ".ilp"
PICTURES = (".png", ".tif", ".tiff", ".bmp")
_ENDINGS = ("_probabilities", "_mask", "_masks", "_label", "_labels", "_seg", "-mask", "-label")
_UNLABELLED = 255


@dataclass(frozen=True)
class MaskSource:
    """A folder of masks.

    Attributes
    ----------
    folder : Path
        Or a project of ilastik (``.ilp``), whose forest says what every image shows.
    name : str
        The one class that it shows; empty: several, told apart by number.
    number : int
        Of that class in files of several: label, or channel counted from 1.
    kind : str
        Which exports of ilastik, one of `EXPORTS`; empty: those that are there, if of one kind.
    """

    folder: Path
    name: str = ""
    number: int = 1
    kind: str = ""

    def files(self) -> dict[str, Path]:
        """File of each image by the name it is paired by, in lower case.

        Exports of ilastik count alone where there are any: the images often lie beside them.

        Raises
        ------
        InputError
            If there is no folder, or two files are called after one image.
        """
        if self.folder.suffix.casefold() == PROJECT_SUFFIX and self.folder.is_file():
            return _Project(self.folder)
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no folder of masks, and no project of ilastik")
        inside = [p for p in sorted(self.folder.rglob("*")) if p.name[0] != "."]
        found: dict[str, Path] = {}
        for path in self._exports(inside) or [
            p for p in inside if p.suffix.casefold() in PICTURES and p.is_file()
        ]:
            key = pair_name(path).casefold()
            if key in found:
                raise InputError(
                    f"{found[key].name} and {path.name} in {self.folder} are called after one "
                    "image; keep one of them"
                )
            found[key] = path
        return found

    def _exports(self, inside: Sequence[Path]) -> list[Path]:
        of_kind = {
            kind: [p for p in inside if kind_of(p)[1] == kind] for kind in EXPORTS
        }  # fmt: skip
        there = [kind for kind, paths in of_kind.items() if paths]
        if self.kind:
            return of_kind[self.kind]
        if len(there) > 1:
            raise InputError(f"{self.folder} holds {' and '.join(there)}; say which with --export")
        return of_kind[there[0]] if there else []


class _Project(dict[str, Path]):
    """A project stands for the masks of any image."""

    def __init__(self, path: Path):
        self._path = path

    def get(self, key: str, default: Any = None) -> Path:
        return self._path


@dataclass(frozen=True)
class Thresholds:
    """Least probabilities: for all, for a class, for a class of one image; the narrowest counts.

    Attributes
    ----------
    default : float
    of_class : mapping of str to float
    of_image : mapping of (str, str) to float
        By the name of the image in lower case, and the class.
    """

    default: float = DEFAULT_THRESHOLD
    of_class: Mapping[str, float] = field(default_factory=dict)
    of_image: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in (self.default, *self.of_class.values(), *self.of_image.values()):
            if not 0 < value <= 1:
                raise InputError(f"threshold {value:g}: expected over 0, to 1")

    def of(self, image: str, name: str) -> float:
        """Threshold of the class `name` in one image."""
        known = self.of_class.get(name, self.default)
        return self.of_image.get((image.casefold(), name), known)


@dataclass(frozen=True, eq=False)
class Told:
    """What the masks of one image say, at their own size.

    Attributes
    ----------
    labels : ndarray of bool, (H, W, K), or None
    known : ndarray of bool, (H, W), or None
        Of `labels`.
    probability : ndarray of float32, (H, W, K), or None
        Instead of labels.
    """

    labels: BoolArray | None = None
    known: BoolArray | None = None
    probability: npt.NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        one = self.labels if self.labels is not None else self.probability
        assert one is not None
        return one.shape[0], one.shape[1]


def pair_name(path: Path) -> str:
    """Name of the image that a file belongs to: its stem without what programs append."""
    if path.suffix.casefold() in HDF5_SUFFIXES:
        return kind_of(path)[0]
    stem = image_key(path.name)
    ending = next((e for e in _ENDINGS if stem.casefold().endswith(e)), "")
    return stem[: len(stem) - len(ending)] or stem


def read_told(
    source: MaskSource, path: Path, numbers: Mapping[str, int], image: npt.NDArray[Any]
) -> Told:
    """Read what one file says of an image.

    Parameters
    ----------
    source : MaskSource
    path : Path
        Probabilities (``*_Probabilities.h5``), labels of ilastik, or a picture.
    numbers : mapping of str to int
        Class to label, in the order of the classes; of a source of one class only its own.
    image : ndarray, (H, W) or (H, W, 3)
        As it is stored; the forest of a project is asked about it.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    if path.suffix.casefold() == PROJECT_SUFFIX:
        return _of_maps(source, path, numbers, classify(_project(path), image))
    if kind_of(path)[1] == "Probabilities":
        return _of_maps(source, path, numbers, read_probabilities(path))
    if source.name and path.suffix.casefold() in PICTURES:
        return _of_binary(path)
    of_ilastik = path.suffix.casefold() in HDF5_SUFFIXES
    values = read_numbers(path) if of_ilastik else read_values(path)
    wanted = [source.number] if source.name else list(numbers.values())
    void = 0 if of_ilastik else _UNLABELLED
    if void in wanted:
        void = -1
    masks = np.stack([values == v for v in wanted], axis=-1)
    known = np.asarray(values != void if source.name else masks.any(axis=2))
    stray = sorted({int(v) for v in np.unique(values)} - {*wanted, void, 0})
    if stray and not source.name:
        raise InputError(
            f"{path.name}: values {', '.join(map(str, stray[:8]))} are no class; name them with "
            f"--classes, e.g. {stray[0]}=flake"
        )
    return Told(masks, known)


@functools.lru_cache(maxsize=1)
def _project(path: Path) -> IlastikProject:
    return read_project(path)


def _of_maps(
    source: MaskSource, path: Path, numbers: Mapping[str, int], found: npt.NDArray[np.float32]
) -> Told:
    wanted = [source.number] if source.name else list(numbers.values())
    if max(wanted) > found.shape[2] or min(wanted) < 1:
        raise InputError(
            f"{path.name}: {found.shape[2]} classes; there is none of number {max(wanted)}"
        )
    return Told(probability=np.ascontiguousarray(found[..., [n - 1 for n in wanted]]))


def _of_binary(path: Path) -> Told:
    """Mask of one class: 0 and 1, or dark and bright with a grey between that nobody knows."""
    values = read_values(path)
    if values.max(initial=0) <= 1:
        mask, known = values == 1, np.ones(values.shape, bool)
    else:
        mask, known = values >= 192, (values < 64) | (values >= 192)
    return Told(np.asarray(mask)[..., None], np.asarray(known))


def read_thresholds(path: Path) -> dict[tuple[str, str], float]:
    """Thresholds of single images from a table ``image,class,threshold``.

    Raises
    ------
    InputError
        If it has other columns, or a threshold is no number.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), skipinitialspace=True))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path}: not readable as UTF-8 text ({error})") from None
    if not rows or not {"image", "class", "threshold"} <= set(rows[0]):
        raise InputError(f"{path}: expected the columns image,class,threshold and a row or more")
    found = {}
    for number, row in enumerate(rows, 2):
        try:
            value = float(row["threshold"])
        except (TypeError, ValueError):
            raise InputError(f"{path}, line {number}: {row['threshold']!r} is no number") from None
        found[image_key(row["image"]).casefold(), row["class"]] = value
    return found


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def class_order(numbers: Mapping[str, int], sources: Sequence[MaskSource]) -> tuple[str, ...]:
    """Names of the classes: those with numbers, then those of folders of one class.

    Raises
    ------
    InputError
        If there is none, or a name stands for two.
    """
    single = [s.name for s in sources if s.name]
    several = any(not s.name for s in sources)
    names = (*(numbers if several else ()), *single)
    if not names:
        raise InputError("no class is named: give --classes 1=film,2=flake or --masks flake=FOLDER")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"class {twice[0]!r} comes from two folders; give each its own name")
    return names
