"""How a coverage model is trained, and the pictures that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass

from layerscope.errors import InputError, UnknownName
from layerscope.training.coverage_models import COVERAGE_MODELS, CoverageModel
from layerscope.training.coverage_patches import Pictures


@dataclass(frozen=True)
class CoverageSettings:
    """How to train.

    Attributes
    ----------
    model : str
        A name in `COVERAGE_MODELS`.
    weights : str or None
        Path, ``imagenet`` or ``micronet`` (downloaded once); None: from scratch.
    minutes : float
        Wall time at most; 0: until the study's rule says stop.
    epochs : int
        At most; 0: as many as the study's.
    tune : int
        Trials of a search for sizes, learning rate and batch before; CNNsc and the MLPs.
    seed : int
    """

    model: str = "cnn-sc"
    weights: str | None = None
    minutes: float = 10.0
    epochs: int = 0
    tune: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in COVERAGE_MODELS:
            raise UnknownName.of("coverage model", self.model, tuple(COVERAGE_MODELS))
        if min(self.minutes, self.epochs, self.tune) < 0:
            raise InputError("minutes, epochs and tune: expected 0 or more")
        if not (self.minutes or self.epochs or self.published.goals or self.published.patience):
            raise InputError(f"{self.model} has no rule of its own to stop: give minutes or epochs")
        if self.tune and not (self.published.frozen or self.published.network == "cnnsc"):
            raise InputError(f"--tune is for cnn-sc, cnn-sc-star and the mlps, not {self.model}")

    @property
    def published(self) -> CoverageModel:
        """The model as published."""
        return COVERAGE_MODELS[self.model]


@dataclass(frozen=True, eq=False)
class Parts:
    """Pictures to learn from and to stop by, at one scale; to try the model on, as they came."""

    train: Pictures
    valid: Pictures
    test: Pictures
    test_names: tuple[str, ...]
    pixel_size_nm: float | None
    held_out: bool
    test_sizes_nm: tuple[float | None, ...] = ()
