"""Layer numbers that a person gave: a CSV of points, or label images.

A table has one row per labelled flake: ``image,x,y,layers`` with x to the right and y downwards
in pixels of the full image. A label image (PNG or TIFF) has the size of its micrograph; the value
of a pixel is its number of layers, 0 where nothing was marked.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from layerscope.core.classes import THICK_VALUE, UNKNOWN_VALUE
from layerscope.core.results import BoolArray, Detections, FloatArray, IntArray
from layerscope.errors import InputError, UnreadableFile

_HEADINGS = {
    "image": ("image", "file", "filename", "file_name", "name", "micrograph"),
    "x": ("x", "x_px", "column", "col"),
    "y": ("y", "y_px", "row", "line"),
    "layers": ("layers", "layer", "n_layers", "layer_number", "n"),
}
_IMAGE_SUFFIXES = (".ome.tiff", ".ome.tif", ".jpeg", ".jpg", ".png", ".tiff", ".tif", ".bmp")
_MASK_SUFFIXES = (".png", ".tif", ".tiff")
_MOST_LAYERS = 200
_MOST_BYTES = 50_000_000
_MOST_PIXELS = 500_000_000
_REACH_PX = 5.0  # a click beside a narrow flake still means that flake
_MASK_SHARE = 0.5


@dataclass(frozen=True)
class Labels:
    """What a person says about some flakes.

    Attributes
    ----------
    image : tuple of str
        Per point: the micrograph it is on, as the table writes it.
    x_px, y_px : ndarray, (n,)
        Position, pixel centres at whole numbers.
    layers : ndarray of int, (n,)
        1 or more.
    masks : mapping of str to ndarray of int, (H, W)
        Name of a micrograph to its label image; 0 where nothing was marked.
    notes : tuple of str
        What was skipped and why, one line each.
    """

    image: tuple[str, ...]
    x_px: FloatArray
    y_px: FloatArray
    layers: IntArray
    masks: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image) + len(self.masks)

    def points_on(self, image: str) -> IntArray:
        """Positions in the table of the points on micrograph `image`."""
        return np.array(
            [i for i, name in enumerate(self.image) if same_image(name, image)], np.int64
        )

    def mask_of(self, image: str) -> npt.NDArray[np.uint8] | None:
        """Label image of micrograph `image`, or None."""
        found = [mask for name, mask in self.masks.items() if same_image(name, image)]
        return found[0] if found else None


@dataclass(frozen=True)
class AssignedLabels:
    """Labels of the regions of one image.

    Attributes
    ----------
    layers : ndarray of int, (n,)
        Per region: the layer number a person gave, 0 for none.
    notes : tuple of str
        Labels that hit no region or contradict each other, one line each.
    """

    layers: IntArray
    notes: tuple[str, ...] = ()


def read_labels(path: str | Path) -> Labels:
    """Read labels from a table, a label image, or a folder of label images.

    Parameters
    ----------
    path : str or Path
        CSV (comma, semicolon or tab; ``image,x,y,layers``), PNG or TIFF named like its
        micrograph, or a folder of such images.

    Raises
    ------
    UnreadableFile
        If the file is missing or not what its name says.
    InputError
        If a column is missing or no row can be used. A bad row is skipped and noted.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UnreadableFile(f"{path}: no such file or folder of labels")
    if path.suffix.casefold() in _MASK_SUFFIXES:
        return _masks_only({image_key(path.name): _read_mask(path)}, ())
    if path.stat().st_size > _MOST_BYTES:
        raise UnreadableFile(f"{path}: over {_MOST_BYTES // 1_000_000} MB, not a table of labels")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile(f"{path}: not UTF-8 text; expected CSV image,x,y,layers") from None
    return _parse_table(text, path.name)


