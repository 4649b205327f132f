"""What a training of phases is asked, what comes out of it, and how its images are held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import InputError
from layerscope.models.card import ModelCard
from layerscope.training.choice import Trial
from layerscope.training.labelled import LabelledImages
from layerscope.training.splits import Split, grouped_folds

FOREST = "forest"
MOST_MEMBERS = 10


@dataclass(frozen=True)
class PhaseSettings:
    """How to train.

    Attributes
    ----------
    network : str
        ``auto``, ``forest``, or a name in `training.networks.NETWORKS`.
    start : Path or None
        Model file to start from, with its weights beside it.
    few : int or None
        Learn from so many images only and test on the others.
    minutes : float
        Wall time for all.
    folds : int
    seed : int
    jobs : int
        Processor cores; 0: all.
    steps : int
        Steps of each network instead of a time, so that the result depends on no clock; 0: by time.
    trees : int
        Of a forest.
    overlapping : bool
        A mask per class, which may overlap, instead of one class per pixel.
    losses : tuple of str
        With `overlapping`: ``"flake=tversky:0.8:0.2"``, see `class_losses.losses_of`.
    at_nm : float
        With `overlapping`: size of a pixel that all images are brought to first; 0: as they are.
    members : int
        Networks that are trained apart and answer together; see `training.ensemble`.
    weights : str or None
        Of the encoder of `network`: ``"imagenet"``, ``"micronet"``, ``"imagenet-micronet"``, an
        address or a path; see `training.networks.build`.
    """

    network: str = "auto"
    start: Path | None = None
    few: int | None = None
    minutes: float = 10.0
    folds: int = 3
    seed: int = 0
    jobs: int = 0
    steps: int = 0
    trees: int = 100
    overlapping: bool = False
    losses: tuple[str, ...] = ()
    at_nm: float = 0.0
    members: int = 1
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.folds < 2:
            raise InputError(
                f"{self.minutes:g} minutes, {self.folds} folds: expected more than 0, and 2 or more"
            )
        if not 1 <= self.members <= MOST_MEMBERS:
            raise InputError(f"{self.members} members: expected 1 to {MOST_MEMBERS}")
        if self.members > 1 and self.network == FOREST:
            raise InputError("members are networks; a forest is an ensemble of its trees already")
        if self.weights is not None and self.network in ("auto", FOREST):
            raise InputError(
                f"weights are of an encoder, e.g. of --network unet/resnet18, not {self.network}"
            )


@dataclass(frozen=True, eq=False)
class PhaseTraining:
    """A finished training.

    Attributes
    ----------
    card : ModelCard
        As written.
    trials : tuple of Trial
    majority : Trial or None
        What the most frequent class would score; None where nothing could be held out.
    rest : tuple of str
        With `PhaseSettings.few`: images that were not learned from.
    tested : float or None
        Mean IoU of the written model on up to 24 of the rest.
    """

    card: ModelCard
    trials: tuple[Trial, ...]
    majority: Trial | None
    rest: tuple[str, ...] = ()
    tested: float | None = None


def describe(data: LabelledImages, settings: PhaseSettings) -> str:
    """Say what there is to learn from, and on what."""
    counts = data.counts()
    whole = data.pixels if data.overlapping else counts.sum()
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in zip(data.classes, counts / whole, strict=True)
    )
    images = "1 image" if len(data) == 1 else f"{len(data)} images"
    specimens = "1 specimen" if data.specimens == 1 else f"{data.specimens} specimens"
    cores = "1 core" if settings.jobs == 1 else f"{settings.jobs} cores"
    return (
        f"{images} ({data.pixels / 1e6:.1f} Mpx) of {specimens}: {shares}; {cores}, "
        f"{settings.minutes:g} minutes"
    )


def fold_images(data: LabelledImages, settings: PhaseSettings) -> tuple[list[Split], str]:
    """Folds by specimen, or by image where all are of one, and what to say about them."""
    if len(data) < 2:
        return [], "one image: nothing can be held out, so no score and no intervals"
    groups, why = data.groups, ""
    if data.specimens < 2:
        groups = data.names
        why = "one specimen: images are held out; on another specimen expect less"
    number = min(settings.folds, len(set(groups)))
    return grouped_folds(groups, number, settings.seed), why
