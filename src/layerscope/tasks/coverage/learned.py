"""Coverage by a trained model: ``--method model.onnx``.

Whole pictures are brought to the scale that the model was trained at, by the pixel size where both
are known, else by the short side. A regressor answers tiles that lie wholly inside the picture;
each pixel takes the mean of the tiles over it, so that every pixel counts once and nothing that is
no picture counts. (The study's code averaged tiles over mirrored and padded borders, a quarter of
the weight and more, and cut pictures of other sizes at another scale.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.coverage import Coverage, LabelMap
from layerscope.core.results import BoolArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.models.file import Model, read_model
from layerscope.models.shipped import model_path
from layerscope.models.tiling import resized
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import normalise
from layerscope.tasks.coverage.channels import film_channels
from layerscope.tasks.coverage.field import Field
from layerscope.tasks.coverage.request import Request

CLASSES = ("substrate", "film")
_ENDS = (0.5, 99.5)  # percentiles of heights that become black and white, as pictures show them
_Z95 = 1.96
_BATCH = 16
AskTiles = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
_THRESHOLD = 0.5
_UNSURE = (0.1, 0.9)
LEAST_UNSURE = 0.01
"""Added to the unsure share of a picture: a model that is sure of each pixel can be wrong too."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of one picture.

    Attributes
    ----------
    fraction : float
    film : ndarray of float32, (H, W)
        Probability of film, or the coverage of the tiles around.
    unsure : float
        Share of the valid pixels whose probability is between 0.1 and 0.9; 0 of a number.
    """

    fraction: float
    film: npt.NDArray[np.float32]
    unsure: float = 0.0


def find_by_model(field: Field, request: Request, path: str) -> Coverage:
    """Coverage by the model in the file `path`, or the shipped one.

    The interval is that of the model's error on whole pictures of specimens that it had not seen,
    wider where more of the pixels are unsure (`training.coverage_interval`).

    Raises
    ------
    InputError
        If the model was not trained for coverage.
    UnreadableFile
        If the file is no model.
    """
    model = open_model(path)
    size = request.pixel_size
    answer = ask(model, _picture(field), field.valid, None if size is None else 1e3 * size.um)
    maps = model.card.output != "fraction"
    labels = (answer.film > _THRESHOLD) if maps else np.zeros(field.valid.shape, bool)
    film = LabelMap((labels & field.valid).astype(np.uint8), CLASSES, field.valid)
    low, high, doubts = _interval(model, answer)
    name = Path(path).name
    return Coverage(
        answer.fraction, low, high, name, film, doubts=doubts,
        provenance={"model": name, "sha256": model.sha256, "mask": maps},
    )  # fmt: skip


def ask(
    model: Model, picture: FloatImage, valid: BoolArray, pixel_size_nm: float | None = None
) -> Answer:
    """Ask a model about a whole picture.

    Parameters
    ----------
    model : Model
        Of task ``coverage``.
    picture : ndarray of float32, (H, W, C)
        0 to 1.
    valid : ndarray of bool, (H, W)
        The others count in nothing.
    pixel_size_nm : float, optional
    """
    box = _box_of(valid)
    inner = _ask(model, picture[box], valid[box], pixel_size_nm)
    film = np.zeros(valid.shape, np.float32)
    film[box] = inner.film
    return Answer(inner.fraction, film, inner.unsure)


def _box_of(valid: BoolArray) -> tuple[slice, slice]:
    """Rows and columns that hold valid pixels: a border around a picture must not change it."""
    rows, columns = (np.flatnonzero(valid.any(axis=k)) for k in (1, 0))
    if not len(rows):
        raise InputError("no pixel has a value; nothing to take coverage of")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _ask(
    model: Model, picture: FloatImage, valid: BoolArray, pixel_size_nm: float | None
) -> Answer:
    card, shape = model.card, (picture.shape[0], picture.shape[1])
    patch = int(card.settings["patch_px"])
    least = patch if card.output == "fraction" else 1
    scaled = _trained_shape(shape, card.settings, least, pixel_size_nm)
    known = cv2.resize(valid.astype(np.uint8), scaled[::-1], interpolation=cv2.INTER_NEAREST) > 0
    if card.settings.get("reads") == "film":
        copy = film_channels(resized(picture, scaled), known)
    else:
        copy = resized(_with_channels(picture, card.channels), scaled)
    if card.output == "fraction":
        film = tile_mean(model.logits, normalise(card.normalisation, copy), patch)
        return Answer(float(film[known].mean()), resized(film[:, :, None], shape)[:, :, 0])
    film = resized(model.predict(copy), shape)[:, :, 0]
    seen = film[valid]
    unsure = np.mean((seen > _UNSURE[0]) & (seen < _UNSURE[1]))
    return Answer(float(np.mean(seen > _THRESHOLD)), film, float(unsure))


@lru_cache(maxsize=4)
def _opened(path: str, changed_ns: int) -> Model:
    return read_model(path)


def open_model(path: str) -> Model:
    """Open the model of coverage in `path`; the same file is read once.

    Raises
    ------
    InputError
        If it was trained for something else.
    UnreadableFile
        If it is missing or no model.
    """
    file = model_path(path)
    try:
        model = _opened(str(file), file.stat().st_mtime_ns)
    except OSError as error:
        raise UnreadableFile(f"cannot read model {path}: {error.strerror}") from None
    if model.card.task != "coverage" or "patch_px" not in model.card.settings:
        raise InputError(
            f"{Path(path).name} was trained for {model.card.task}, not by 'layerscope train "
            "coverage': give another model"
        )
    return model


def _picture(field: Field) -> FloatImage:
    """Values as a picture shows them, 0 to 1, (H, W, 1); unknown pixels are grey."""
    known = field.values[field.valid]
    low, high = (
        np.percentile(known, _ENDS) if field.is_height else np.array([0.0, field.white_level])
    )
    filled = np.where(field.valid, field.values, np.float32(np.median(known)))
    shown = np.clip((filled - low) / max(float(high - low), 1e-9), 0, 1)
    return shown.astype(np.float32)[:, :, None]


def _with_channels(picture: FloatImage, channels: int) -> FloatImage:
    if picture.shape[2] == channels:
        return picture
    grey = picture.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.ascontiguousarray(np.repeat(grey, channels, axis=2))


def _trained_shape(
    shape: tuple[int, int], settings: Any, least_px: int, pixel_size_nm: float | None
) -> tuple[int, int]:
    """Size of the picture at a scale that the model was trained at; at least `least_px`.

    Without pixel sizes all pictures get one short side: twice the scale then changes coverage by
    0.0015 at most (24 scans). Within a range of sides, as the model was trained, it was 0.04.
    """
    trained_nm, short = settings.get("pixel_size_nm"), min(shape)
    factor = float(settings["side_px"]) / short
    if trained_nm and pixel_size_nm:
        factor = pixel_size_nm / float(trained_nm)
    factor = max(factor, least_px / short)
    rows, columns = (max(least_px, round(n * factor)) for n in shape)
    return rows, columns


def tile_mean(ask: AskTiles, image: FloatImage, patch: int) -> npt.NDArray[np.float32]:
    """Mean over each pixel of the answers to all tiles that it lies in.

    Parameters
    ----------
    ask : callable
        Numbers (N, 1) of tiles (N, C, patch, patch).
    image : ndarray of float32, (H, W, C)
        Normalised; no side is shorter than a tile.
    patch : int
        Side of a tile, px.

    Returns
    -------
    ndarray of float32, (H, W)
        0 to 1.
    """
    rows, columns = image.shape[:2]
    places = [(y, x) for y in _starts(rows, patch) for x in _starts(columns, patch)]
    total = np.zeros((rows, columns), np.float32)
    count = np.zeros((rows, columns), np.float32)
    for first in range(0, len(places), _BATCH):
        some = places[first : first + _BATCH]
        tiles = np.stack([image[y : y + patch, x : x + patch].transpose(2, 0, 1) for y, x in some])
        values = np.clip(ask(np.ascontiguousarray(tiles))[:, 0], 0, 1)
        for (y, x), value in zip(some, values, strict=True):
            total[y : y + patch, x : x + patch] += value
            count[y : y + patch, x : x + patch] += 1
    return total / count


def _starts(side: int, patch: int) -> list[int]:
    """Place tiles that overlap by half at least, spread evenly from end to end."""
    gaps = -(-(side - patch) // (patch // 2))
    return [round(i * (side - patch) / gaps) for i in range(gaps + 1)] if gaps else [0]


def _interval(model: Model, answer: Answer) -> tuple[float, float, tuple[str, ...]]:
    metrics, fraction = model.card.metrics, answer.fraction
    reach = metrics.get("interval_reach")
    if reach is not None:
        half = float(reach) * (answer.unsure + LEAST_UNSURE)
        return max(0.0, fraction - half), min(1.0, fraction + half), ()
    rmse, n = metrics.get("held_out_rmse"), int(metrics.get("held_out_images", 0))
    if rmse is None:
        doubt = "the model was tried on no picture that it had not learned from: no interval"
        return 0.0, 1.0, (doubt,)
    half = _Z95 * float(rmse)
    doubts: tuple[str, ...] = ()
    if n < _FEW:
        doubts = (f"the model was tried on {n} unseen pictures only: its interval is rough",)
    return max(0.0, fraction - half), min(1.0, fraction + half), doubts


_FEW = 5