def assign_labels(labels: Labels, image: str, detections: Detections) -> AssignedLabels:
    """Give each region the layer number that its labels say.

    Points go to the smallest region that holds them, else to the nearest within 5 px. A label
    image labels a region when half of the region carries one number. Regions whose labels
    contradict each other get the majority, or none on a tie, with a note.

    Parameters
    ----------
    labels : Labels
    image : str
        Name of the micrograph, with or without folder and suffix.
    detections : Detections
        Regions found on it, at the scale of the labels.
    """
    votes: dict[int, list[int]] = {}
    notes: list[str] = []
    for i in labels.points_on(image):
        x, y, layers = float(labels.x_px[i]), float(labels.y_px[i]), int(labels.layers[i])
        region = _region_at(x, y, detections)
        if region is None:
            notes.append(f"{image}: no region at x={x:g}, y={y:g} (labelled {layers} layers)")
        else:
            votes.setdefault(region, []).append(layers)
    assigned = np.zeros(len(detections), np.int64)
    mask = labels.mask_of(image)
    if mask is not None:
        assigned, told = _from_mask(mask, image, detections)
        notes += told
    for region, given in sorted(votes.items()):
        assigned[region], told = _majority(given, f"{image}: region {region + 1}")
        notes += told
    return AssignedLabels(assigned, tuple(notes))


def image_key(name: str) -> str:
    """Name without folder and image suffix."""
    bare = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    for suffix in _IMAGE_SUFFIXES:
        if bare.casefold().endswith(suffix):
            return bare[: -len(suffix)]
    return bare


def same_image(one: str, other: str) -> bool:
    """Whether two names mean one micrograph: folder, image suffix and case do not matter."""
    return image_key(one).casefold() == image_key(other).casefold()


def _parse_table(text: str, where: str) -> Labels:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        columns = _columns(next(rows, []), where)
        parsed = [(rows.line_num, _parse_row(row, columns)) for row in rows if any(row)]
    except csv.Error as error:
        raise UnreadableFile(f"{where}: not a table ({error})") from None
    good = [row for _, row in parsed if not isinstance(row, str)]
    notes = tuple(f"{where} line {n}: {row}, skipped" for n, row in parsed if isinstance(row, str))
    if not good:
        raise InputError(f"{where}: no usable row. {notes[0] if notes else 'The table is empty'}")
    image, x, y, layers = zip(*good, strict=True)
    return Labels(image, np.array(x), np.array(y), np.array(layers, np.int64), {}, notes)


def _columns(heading: list[str], where: str) -> dict[str, int]:
    names = [h.strip().casefold() for h in heading]
    found = {}
    for column, aliases in _HEADINGS.items():
        at = [names.index(a) for a in aliases if a in names]
        if not at:
            raise InputError(
                f"{where}: no column {column!r} (or {', '.join(aliases[1:])}) in "
                f"{names[:12]}; expected image,x,y,layers with x and y in px"
            )
        found[column] = at[0]
    return found


def _parse_row(row: list[str], columns: dict[str, int]) -> tuple[str, float, float, int] | str:
    """One label, or what is wrong with the row."""
    if len(row) <= max(columns.values()):
        return f"{len(row)} cells, expected {max(columns.values()) + 1}"
    cells = {name: row[at].strip() for name, at in columns.items()}
    if not cells["image"]:
        return "no image name"
    try:
        x, y, layers = (float(cells[name]) for name in ("x", "y", "layers"))
    except ValueError as error:
        return f"{error}".replace("could not convert string to float:", "not a number:")
    if not (0 <= x < 1e6 and 0 <= y < 1e6):
        return f"x={cells['x']}, y={cells['y']} is no position in px"
    if not (1 <= layers <= _MOST_LAYERS and layers.is_integer()):
        return f"layers={cells['layers']}, expected a whole number from 1 to {_MOST_LAYERS}"
    return cells["image"], x, y, int(layers)


def _read_folder(folder: Path) -> Labels:
    masks: dict[str, npt.NDArray[np.uint8]] = {}
    notes: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.casefold() not in _MASK_SUFFIXES or path.name.startswith("."):
            continue
        try:
            masks[image_key(path.name)] = _read_mask(path)
        except InputError as error:
            notes.append(f"{error}, skipped")
    if not masks:
        why = notes[0] if notes else "expected label images (PNG or TIFF) named like the images"
        raise InputError(f"{folder}: no usable label image. {why}")
    return _masks_only(masks, tuple(notes))


