"""What a study asks, how much it spends, and what one training of it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from layerscope.errors import InputError
from layerscope.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from layerscope.experiments.labelled import Labelled

MAJORITY = "most frequent class everywhere"
"""The arm of a study of labels that learns nothing."""

SOURCES = ("same", "other")
"""Labelled images of the target's own material, and of another one."""


@dataclass(frozen=True)
class Effort:
    """How large the images, networks and trainings of a study are.

    Attributes
    ----------
    name : str
    network : str
        Of `training.networks.NETWORKS`; the study of sizes takes its own.
    patch_px, batch : int
        Side and number of the patches of a step.
    source_steps, steps : int
        Of a training on many source images, and on the target's.
    source_images, target_images, test_images : int
        At most; a user's set may hold fewer.
    side_px : int
        Of synthetic images; larger ones of a user are cut to four times that for a test.
    """

    name: str
    network: str
    patch_px: int
    batch: int
    source_steps: int
    steps: int
    source_images: int
    target_images: int
    test_images: int
    side_px: int

    def __post_init__(self) -> None:
        numbers = [v for v in vars(self).values() if isinstance(v, int)]
        if min(numbers) < 1:
            raise InputError(f"{self}: expected numbers from 1")


SMALL = Effort("small", "light-n", 96, 4, 400, 240, 24, 10, 10, 256)
FULL = Effort("full", "light-s", 256, 8, 6000, 3000, 200, 20, 60, 768)
EFFORTS = {e.name: e for e in (SMALL, FULL)}


class World(Protocol):
    """Where a study takes its labelled images from; the same seed gives the same images."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the first is the background."""

    @property
    def ranges(self) -> tuple[tuple[int, int], ...] | None:
        """Fewest and most layers of each class; None where its names do not say."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Those of `SOURCES` that there are."""

    @property
    def material(self) -> str:
        """What the target images show."""

    @property
    def substrate(self) -> str:
        """What it lies on."""

    def target(self, seed: int, effort: Effort) -> Labelled:
        """Images to learn from, in the order in which somebody labels them."""

    def test(self, seed: int, effort: Effort) -> Labelled:
        """Images to judge on, of other specimens than the target's."""

    def source(self, seed: int, kind: str, effort: Effort) -> Labelled:
        """Many images of the `SOURCES`."""

    def facts(self) -> Mapping[str, object]:
        """Return what decides the images, for the record."""


@dataclass(frozen=True)
class Trial:
    """One network, or one arm at one setting, judged on the test images of a seed.

    Attributes
    ----------
    arm : str
        What was done.
    figures : mapping of str to float
        ``mean_iou`` among them.
    panel : str
        Part of the study that is drawn by itself, e.g. a kind of noise.
    setting : float or None
        Place on the axis; None where the arms have none.
    """

    arm: str
    figures: Mapping[str, float]
    panel: str = ""
    setting: float | None = None


Run = Callable[[World, int, Effort], Iterator[Trial]]
Guess = Callable[[World, int, Effort], Mapping[str, float]]


@dataclass(frozen=True)
class Metric:
    """The figure that arms are compared by.

    Attributes
    ----------
    name : str
        Among the figures of every trial.
    label : str
        In words, as on an axis.
    """

    name: str
    label: str


MEAN_IOU = Metric("mean_iou", "mean IoU over the classes")


@dataclass(frozen=True)
class Beside:
    """Published figures that a study is read beside.

    Attributes
    ----------
    tables : callable
        ``tables(finding)`` gives tables by name, written as CSV and into ``result.json``.
    lines : callable
        ``lines(finding)``: what the study and the published one say, in words.
    draw : callable
        ``draw(finding)`` gives a matplotlib figure with both.
    """

    tables: Callable[[Finding], Mapping[str, pd.DataFrame]]
    lines: Callable[[Finding], list[str]]
    draw: Callable[[Finding], Any]


@dataclass(frozen=True)
class Study:
    """A question and how to answer it.

    Attributes
    ----------
    name, question : str
    run : callable
        ``run(world, seed, effort)`` yields the trials of one seed.
    pairs : tuple of (str, str)
        Arms that are compared: the first with the second.
    axis : str
        Label of the settings, with the unit.
    notes : tuple of str
        What a reader must know to read the figures.
    metric : Metric
    baseline : str
        The arm that learns nothing.
    guess : callable, optional
        Its figures, ``guess(world, seed, effort)``; None: those of the most frequent class.
    efforts : mapping of str to Effort
    minutes : float
        Wall time on two cores that the small effort is made for.
    synthetic : callable, optional
        Makes the `World` of synthetic images; None: flakes.
    options : mapping
        What else decides the figures, for the record.
    beside : Beside, optional
    has_source : bool
        Some network learns on source images first.
    """

    name: str
    question: str
    run: Run
    pairs: tuple[tuple[str, str], ...]
    axis: str = ""
    notes: tuple[str, ...] = field(default=())
    metric: Metric = MEAN_IOU
    baseline: str = MAJORITY
    guess: Guess | None = None
    efforts: Mapping[str, Effort] = field(default_factory=lambda: EFFORTS)
    minutes: float = 10.0
    synthetic: Callable[[], World] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    beside: Beside | None = None
    has_source: bool = True


def find_study(name: str, studies: Registry) -> Study:
    """Study of that name.

    Raises
    ------
    UnknownName
        With the closest names.
    """
    found: Study = studies[name]
    return found


@dataclass(frozen=True, eq=False)
class Finding:
    """What the finished seeds of a study found.

    Attributes
    ----------
    study : Study
    trials : dict of int to tuple of Trial
        By seed.
    wanted : int
        Seeds that were asked for.
    plan : dict
        What decides the figures.
    """

    study: Study
    trials: dict[int, tuple[Trial, ...]]
    wanted: int
    plan: dict[str, Any]
