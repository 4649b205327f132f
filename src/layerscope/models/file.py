"""One file, one model: an ONNX graph with its card inside, run by ONNX Runtime without torch.

Nothing in the file is executed but the operators of the graph. A pickle (``.pt``, ``.pth``,
``.pkl``) is refused: loading one runs whatever code its author put in.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError, UnreadableFile
from layerscope.models.card import ModelCard
from layerscope.models.pixel_forest import ask_forest
from layerscope.models.tiling import map_image, resized
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise

CARD_KEY = "layerscope.card"
"""Where in the ONNX metadata the card is."""

_MOST_BYTES = 2_000_000_000  # what one protobuf message can hold
_LARGEST_STRETCH = 8.0
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its card, ready to be asked.

    Attributes
    ----------
    card : ModelCard
    sha256 : str
        Of the file.
    path : Path
    """

    card: ModelCard
    sha256: str
    path: Path
    _session: Any = field(repr=False)

    def predict(self, image: npt.NDArray[Any], pixel_size_nm: float | None = None) -> FloatImage:
        """Ask the network about every pixel of an image.

        Parameters
        ----------
        image : ndarray, (H, W) or (H, W, C)
            uint8, uint16, or floating point from 0 to 1, of any size. Grey becomes three equal
            channels, colour its mean, where the model wants the other.
        pixel_size_nm : float, optional
            The image is resampled to the range the model was trained at, where both are known.

        Returns
        -------
        ndarray of float32, (H, W, K)
            One map per name of ``card.classes``: probabilities, or shares, from 0 to 1.

        Raises
        ------
        InputError
            If the image does not fit the model.
        """
        pixels = _with_channels(as_unit(image), self.card.channels)
        shape = pixels.shape[:2]
        pixels = resized(pixels, _trained_shape(shape, pixel_size_nm, self.card))
        return resized(self._maps(normalise(self.card.normalisation, pixels)), shape)

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ask the graph itself about a normalised batch (N, C, H, W) or (n, features)."""
        answer: npt.NDArray[np.float32] = self._session.run(
            None, {self._session.get_inputs()[0].name: batch}
        )[0]
        return answer

    def _maps(self, image: FloatImage) -> FloatImage:
        if self.card.input == "pixel_features":
            return ask_forest(image, self.logits, str(self.card.settings.get("features", "scales")))
        return map_image(
            image,
            self._answer,
            stride=self.card.stride,
            margin_px=self.card.margin_px,
            tile_px=self.card.tile_px,
        )

    def _answer(self, window: FloatImage) -> FloatImage:
        maps = self.logits(np.ascontiguousarray(window.transpose(2, 0, 1)[None]))[0]
        return np.ascontiguousarray(_activated(maps, self.card.output).transpose(1, 2, 0))


def _activated(logits: FloatImage, output: str) -> FloatImage:
    """Probabilities (K, H, W) of logits (K, H, W)."""
    if output == "classes":
        raised = np.exp(logits - logits.max(axis=0))
        return np.asarray(raised / raised.sum(axis=0))
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


def _with_channels(image: FloatImage, channels: int) -> FloatImage:
    has = image.shape[2]
    if has == channels:
        return image
    if has == 1 and channels == 3:
        return np.repeat(image, 3, axis=2)
    if has == 3 and channels == 1:
        return image.mean(axis=2, keepdims=True)
    raise InputError(f"an image of {has} channels for a model of {channels}; choose channels")


def _trained_shape(
    shape: tuple[int, int], pixel_size_nm: float | None, card: ModelCard
) -> tuple[int, int]:
    """Size of the image at the nearest pixel size that the model was trained at."""
    if pixel_size_nm is None or card.pixel_size_nm is None:
        return shape
    if not pixel_size_nm > 0:
        raise InputError(f"pixel size {pixel_size_nm} nm: expected a positive number")
    wanted = float(np.clip(pixel_size_nm, *card.pixel_size_nm))
    factor = pixel_size_nm / wanted
    if factor > _LARGEST_STRETCH:
        raise InputError(
            f"{pixel_size_nm:g} nm a pixel is {factor:.0f} times coarser than {card.name!r} was"
            f" trained at ({wanted:g} nm); take the image at a higher magnification"
        )
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def read_model(path: str | os.PathLike[str], *, threads: int = 1) -> Model:
    """Open a model file.

    Parameters
    ----------
    path : path
        ONNX, written by `training.export.export_model` or `layerscope train`.
    threads : int
        Processor threads that one prediction uses; runs over many images use processes instead.

    Raises
    ------
    UnreadableFile
        If the file is missing, damaged, a pickle, ONNX without a card, or of a newer version.
    """
    file = Path(path)
    content = _content(file)
    session = _session(content, file, threads)
    found = session.get_modelmeta().custom_metadata_map
    if CARD_KEY not in found:
        raise UnreadableFile(
            f"{file.name}: an ONNX file without a card; expected one that layerscope wrote"
        )
    try:
        card = ModelCard.from_json(found[CARD_KEY])
    except UnreadableFile as reason:
        raise UnreadableFile(f"{file.name}: {reason}") from None
    return Model(card, hashlib.sha256(content).hexdigest(), file, session)


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{file.name}: over {_MOST_BYTES / 1e9:g} GB; no model is")
        content = file.read_bytes()
    except OSError as reason:
        raise UnreadableFile(f"cannot read model {file}: {reason.strerror}") from None
    if content.startswith(_PICKLES):
        raise UnreadableFile(
            f"{file.name}: a pickle or archive, which could run code of its author; convert the"
            " weights to .safetensors or ONNX where you trust them"
        )
    return content


def _session(content: bytes, file: Path, threads: int) -> Any:
    try:
        return open_session(content, threads)
    except Exception as reason:  # ONNX Runtime's classes of errors have no common public parent
        raise UnreadableFile(
            f"{file.name}: no model that ONNX Runtime can open ({type(reason).__name__});"
            " truncated, or of another type"
        ) from None


def open_session(content: bytes, threads: int = 1) -> Any:
    """Open an ONNX graph on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    # The arena never returns memory: a 4096 x 4096 image would keep its largest window's forever.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
