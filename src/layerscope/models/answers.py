"""Answers to questions about a whole picture, from a model file of the output ``"answers"``.

The graph takes the picture (1, C, S, S), or its features, and the scale, and gives a logit for each
of ``card.classes``. A softmax over the answers to one question gives its probabilities; training
has calibrated them, so that nothing is left to forget here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.categories import SCALES, Questionnaire
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError, UnreadableFile
from layerscope.models.card import ModelCard
from layerscope.models.file import Model, with_channels
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.ops.picture_features import N_FEATURES, picture_features
from layerscope.ops.whole_picture import inner_part, square_picture

IMAGE, FEATURES, SCALE, LOGITS = "image", "features", "scale", "logits"
"""Names of the inputs and the output of a graph."""


def questionnaire_of(card: ModelCard) -> Questionnaire:
    """Return what a model was trained to answer.

    Raises
    ------
    InputError
        If the model does something else.
    UnreadableFile
        If its card contradicts itself.
    """
    if card.task != "categories" or card.output != "answers":
        raise InputError(
            f"model {card.name!r} is for {card.task} ({card.output}); expected one from "
            "'layerscope train categories'"
        )
    content, size, kind = (card.settings.get(k) for k in ("questionnaire", "size_px", "scale"))
    if not isinstance(content, Mapping) or not isinstance(size, int) or kind not in SCALES:
        raise UnreadableFile(f"model {card.name!r}: its card does not say what is asked, and how")
    try:
        asked = Questionnaire.from_mapping(content)
    except InputError as reason:
        raise UnreadableFile(f"model {card.name!r}: {reason}") from None
    if asked.classes != card.classes:
        raise UnreadableFile(f"model {card.name!r}: its classes are not the answers it names")
    return asked


def ask_picture(
    model: Model, pixels: npt.NDArray[Any], scale: float, excluded: BoolArray | None = None
) -> tuple[FloatArray, ...]:
    """Probabilities of the answers to each question.

    Parameters
    ----------
    model : Model
        Of `questionnaire_of`. The probabilities of an ensemble are the mean of its members'.
    pixels : ndarray, (H, W) or (H, W, C)
        uint8, uint16, or floating point from 0 to 1.
    scale : float
        From `View.scale` of ``card.settings["scale"]``; NaN: unknown.
    excluded : ndarray of bool, (H, W), optional
        Not looked at.

    Returns
    -------
    tuple of ndarray, (answers,)
        One per question; each sums to 1.

    Raises
    ------
    InputError
        If the picture does not fit the model.
    UnreadableFile
        If the model takes features that this version does not measure.
    """
    asked, card = questionnaire_of(model.card), model.card
    image = with_channels(as_unit(pixels), card.channels)
    square = square_picture(image, card.settings["size_px"], excluded)
    feeds = _feeds(square, image.shape[:2], scale, model)
    answers = [m.session.run([LOGITS], feeds)[0][0].astype(float) for m in model.members]
    return tuple(np.mean([softmax(a[part]) for a in answers], axis=0) for part in asked.slices)


def _feeds(
    square: FloatImage, shape: tuple[int, int], scale: float, model: Model
) -> dict[str, FloatImage]:
    if model.card.input == "picture_features":
        taken = model.members[0].session.get_inputs()[0].shape[-1]
        if taken != N_FEATURES:
            raise UnreadableFile(
                f"model {model.card.name!r} takes {taken} features of a picture, this version "
                f"measures {N_FEATURES}: train it again"
            )
        return {FEATURES: picture_features(inner_part(square, shape), scale)[None]}
    seen = normalise(model.card.normalisation, square).transpose(2, 0, 1)[None]
    return {IMAGE: np.ascontiguousarray(seen), SCALE: np.array([scale], np.float32)}


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of logits (..., K)."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
