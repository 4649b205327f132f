"""Labelled images of a questionnaire, at the size that a classifier sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from layerscope.core.categories import NOT_ASKED, SCALES, Questionnaire, View
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import FloatArray, IntArray
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import read
from layerscope.io.annotated.groups import group_images
from layerscope.io.annotated.images import ImageIndex, unit_pixels
from layerscope.io.label_sheets import LabelSheet, key_of
from layerscope.models.file import with_channels
from layerscope.ops.channels import FloatImage
from layerscope.ops.magnification import view_of
from layerscope.ops.normalisation import as_unit
from layerscope.ops.scale import mask_annotations, resolve_pixel_size
from layerscope.ops.whole_picture import inner_part, square_picture
from layerscope.training.seen import MOST_KEPT, fingerprint

_FEWEST = 4  # images with answers; fewer cannot be split and learned from
_COLOURED = 3 / 255  # grey pictures stored as JPEG differ by less between channels
SHEETS = (".csv", ".xlsx", ".xlsm")


@dataclass(frozen=True, eq=False)
class CategoryData:
    """What is learned from.

    Attributes
    ----------
    questionnaire : Questionnaire
        With answers that occur only.
    names, groups : tuple of str
    pictures : ndarray of float16, (n, S, S, C)
        From 0 to 1.
    shapes : ndarray of int, (n, 2)
        Rows and columns of the images: beside them the pictures are padded.
    scale_kind : str
        One of `SCALES`.
    scales : ndarray, (n,)
        NaN: unknown.
    targets : ndarray of int, (n, questions)
        Position of the answer, `NOT_ASKED` where there is none or the scale hides it.
    notes : tuple of str
        What was left out and why.
    seen : tuple of str
        `training.seen.fingerprints` of the files' pixels.
    """

    questionnaire: Questionnaire
    names: tuple[str, ...]
    groups: tuple[str, ...]
    pictures: npt.NDArray[np.float16]
    shapes: IntArray
    scale_kind: str
    scales: FloatArray
    targets: IntArray
    notes: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def specimens(self) -> int:
        """Number of different groups."""
        return len(set(self.groups))

    @property
    def channels(self) -> int:
        """Of the pictures."""
        return int(self.pictures.shape[3])

    @property
    def size_px(self) -> int:
        """Side of a picture."""
        return int(self.pictures.shape[1])

    @property
    def scale_range(self) -> tuple[float, float] | None:
        """Smallest and largest scale; None without any."""
        known = self.scales[np.isfinite(self.scales)]
        return (float(known.min()), float(known.max())) if len(known) else None

    def picture(self, row: int) -> FloatImage:
        """One picture (S, S, C), float32."""
        return self.pictures[row].astype(np.float32)

    def unpadded(self, row: int) -> FloatImage:
        """One picture without its padding (h, w, C), float32."""
        height, width = self.shapes[row].tolist()
        return inner_part(self.picture(row), (height, width))


@dataclass(frozen=True)
class Told:
    """What the user says of all images.

    Attributes
    ----------
    magnification : float or None
    pixel_size : str or None
        For example ``"0.52nm"``.
    group : str or None
        Regular expression that finds the specimen in a name.
    """

    magnification: float | None = None
    pixel_size: str | None = None
    group: str | None = None


class _Seen(NamedTuple):
    name: str
    pixels: FloatImage
    shape: tuple[int, int]
    view: View
    answers: tuple[int, ...]
    fingerprint: str


def find_sheet(folder: Path) -> Path:
    """Find the only label sheet in a folder.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    found = sorted(
        p for p in folder.glob("*")
        if p.suffix.casefold() in SHEETS and p.name != "groups.csv" and p.name[0] not in ".~"
    )  # fmt: skip
    if len(found) != 1:
        named = ", ".join(p.name for p in found) or "none"
        raise InputError(f"{folder}: {named}; expected one label sheet, or say which: --labels")
    return found[0]