def _masks_only(masks: Mapping[str, npt.NDArray[np.uint8]], notes: tuple[str, ...]) -> Labels:
    none = np.zeros(0)
    return Labels((), none, none, np.zeros(0, np.int64), masks, notes)


def _read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read with Pillow: it keeps the indices of a palette image, which OpenCV turns to colours."""
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Stitched scans pass Pillow's own limit; ours below is the one that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    raise UnreadableFile(f"{path}: over {_MOST_PIXELS // 10**6} Mpx")
                mode, values = opened.mode, np.array(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"{path}: not a readable label image") from None
    if values.ndim != 2 or mode == "F":
        raise UnreadableFile(f"{path}: {mode} image, expected one channel with value = layers")
    used = np.unique(values)
    named = used[(used > 0) & (used != UNKNOWN_VALUE)]  # 0 and 255 alone are a binary mask
    odd = used[(used < 0) | (used > _MOST_LAYERS)]
    odd = odd[(odd != THICK_VALUE) & ((odd != UNKNOWN_VALUE) | (len(named) == 0))]
    if len(odd):
        raise UnreadableFile(
            f"{path}: value {int(odd[0])}, expected layer numbers up to {_MOST_LAYERS}, "
            f"{THICK_VALUE} for thick or {UNKNOWN_VALUE} for unknown"
        )
    return values.astype(np.uint8)


def _region_at(x: float, y: float, detections: Detections) -> int | None:
    """Smallest region that holds the point, else the nearest one within reach."""
    best: tuple[float, int, int] | None = None
    masks = detections.masks
    for i, ((top, left, bottom, right), crop) in enumerate(
        zip(masks.boxes.tolist(), masks.crops, strict=True)
    ):
        near_y = top - _REACH_PX <= y <= bottom + _REACH_PX
        if not (near_y and left - _REACH_PX <= x <= right + _REACH_PX):
            continue
        distance = _distance_px(y - top, x - left, crop)
        if distance <= _REACH_PX:
            candidate = (distance, int(masks.area_px[i]), i)
            best = candidate if best is None else min(best, candidate)
    return best[2] if best else None


def _distance_px(y: float, x: float, crop: BoolArray) -> float:
    """Distance from a point to the nearest pixel of `crop`; 0 inside."""
    row, column = round(y), round(x)
    inside = 0 <= row < crop.shape[0] and 0 <= column < crop.shape[1]
    if inside and crop[row, column]:
        return 0.0
    rows, columns = np.nonzero(crop)
    return float(np.sqrt(np.min((rows - y) ** 2 + (columns - x) ** 2)))


def _majority(given: list[int], where: str) -> tuple[int, list[str]]:
    values, counts = np.unique(given, return_counts=True)
    if len(values) == 1:
        return int(values[0]), []
    tie = np.count_nonzero(counts == counts.max()) > 1
    chosen = 0 if tie else int(values[counts.argmax()])
    said = " and ".join(str(v) for v in values)
    taken = "label not used" if tie else f"majority {chosen} used"
    return chosen, [f"{where} is labelled {said} layers: {taken}"]


def _from_mask(
    mask: npt.NDArray[np.uint8], image: str, detections: Detections
) -> tuple[IntArray, list[str]]:
    assigned = np.zeros(len(detections), np.int64)
    if mask.shape != detections.masks.shape:
        size = "{} x {}".format(*mask.shape)
        expected = "{} x {}".format(*detections.masks.shape)
        return assigned, [f"{image}: label image is {size} px, image {expected}: labels not used"]
    notes = []
    mask = np.where(mask == UNKNOWN_VALUE, 0, mask)
    for i, (where, crop) in enumerate(detections.masks):
        share = np.bincount(mask[where][crop], minlength=2) / np.count_nonzero(crop)
        winner = int(share[1:].argmax()) + 1
        if share[winner] >= _MASK_SHARE:
            assigned[i] = winner
        others = share[1:].sum() - share[winner]
        if others > 0.2:
            notes.append(
                f"{image}: region {i + 1} holds several labelled layer numbers "
                f"({share[winner]:.0%} {winner}): " + ("used" if assigned[i] else "label not used")
            )
    return assigned, notes
