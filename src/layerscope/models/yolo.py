"""One-stage networks of objects with masks, run by ONNX Runtime: ours, and a user's own export.

The graph takes ``images`` (1, 3, H, W), red, green, blue from 0 to 1, and answers with ``output0``
(1, 4 + classes + 32, places) and ``output1`` (1, 32, H/4, W/4): the layout in which YOLOv8-seg and
YOLO11-seg are exported. Ours has a card beside; of others the names of the classes are read from
the metadata entry ``names``.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Objects
from layerscope.core.results import FloatArray
from layerscope.errors import UnreadableFile
from layerscope.models.card import ModelCard
from layerscope.models.file import CARD_KEY, with_channels
from layerscope.models.letterbox import GREY, Letterbox
from layerscope.models.session import read_content, session_of
from layerscope.models.yolo_decode import (
    N_PROTOTYPES,
    Picking,
    draw_objects,
    read_candidates,
    suppress,
)
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise

USUAL_STRIDE = 32
_USUAL_SIDE_PX = 640
_LONGEST_TEXT = 100_000


@dataclass(frozen=True, eq=False)
class YoloModel:
    """A network of objects, ready to be asked.

    Attributes
    ----------
    name, sha256 : str
    path : Path
    classes : tuple of str
        Without a background.
    canvas : tuple of int or None
        The only input that the graph takes; None: any multiple of `stride`.
    side_px : int
        Longer side of an image in the input.
    stride : int
    normalisation : str
        One of `ops.normalisation.NORMALISATIONS`, of the scaled image.
    picking : Picking
    calibration : tuple of float
        Slope and shift of the logit of a score; ``(1, 0)`` leaves scores as they are.
    card : ModelCard or None
        None: not made by layerscope.
    """

    name: str
    sha256: str
    path: Path
    classes: tuple[str, ...]
    canvas: tuple[int, int] | None = None
    side_px: int = _USUAL_SIDE_PX
    stride: int = USUAL_STRIDE
    normalisation: str = "unit"
    picking: Picking = field(default_factory=Picking)
    calibration: tuple[float, float] = (1.0, 0.0)
    card: ModelCard | None = None
    session: Any = field(default=None, repr=False)

    def find(self, image: npt.NDArray[Any], picking: Picking | None = None) -> Objects:
        """Objects of an image, the most probable first; masks may overlap.

        Parameters
        ----------
        image : ndarray, (H, W) or (H, W, C)
            uint8, uint16, or floating point from 0 to 1; grey or RGB.
        picking : Picking, optional
            Default: the model's own.

        Returns
        -------
        Objects
            Scores are calibrated where the model was.

        Raises
        ------
        InputError
            If the image has neither one channel nor three.
        """
        place = self.place(image.shape[:2])
        answer, prototypes = self.ask(self.input_of(image, place))
        wanted = picking or self.picking
        candidates = read_candidates(answer, len(self.classes), wanted.least)
        found = draw_objects(suppress(candidates, wanted), prototypes, place)
        return replace(found, score=calibrated(found.score, self.calibration))

    def place(self, shape: Sequence[int]) -> Letterbox:
        """Where an image of `shape` lies in the input."""
        size = int(shape[0]), int(shape[1])
        if self.canvas is not None:
            return Letterbox.inside(size, self.canvas)
        return Letterbox.fit(size, self.side_px, self.stride)

    def input_of(self, image: npt.NDArray[Any], place: Letterbox) -> npt.NDArray[np.float32]:
        """Input (1, 3, H, W) of an image."""
        return network_input(image, place, self.normalisation)

    def ask(
        self, images: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Ask the graph itself; the answer and the prototypes of one image, without the batch."""
        wanted = self.session.get_inputs()[0]
        if wanted.type == "tensor(float16)":
            answers = self.session.run(None, {wanted.name: images.astype(np.float16)})
        else:
            answers = self.session.run(None, {wanted.name: images})
        flat, maps = (np.asarray(a[0], np.float32) for a in sorted(answers, key=lambda a: a.ndim))
        return flat, maps


def network_input(
    image: npt.NDArray[Any], place: Letterbox, normalisation: str
) -> npt.NDArray[np.float32]:
    """Input (1, 3, H, W) of an image (H, W) or (H, W, C) in its place."""
    pixels = image[..., None] if image.ndim == 2 else image
    scaled = place.shrink(pixels if pixels.dtype == np.uint8 else as_unit(pixels))
    seen = normalised(with_channels(scaled, 3), normalisation)
    framed = place.frame(seen, empty_of(normalisation))
    return np.ascontiguousarray(framed.transpose(2, 0, 1)[None])