def load_categories(
    folder: Path, sheet: LabelSheet, size_px: int, told: Told | None = None
) -> CategoryData:
    """Read the images that have answers.

    Parameters
    ----------
    folder : Path
        Images at any depth.
    sheet : LabelSheet
    size_px : int
        Side of the squares they are fitted into.
    told : Told, optional

    Raises
    ------
    InputError
        If fewer than four images have answers, or no question has two answers.
    """
    told, notes = told or Told(), []
    seen: list[_Seen] = []
    paths = ImageIndex(folder).paths
    _require_unique(paths, sheet)
    for path in paths:
        answers = sheet.of(path.name)
        if all(a == NOT_ASKED for a in answers):
            continue
        try:
            seen.append(_see(path, sheet, answers, size_px, told))
        except LayerscopeError as reason:
            notes.append(f"left out: {reason}")
    if len(seen) < _FEWEST:
        raise InputError(
            f"{folder}: {len(seen)} images with answers in {sheet.source}; expected {_FEWEST} or"
            " more, with the names of files in its first column"
        )
    groups, why = _groups([s.name for s in seen], sheet, folder, told.group)
    trimmed, targets, left_out = _targets(seen, sheet.questionnaire)
    kind = _scale_kind([s.view for s in seen])
    channels = 3 if any(_coloured(s.pixels) for s in seen) else 1
    pictures = np.stack([with_channels(s.pixels, channels) for s in seen]).astype(np.float16)
    return CategoryData(
        trimmed,
        tuple(s.name for s in seen),
        groups,
        pictures,
        np.array([s.shape for s in seen], np.int64),
        kind,
        np.array([s.view.scale(kind) for s in seen]),
        targets,
        (*notes, *why, *left_out),
        tuple(sorted({s.fingerprint for s in seen})[:MOST_KEPT]),
    )


def _require_unique(paths: Sequence[Path], sheet: LabelSheet) -> None:
    """Refuse a row that could mean two images."""
    there: dict[str, Path] = {}
    for path in paths:
        key = key_of(path.name)
        if key in there and key in sheet.answers:
            raise InputError(f"{there[key]} and {path} have one row; rename one of them")
        there[key] = path


def _see(path: Path, sheet: LabelSheet, answers: tuple[int, ...], size: int, told: Told) -> _Seen:
    image = read_view(path, told.pixel_size)
    known = sheet.magnifications.get(key_of(path.name), told.magnification)
    whole = unit_pixels(image)
    pixels = square_picture(as_unit(whole), size, image.excluded)
    view = view_of(image, path.name, known)
    return _Seen(path.name, pixels, image.shape, view, answers, fingerprint(whole))


def read_view(path: Path, pixel_size: str | None) -> Micrograph:
    """Read one image, find its pixel size, and leave out what is burnt into it."""
    return mask_annotations(resolve_pixel_size(read(path), pixel_size=pixel_size))


def _coloured(pixels: FloatImage) -> bool:
    if pixels.shape[2] != 3:
        return False
    return float(np.ptp(pixels.mean(axis=(0, 1)))) > _COLOURED


def _groups(
    names: Sequence[str], sheet: LabelSheet, folder: Path, pattern: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Specimen of each image: by pattern, by the sheet, or by ``groups.csv``."""
    stems = [Path(n).stem for n in names]
    if pattern is None and sheet.groups:
        told = [sheet.groups.get(key_of(n), "") for n in names]
        missing = told.count("")
        notes = (f"{missing} images have no specimen: each is its own",) if missing else ()
        return tuple(t or s for t, s in zip(told, stems, strict=True)), notes
    found = group_images(stems, [""] * len(stems), folder, pattern)
    return found.groups, found.notes


def _targets(
    seen: Sequence[_Seen], asked: Questionnaire
) -> tuple[Questionnaire, IntArray, list[str]]:
    """Answers that can be learned, and what cannot."""
    raw = np.array([s.answers for s in seen], np.int64)
    notes, kept, columns = [], [], []
    for q, question in enumerate(asked.questions):
        hidden = np.array([bool(question.why_hidden(s.view)) for s in seen])
        lost = hidden & (raw[:, q] != NOT_ASKED)
        said = question.answers
        real = lost & (raw[:, q] != (said.index("NA") if "NA" in said else NOT_ASKED))
        if real.any():
            notes.append(
                f"{question.name}: {int(real.sum())} answers at a magnification that cannot show "
                "it are left out; change its range in the questionnaire if they are right"
            )
        raw[lost, q] = NOT_ASKED
        there = sorted(set(raw[:, q]) - {NOT_ASKED})
        if len(there) < 2:
            notes.append(f"{question.name}: not learned, {len(there) or 'no'} answer occurs")
            kept.append(())
            continue
        never = [a for i, a in enumerate(said) if i not in there]
        if never:
            notes.append(f"{question.name}: never answered, never learned: {'; '.join(never)}")
        new = {old: k for k, old in enumerate(there)} | {NOT_ASKED: NOT_ASKED}
        columns.append([new[a] for a in raw[:, q]])
        kept.append(tuple(there))
    if not columns:
        raise InputError("no question has two different answers: label more images")
    return asked.keep(kept), np.array(columns, np.int64).T, notes


def _scale_kind(views: Sequence[View]) -> str:
    """Choose what of the scale most images have."""
    known = {k: sum(np.isfinite(v.scale(k)) for v in views) for k in SCALES[:2]}
    best = max(SCALES[:2], key=lambda k: known[k])
    return best if 2 * known[best] >= len(views) else "none"
