"""A trained pixel classifier: what it knows, what it answers, and its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.file import read_model, with_channels
from layerscope.models.forest import write_trees
from layerscope.models.pixel_forest import PixelForest, forest_maps
from layerscope.models.trees import Trees
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import NORMALISATIONS, as_unit, normalise
from layerscope.ops.pixel_features import FEATURE_SETS

_CHECKED = 500


@dataclass(frozen=True)
class PaintSettings:
    """How a pixel classifier is made.

    Attributes
    ----------
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.
    normalisation : str
        One of `ops.normalisation.NORMALISATIONS`. Of one image it changes nothing; from image to
        image "standard" evens brightness and contrast: on HRTEM of sessions never seen Dice 0.75,
        with "unit" 0.61.
    trees : int
        Grown until every leaf is pure.
    most_pixels : int
        Of more painted pixels so many are learned from, the rarer classes first.
    quick_trees, quick_pixels : int
        Those of a coarse answer.
    autocontext : bool
        A second forest also sees what the first one says of the surroundings.
    seed : int
    jobs : int
        Trees grown at once; has no influence on the result.
    """

    features: str = "scales"
    normalisation: str = "standard"
    trees: int = 100
    most_pixels: int = 6_000
    quick_trees: int = 30
    quick_pixels: int = 1_000
    autocontext: bool = False
    seed: int = 0
    jobs: int = 2

    def __post_init__(self) -> None:
        if self.features not in FEATURE_SETS or self.normalisation not in NORMALISATIONS:
            raise InputError(
                f"features {self.features!r} of {self.normalisation!r} images; expected "
                f"{', '.join(FEATURE_SETS)} of {', '.join(NORMALISATIONS)}"
            )
        if min(self.trees, self.quick_trees, self.jobs) < 1:
            raise InputError(
                "trees, quick_trees and jobs of a pixel classifier: expected 1 or more"
            )
        if min(self.most_pixels, self.quick_pixels) < 10:
            raise InputError("a pixel classifier learns from 10 pixels or more")


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A trained pixel classifier.

    Attributes
    ----------
    classes : tuple of str
    settings : PaintSettings
    stages : tuple of Trees
        One forest; with autocontext a second one, which sees the answers of the first.
    channels : int
        Of the images it learned from.
    learned : mapping
        What it learned from and how well, for the card.
    sample : tuple of ndarray
        Some rows of features of each stage, which its file is tried on.
    """

    classes: tuple[str, ...]
    settings: PaintSettings
    stages: tuple[Trees, ...] = field(repr=False)
    channels: int
    learned: Mapping[str, Any] = field(default_factory=dict)
    sample: tuple[npt.NDArray[np.float32], ...] = field(default=(), repr=False)

    @cached_property
    def forests(self) -> tuple[PixelForest, ...]:
        """Its forests, ready to be asked by one thread."""
        return tuple(PixelForest(trees) for trees in self.stages)

    def probabilities(self, image: npt.NDArray[Any]) -> FloatImage:
        """Ask about every pixel of an image.

        Parameters
        ----------
        image : ndarray, (H, W) or (H, W, C)
            uint8, uint16, or floating point from 0 to 1, of any size.

        Returns
        -------
        ndarray of float32, (H, W, K)
            They sum to 1.
        """
        pixels = with_channels(as_unit(image), self.channels)
        pixels = normalise(self.settings.normalisation, pixels)
        return forest_maps(pixels, self.forests, self.settings.features)

    def save(self, path: str | os.PathLike[str], name: str = "") -> ModelCard:
        """Write it as one ONNX file, which ``layerscope run --task phases --model`` takes.

        Parameters
        ----------
        path : path
            Ends in ``.onnx``.
        name : str, optional
            For people; the name of the file if not given.
        """
        path = Path(path)
        if path.suffix != ".onnx":
            raise InputError(f"{path.name}: expected a name that ends in .onnx")
        learned = dict(self.learned)
        images = int(learned.pop("images", 0))
        card = ModelCard(
            name or path.stem,
            "phases",
            "classes",
            self.classes,
            channels=self.channels,
            normalisation=self.settings.normalisation,
            input="pixel_features",
            features=self.settings.features,
            network="forest" if len(self.stages) == 1 else "forest, autocontext",
            trained_on=(TrainingSet("scribbles", images=images, groups=images),),
            metrics=learned.pop("metrics", {}),
            settings={**asdict(self.settings), **learned},
        )
        wanted = self.stages[-1].probabilities(self.sample[-1])
        return write_trees(self.stages, card, path, self.sample, wanted)


def read_classifier(path: str | os.PathLike[str]) -> PixelClassifier:
    """Read a pixel classifier that `PixelClassifier.save` wrote.

    Raises
    ------
    UnreadableFile
        If it is no model.
    InputError
        If it is a model of another kind.
    """
    member = read_model(path).members[0]
    card = member.card
    if card.input != "pixel_features":
        raise InputError(f"{Path(path).name}: a {card.network or 'model'}, no pixel classifier")
    known = {k: v for k, v in card.settings.items() if k in PaintSettings.__dataclass_fields__}
    settings = PaintSettings(
        **{**known, "features": card.features, "normalisation": card.normalisation}
    )
    stages = tuple(forest.trees for forest in member.forests)
    rng = np.random.default_rng(0)
    sample = tuple(rng.standard_normal((_CHECKED, t.features)).astype(np.float32) for t in stages)
    images = sum(t.images for t in card.trained_on)
    learned = {"images": images, "metrics": dict(card.metrics)}
    return PixelClassifier(card.classes, settings, stages, card.channels, learned, sample)
