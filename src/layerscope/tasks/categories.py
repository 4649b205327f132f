"""Answer the questions of a questionnaire about a micrograph, by a trained model."""

from __future__ import annotations

from layerscope.core.categories import NA, UNKNOWN, Answered, Question, View
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.io.annotated.images import unit_pixels
from layerscope.models.answers import ask_picture, questionnaire_of
from layerscope.models.card import ModelCard
from layerscope.models.file import Model

UNKNOWN_BELOW = 0.5
"""A less probable answer is `UNKNOWN`, unless the model's card or the user says otherwise."""

_BEYOND = 2.0  # times outside of the magnifications of the training images


def answer_questions(
    image: Micrograph, view: View, model: Model, unknown_below: float | None = None
) -> tuple[Answered, ...]:
    """Answer what can be answered at the scale of the image.

    Parameters
    ----------
    image : Micrograph
        Burnt-in bars and text that it excludes are not looked at.
    view : View
    model : Model
        Of the task ``categories``.
    unknown_below : float, optional
        Least probability of an answer, 0 to 1; default that of the model.

    Returns
    -------
    tuple of Answered
        One per question of the model: an answer, `NA` where the question is not put, or `UNKNOWN`.

    Raises
    ------
    InputError
        If the model is of another task, or image and model do not fit.
    """
    asked = questionnaire_of(model.card)
    least = least_probability(model.card, unknown_below)
    scale = view.scale(str(model.card.settings["scale"]))
    probabilities = ask_picture(model, unit_pixels(image), scale, image.excluded)
    return tuple(
        _answered(question, view, given, least)
        for question, given in zip(asked.questions, probabilities, strict=True)
    )


def least_probability(card: ModelCard, told: float | None) -> float:
    """Least probability of an answer: told by the user, or as in the card.

    Raises
    ------
    InputError
        If it is not between 0 and 1.
    """
    value = card.settings.get("unknown_below", UNKNOWN_BELOW) if told is None else told
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"unknown below {value}: expected a probability from 0 to 1")
    return float(value)


def _answered(question: Question, view: View, given: FloatArray, least: float) -> Answered:
    if hidden := question.why_hidden(view):
        return Answered(question.name, NA, hidden)
    told = tuple(zip(question.answers, map(float, given), strict=True))
    best, probability = max(told, key=lambda pair: pair[1])
    if probability < least:
        why = f"most probable is {best!r} with {probability:.2f}, less than {least:g}"
        return Answered(question.name, UNKNOWN, why, told)
    return Answered(question.name, best, "", told)


def doubt_scale(view: View, card: ModelCard) -> tuple[str, ...]:
    """Say what is wrong with the scale of an image for a model, one line each."""
    kind, limits = str(card.settings["scale"]), card.settings.get("scale_range")
    if kind == "none" or not isinstance(limits, list | tuple):
        return ()
    shown, word = view.scale(kind), kind.replace("_", " ")
    if not shown > 0:
        return (f"{word} unknown: every question is put, and the model answers without it",)
    low, high = (float(v) for v in limits)
    if low / _BEYOND <= shown <= high * _BEYOND:
        return ()
    return (f"the {word} is outside of that of the training images: answers may be wrong",)
