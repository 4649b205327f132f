"""What the page may ask: bodies of its requests, checked before anything is done."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Layer = Literal["scribbles", "corrections"]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StrokeAsked(_Asked):
    """A stroke; see `labelling.strokes.Stroke`."""

    layer: Layer
    value: int
    diameter: int
    points: list[int]


class ClearAsked(_Asked):
    """Erase all strokes of a layer."""

    layer: Layer


class AnswerAsked(_Asked):
    """A part of an image, in pixels of it, and the level at which it is shown."""

    source: Literal["strokes", "model"]
    top: int
    left: int
    bottom: int
    right: int
    level: int = Field(ge=0, le=8)
    client: str = Field(max_length=40)


class AcceptAsked(_Asked):
    """Which prediction is accepted."""

    source: Literal["strokes", "model", "labels"]


class ThresholdsAsked(_Asked):
    """Least probability per class."""

    thresholds: dict[str, float]


class ClassesAsked(_Asked):
    """Names and colours of all classes, in their order."""

    names: list[str]
    colours: list[str]


class ExportAsked(_Asked):
    """Format, and the class that everything else lies on."""

    kind: str
    ground: str
