"""The published study of grown TMD crystals, repeated: sizes, transfer, noise, magnification.

Every network finds objects with masks (`training.yolo_network`). One seed trains the three sizes
on regions of a lateral heterostructure, then thickness classes with and without what the smallest
has learned, and asks the smallest about noise and other magnifications.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.core.examples import DataSet
from layerscope.experiments.study import Beside, Effort, Metric, Study, Trial, World
from layerscope.experiments.tmd_beside import (
    ALL_LENSES,
    FROM_HETERO,
    GAUSSIAN,
    ISLANDS,
    LENSES,
    NOISY,
    NUMBERS,
    ONE_LENS,
    OTHER,
    PLAIN,
    SALT,
    SAME,
    SCRATCH,
    SIZE,
    draw_beside,
    lines_beside,
    tables_beside,
)
from layerscope.experiments.tmd_crystals import (
    HETERO,
    THICKNESS,
    CrystalWorld,
    guess_islands,
    harmed,
    magnified,
    user_parts,
)
from layerscope.experiments.worlds import UserWorld
from layerscope.measure.scores_objects import object_figures
from layerscope.synth.crystals import OBJECTIVES

if TYPE_CHECKING:
    from layerscope.training.yolo_network import YoloNetwork

_SMALL = Effort("small", "half-n", 128, 8, 200, 100, 30, 16, 10, 256)
_FULL = Effort("full", "n", 416, 16, 12000, 6000, 180, 50, 60, 640)
_NOISE = {GAUSSIAN: "Gaussian noise", SALT: "Salt and pepper"}
_LEVELS = (0.0, 20.0)
_EARLY = 0.25
_RATE = 4e-3


@dataclass(frozen=True, eq=False)
class Learner:
    """A trained network.

    Attributes
    ----------
    network : YoloNetwork
    data : DataSet
        What taught it.
    early_loss : float
        Mean loss of the first quarter of its training.
    """

    network: YoloNetwork
    data: DataSet
    early_loss: float


@dataclass(frozen=True)
class Task:
    """What a network is taught and judged on.

    Attributes
    ----------
    train, test : DataSet
    """

    train: DataSet
    test: DataSet


def run_tmd(world: World, seed: int, effort: Effort) -> Iterator[Trial]:
    """Trials of one seed: sizes, noise, magnification, transfer."""
    main = _main_task(world, seed, effort)
    by_size = {}
    for size in ("n", "s", "m"):
        network = effort.network.removesuffix("n") + size
        by_size[size] = learn(main.train, network, effort, effort.source_steps, seed)
        yield Trial(size, judge(by_size[size], main.test, effort), SIZE)
    smallest = by_size["n"]
    yield from _noises(smallest, main, seed, effort)
    if isinstance(world, CrystalWorld):
        yield from _lenses(world, smallest, seed, effort)
    else:
        yield from _middles(smallest, main, effort)
    yield from _transfers(world, smallest, seed, effort)


def _main_task(world: World, seed: int, effort: Effort) -> Task:
    """Regions of two materials; of a user's images whatever they mark."""
    if isinstance(world, UserWorld):
        return Task(*user_parts(world, seed, effort))
    crystals = _synthetic(world)
    return _task(crystals, seed, HETERO, crystals.material, effort)


def _synthetic(world: World) -> CrystalWorld:
    return world if isinstance(world, CrystalWorld) else CrystalWorld()


def _task(world: CrystalWorld, seed: int, label: str, material: str, effort: Effort) -> Task:
    roles = ("target", "test")
    return Task(*(world.pictures(seed, role, label, material, effort) for role in roles))


def _noises(smallest: Learner, main: Task, seed: int, effort: Effort) -> Iterator[Trial]:
    """Clean and noisy pictures; the network taught noise goes on from the one that was not."""
    steps = effort.source_steps
    taught = learn(main.train, effort.network, effort, steps, seed, noisy=True, start=smallest)
    for panel, kind in _NOISE.items():
        for level in _LEVELS:
            test = harmed(main.test, kind, level, seed) if level else main.test
            for arm, learner in ((PLAIN, smallest), (NOISY, taught)):
                yield Trial(arm, judge(learner, test, effort), panel, level)


def _lenses(world: CrystalWorld, smallest: Learner, seed: int, effort: Effort) -> Iterator[Trial]:
    """Pictures through each objective, which show other fields of the substrate."""

    def drawn(role: str, lens: str) -> DataSet:
        return world.pictures(seed, role, HETERO, world.material, effort, lens)

    everywhere = learn(drawn("target", "all"), effort.network, effort, effort.source_steps, seed)
    for lens in OBJECTIVES:
        test = drawn("test", lens)
        for arm, learner in ((ONE_LENS, smallest), (ALL_LENSES, everywhere)):
            yield Trial(arm, judge(learner, test, effort), LENSES, float(lens.removesuffix("x")))