def normalised(scaled: FloatImage, normalisation: str) -> FloatImage:
    """Scaled image as the network sees it."""
    return scaled if normalisation == "unit" else normalise(normalisation, np.clip(scaled, 0, 1))


def empty_of(normalisation: str) -> float:
    """Value of the pixels around an image."""
    return GREY if normalisation == "unit" else 0.0


def calibrated(score: FloatArray, calibration: tuple[float, float]) -> FloatArray:
    """Probabilities of scores: ``1 / (1 + exp(-(a logit(score) + b)))`` (Platt, 1999)."""
    if calibration == (1.0, 0.0):
        return score
    slope, shift = calibration
    inside = np.clip(score, 1e-6, 1 - 1e-6)
    return np.asarray(1 / (1 + np.exp(-(slope * np.log(inside / (1 - inside)) + shift))), float)


def read_yolo(path: str | os.PathLike[str], *, threads: int = 1) -> YoloModel:
    """Open a network of objects.

    Parameters
    ----------
    path : path
        ONNX: of `layerscope train domains`, or an export of YOLOv8-seg or YOLO11-seg.
    threads : int
        Processor threads of one image.

    Raises
    ------
    UnreadableFile
        If the file is missing, damaged, of another layout, or does not name its classes.
    """
    file = Path(path)
    content = read_content(file)
    session = session_of(content, file, threads)
    told = session.get_modelmeta().custom_metadata_map
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        if CARD_KEY in told:
            model = _of_card(ModelCard.from_json(told[CARD_KEY]), file, sha256)
        else:
            model = _of_metadata(told, file, sha256)
        canvas = _check_layout(session, len(model.classes))
    except UnreadableFile as reason:
        raise UnreadableFile(f"{file.name}: {reason}") from None
    return replace(model, canvas=canvas, session=session)


def _of_card(card: ModelCard, file: Path, sha256: str) -> YoloModel:
    if card.output != "objects":
        raise UnreadableFile(
            f"a model of {card.task} with output {card.output}; expected one that 'layerscope train"
            " domains' wrote"
        )
    told = card.settings
    slope, shift = (float(v) for v in told.get("calibration", (1.0, 0.0)))
    least = min(card.thresholds.values(), default=Picking().least)
    return YoloModel(
        card.name, sha256, file, card.classes, None, int(told.get("image_px", _USUAL_SIDE_PX)),
        card.stride, card.normalisation, Picking(least=float(least)), (slope, shift), card,
    )  # fmt: skip


def _of_metadata(told: Mapping[str, str], file: Path, sha256: str) -> YoloModel:
    names = _literal(told, "names")
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or sorted(names) != list(range(len(names))) or not names:
        raise UnreadableFile(
            "an ONNX file without a card; a YOLO export has its classes in the metadata 'names'"
        )
    stride, size = _literal(told, "stride"), _literal(told, "imgsz")
    side = max(size) if isinstance(size, list | tuple) and size else size
    return YoloModel(
        file.stem, sha256, file, tuple(str(names[i]) for i in range(len(names))),
        side_px=side if isinstance(side, int) and side > 0 else _USUAL_SIDE_PX,
        stride=stride if isinstance(stride, int) and stride > 0 else USUAL_STRIDE,
    )  # fmt: skip


def _literal(told: Mapping[str, str], key: str) -> Any:
    """Value of a metadata entry that is written as a Python literal; None if it is none."""
    text = told.get(key, "")
    if not text or len(text) > _LONGEST_TEXT:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _check_layout(session: Any, n_classes: int) -> tuple[int, int] | None:
    """Size of the only input that the graph takes, None if it takes others, too."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = sorted((o.shape for o in outputs), key=len)
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or [len(s) for s in shapes] != [3, 4]:
        raise UnreadableFile(
            f"outputs of shapes {shapes}: expected boxes (1, rows, places) and prototypes "
            "(1, 32, h, w); export without non-maximum suppression inside"
        )
    rows, channels, prototypes = shapes[0][1], inputs[0].shape[1], shapes[1][1]
    for what, has, wanted in (
        ("rows of boxes", rows, 4 + n_classes + N_PROTOTYPES),
        ("channels", channels, 3),
        ("prototypes", prototypes, N_PROTOTYPES),
    ):
        if isinstance(has, int) and has != wanted:
            raise UnreadableFile(f"{has} {what}: expected {wanted} for {n_classes} classes")
    height, width = inputs[0].shape[2:]
    fixed = isinstance(height, int) and isinstance(width, int)
    return (height, width) if fixed else None
