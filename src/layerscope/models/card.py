"""What a model file says about itself: the card, kept as JSON inside the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from layerscope.errors import InputError, UnreadableFile
from layerscope.ops.normalisation import NORMALISATIONS
from layerscope.ops.pixel_features import FEATURE_SETS

FORMAT = "layerscope-model"
VERSION = 1

TASKS = ("phases", "flakes", "domains", "coverage", "categories")
OUTPUTS = ("classes", "labels", "instances", "fraction", "answers", "objects")
INPUTS = ("image", "pixel_features", "picture_features")

LARGEST_WINDOW_PX = 1536
"""Side of the largest window that is given to a network at once, if the card names no other."""


@dataclass(frozen=True)
class TrainingSet:
    """One source of labelled images.

    Attributes
    ----------
    name, licence, attribution : str
        Who made the images and on what terms; empty where the user did not say.
    images, groups : int
        Images, and the specimens they are of.
    seen : tuple of str
        Fingerprints of the images that taught it, `training.seen.fingerprints`; so that an
        evaluation can leave them out.
    """

    name: str
    licence: str = ""
    attribution: str = ""
    images: int = 0
    groups: int = 0
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a model to run it and to believe it.

    Attributes
    ----------
    name : str
        For people.
    task : str
        One of `TASKS`.
    output : str
        ``"classes"``: probabilities that sum to 1; ``"labels"``: one independent probability per
        map; ``"instances"``: foreground, boundary and depth; ``"fraction"``: a share from 0 to 1;
        ``"answers"``: to several questions about a whole picture, see `models.answers`;
        ``"objects"``: boxes with a class and a mask, see `models.yolo`.
    classes : tuple of str
        Name of each output map, in order; of ``"classes"`` the first is the background.
    channels : int
        Channels of the image, 1 to 4.
    normalisation : str
        One of `ops.normalisation.NORMALISATIONS`.
    input : str
        ``"image"``: the graph takes (N, channels, H, W) and answers with logits;
        ``"pixel_features"``: it takes (n, features) and answers with probabilities;
        ``"picture_features"``: it takes those of `ops.picture_features` and answers with logits.
    features : str
        Which of `ops.pixel_features.FEATURE_SETS`, of ``"pixel_features"``.
    pixel_size_nm : tuple of float, optional
        Smallest and largest pixel size it was trained at; None: pixel sizes were not known.
    stride : int
        Height and width that the graph takes are multiples of it.
    margin_px : int, optional
        How far from a pixel its answer may depend on the image; None: on all of it.
    tile_px : int
        Side of the largest window that is given to the graph at once. Windows of larger images
        give the same numbers if `margin_px` is at most a third of it.
    smoothing_px : int
        Of ``"pixel_features"``: radius of `ops.guided.guided_maps` over the whole image's answer.
    thresholds : mapping of str to float
        Per name of `classes`, for ``"labels"`` and ``"instances"``.
    network : str
        Name in `training.networks`, or what else the graph is.
    parameters : int
        Numbers learned.
    precision : str
        ``"fp32"`` or ``"fp16"``: how weights are stored. Arithmetic is in fp32.
    trained_on : tuple of TrainingSet
    metrics : mapping
        Held-out figures by name.
    settings : mapping
        How it was trained.
    made_with : mapping of str to str
        Versions of what made it.
    """

    name: str
    task: str
    output: str
    classes: tuple[str, ...]
    channels: int = 3
    normalisation: str = "unit"
    input: str = "image"
    features: str = "scales"
    pixel_size_nm: tuple[float, float] | None = None
    stride: int = 1
    margin_px: int | None = None
    tile_px: int = LARGEST_WINDOW_PX
    smoothing_px: int = 0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    network: str = ""
    parameters: int = 0
    precision: str = "fp32"
    trained_on: tuple[TrainingSet, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("task", self.task, TASKS),
            ("output", self.output, OUTPUTS),
            ("input", self.input, INPUTS),
            ("features", self.features, FEATURE_SETS),
            ("precision", self.precision, ("fp32", "fp16")),
            ("normalisation", self.normalisation, tuple(NORMALISATIONS)),
        ):
            if value not in known:
                raise InputError(f"card: {name} {value!r}; expected {', '.join(known)}")
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(f"card: classes {list(self.classes)}; expected different names")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not 1 <= self.channels <= 4:
            raise InputError(f"card: {self.channels} channels; expected 1 to 4")
        if self.stride < 1 or self.tile_px < 64 or (self.margin_px or 0) < 0:
            raise InputError("card: stride from 1, tile_px from 64 and margin_px from 0 expected")
        if self.smoothing_px < 0 or (self.smoothing_px and self.input != "pixel_features"):
            raise InputError("card: smoothing_px from 0 expected, and for pixel features only")
        size = self.pixel_size_nm
        if size is not None and not 0 < size[0] <= size[1] < math.inf:
            raise InputError(f"card: pixel_size_nm {list(size)}; expected smallest and largest")
        for name, value in self.thresholds.items():
            if name not in self.classes or not 0 <= value <= 1:
                raise InputError(f"card: threshold {value} of {name!r}; expected 0 to 1 of a class")

    def to_json(self) -> str:
        """Write the card as JSON, the same text for the same card.

        Raises
        ------
        InputError
            If metrics or settings hold what JSON does not.
        """
        content = {"format": FORMAT, "version": VERSION} | asdict(self)
        try:
            return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as reason:
            raise InputError(f"card: {reason}; expected finite numbers, text and lists") from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a card.

        Raises
        ------
        UnreadableFile
            If it is no card, of a newer version, or says what cannot be.
        """
        content = _content(text)
        known = {f.name for f in fields(cls)}
        try:
            values = {k: v for k, v in content.items() if k in known}
            values["classes"] = tuple(str(c) for c in values["classes"])
            values["trained_on"] = tuple(map(_source, values.get("trained_on", ())))
            if values.get("pixel_size_nm") is not None:
                low, high = values["pixel_size_nm"]
                values["pixel_size_nm"] = (float(low), float(high))
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as reason:
            raise UnreadableFile(f"the card of this model cannot be used: {reason}") from None


def _source(told: Mapping[str, Any]) -> TrainingSet:
    return TrainingSet(**{**told, "seen": tuple(map(str, told.get("seen", ())))})


def _content(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableFile("the card of this model is no JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UnreadableFile("the card of this model is none of layerscope's")
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise UnreadableFile(f"its card is of version {version}; this layerscope reads {VERSION}")
    return content