def _middles(smallest: Learner, main: Task, effort: Effort) -> Iterator[Trial]:
    """Pictures of a user, and their middle at twice the magnification."""
    for factor in (1.0, 2.0):
        test = magnified(main.test, factor)
        yield Trial(ONE_LENS, judge(smallest, test, effort), LENSES, 50 * factor)


def _transfers(world: World, smallest: Learner, seed: int, effort: Effort) -> Iterator[Trial]:
    """Thickness classes, or a user's, from scratch and from what heterostructures taught."""
    crystals = _synthetic(world)
    if isinstance(world, UserWorld):
        source = _task(crystals, seed, HETERO, crystals.material, effort).train
        start = learn(source, effort.network, effort, effort.source_steps, seed)
        tasks = {SAME: _main_task(world, seed, effort)}
    else:
        start = smallest
        tasks = {
            panel: _task(crystals, seed, THICKNESS, material, effort)
            for panel, material in ((SAME, crystals.material), (OTHER, crystals.other))
        }
    for panel, task in tasks.items():
        for arm, base in ((SCRATCH, None), (FROM_HETERO, start)):
            learner = learn(task.train, effort.network, effort, effort.steps, seed, start=base)
            yield Trial(arm, judge(learner, task.test, effort), panel)


def learn(
    data: DataSet,
    size: str,
    effort: Effort,
    steps: int,
    seed: int,
    *,
    noisy: bool = False,
    start: Learner | None = None,
) -> Learner:
    """Train a network of one of `yolo_network.SIZES` on labelled crystals."""
    from layerscope.training.domains import DomainSettings, fit_domains, take_over
    from layerscope.training.yolo_network import build_yolo

    network = build_yolo(size, len(data.classes) - 1, seed=seed)
    settings = DomainSettings(
        size, effort.patch_px, 0.0, 1, effort.batch, noisy=noisy, seed=seed,
        learning_rate=_RATE,
    )  # fmt: skip
    if start is not None:
        same = start.data.classes == data.classes
        take_over(network, start.network.state_dict(), same_classes=same)
    losses: list[float] = []
    fit_domains(
        network, data, settings, steps=steps, drawing=_drawing(effort, noisy),
        progress=lambda told: losses.append(told.loss),
    )  # fmt: skip
    return Learner(network, data, float(np.mean(losses[: max(1, round(_EARLY * len(losses)))])))


def _drawing(effort: Effort, noisy: bool) -> Any:
    from layerscope.training.yolo_pictures import NOISY as NOISE
    from layerscope.training.yolo_pictures import VARIED, Drawing

    values = NOISE if noisy else VARIED
    if effort.name == "full":
        return Drawing(effort.patch_px, augmentation=values)
    # A short training sees few pictures: it is not asked to stand much.
    return Drawing(effort.patch_px, zoom=(0.8, 1.25), mosaic=0.1, augmentation=values)


def judge(learner: Learner, test: DataSet, effort: Effort) -> dict[str, float]:
    """Average precisions on pictures that taught nothing, and how the training began."""
    from layerscope.training.domains import found_and_marked, live
    from layerscope.training.networks.network import count_parameters

    classes = learner.data.classes[1:]
    model = live(learner.network, classes, _drawing(effort, False))
    figures = object_figures(found_and_marked(model, test), len(classes))
    return {
        **{name: figures[name] for name in NUMBERS},
        "early_loss": learner.early_loss,
        "parameters": float(count_parameters(learner.network)),
    }


def guess_crystals(world: World, seed: int, effort: Effort) -> Mapping[str, float]:
    """Figures of islands of one threshold, all of the most frequent class."""
    task = _main_task(world, seed, effort)
    marked = [i.class_index for e in task.train.examples for i in e.instances or ()]
    found = guess_islands(task.test, int(np.bincount(marked).argmax()))
    return {**{name: found[name] for name in NUMBERS}, "early_loss": 0.0, "parameters": 0.0}


TMD = Study(
    "tmd",
    "Do larger networks, transfer, noise and magnification do to crystals what was published?",
    run_tmd,
    (
        ("s", "n"),
        ("m", "s"),
        (FROM_HETERO, SCRATCH),
        (NOISY, PLAIN),
        (ALL_LENSES, ONE_LENS),
    ),
    "setting",
    (
        "Networks of the small size have half the width of n, s and m; the full size has theirs.",
        "Noise of 20 %: standard deviation 0.2 of white, or so many pixels black or white.",
        "The network taught noise went on from n with as many steps again: in as few steps from "
        "scratch hardly anything is learned of noisy pictures.",
        "Thickness: thin is 1 to 3 layers, thick 4 to 15, bulk 16 to 60.",
    ),
    metric=Metric("mask_ap50_90", "mask AP50-90"),
    baseline=ISLANDS,
    guess=guess_crystals,
    efforts={e.name: e for e in (_SMALL, _FULL)},
    minutes=40.0,
    synthetic=CrystalWorld,
    beside=Beside(tables_beside, lines_beside, draw_beside),
)
