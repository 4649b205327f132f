"""How `layerscope train categories` trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import InputError
from layerscope.tasks.categories import UNKNOWN_BELOW

SIZE_PX = 224
"""Side of the square that a picture is fitted into: that of the weights published for ImageNet."""


@dataclass(frozen=True)
class CategorySettings:
    """How to train.

    Attributes
    ----------
    network : str
        ``auto``, ``features``, ``categories-n``, or an encoder: ``resnet18``, ``resnet34``,
        ``efficientnet-b0``, ``convnext-tiny`` ...
    weights : str or None
        Of an encoder: ``"imagenet"`` or a path.
    minutes : float
        Wall time for all.
    folds : int
    unknown_below : float
        Less probable answers become unknown.
    seed : int
    jobs : int
        Processor cores; 0: all.
    steps : int
        Steps of each network instead of a time, so that the result depends on no clock; 0: by time.
    batch : int
    start : Path or None
        Model file of a network to start from, its weights beside it.
    """

    network: str = "auto"
    weights: str | None = None
    minutes: float = 10.0
    folds: int = 5
    unknown_below: float = UNKNOWN_BELOW
    seed: int = 0
    jobs: int = 0
    steps: int = 0
    batch: int = 16
    start: Path | None = None

    def __post_init__(self) -> None:
        if self.start is not None and (self.network != "auto" or self.weights is not None):
            raise InputError("a model to start from brings its network; leave out the other")
        if self.minutes <= 0 or self.folds < 2 or not 0 <= self.unknown_below <= 1:
            raise InputError(
                f"{self.minutes:g} minutes, {self.folds} folds, unknown below "
                f"{self.unknown_below:g}: expected more than 0, 2 or more, and 0 to 1"
            )
