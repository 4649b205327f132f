"""`layerscope train domains`: a network of objects with masks, from labelled images to one file.

read -> hold out by specimen -> train, best weights by AP of masks held out
     -> scores calibrated and cut on what was held out -> one ONNX file
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from layerscope.core.evaluation import Objects
from layerscope.core.examples import DataSet
from layerscope.errors import InputError
from layerscope.measure.scores_objects import Pair, object_figures
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.yolo import YoloModel
from layerscope.models.yolo_decode import Picking
from layerscope.training.domain_scores import judge, lines_of
from layerscope.training.loop import FitSettings, Fitted, Progress, fit
from layerscope.training.seen import fingerprints
from layerscope.training.splits import hold_out
from layerscope.training.weights import read_state
from layerscope.training.yolo_export import export_yolo
from layerscope.training.yolo_loss import YoloLoss
from layerscope.training.yolo_network import Decoded, YoloNetwork, build_yolo
from layerscope.training.yolo_pictures import (
    NOISY,
    VARIED,
    Drawing,
    batches,
    read_pictures,
)

_ENDLESS = 1_000_000
_HELD_OUT = 0.2
_ALL = Picking(least=0.01, most=100)
"""What counts in average precision."""


@dataclass(frozen=True)
class DomainSettings:
    """How to train.

    Attributes
    ----------
    size : str
        One of `SIZES`.
    image_px : int
        Longer side of an image in the input; a multiple of 32.
    minutes : float
        Wall time, at most; 0: no limit.
    epochs : int
        At most, as often as every image is shown on average; 0: until the minutes are over.
    batch : int
    start : path, optional
        Model file of this kind to start from; its weights lie beside it.
    noisy : bool
        Teach images with up to 25 % noise of both kinds.
    normalisation : str
        ``unit``: pixels as they are, with colours varied a little; ``contrast``: to the substrate.
    learning_rate : float
        0: 2e-3, and 5e-4 with `start`.
    seed : int
    """

    size: str = "n"
    image_px: int = 416
    minutes: float = 10.0
    epochs: int = 0
    batch: int = 8
    start: Path | None = None
    noisy: bool = False
    normalisation: str = "unit"
    learning_rate: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.minutes, self.epochs, self.learning_rate) < 0 or self.batch < 1:
            raise InputError("minutes, epochs and learning_rate from 0 and batch from 1 expected")
        if not self.minutes and not self.epochs:
            raise InputError("no end: give minutes or epochs")
        if self.noisy and self.normalisation != "unit":
            raise InputError("noise is added to pixels as they are: expected normalisation unit")

    @property
    def drawing(self) -> Drawing:
        """How inputs are drawn."""
        values = NOISY if self.noisy else VARIED
        return Drawing(self.image_px, self.normalisation, augmentation=values)


@dataclass(frozen=True, eq=False)
class Live(YoloModel):
    """A network in memory, asked as a model file is."""

    network: Any = field(default=None, repr=False)

    def ask(
        self, images: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Ask the network."""
        device = next(self.network.parameters()).device
        with torch.no_grad():
            answers = self.network(torch.from_numpy(images).to(device))
        flat, maps = (a[0].float().cpu().numpy() for a in answers)
        return flat, maps


def live(network: YoloNetwork, classes: Sequence[str], drawing: Drawing) -> Live:
    """Let a network in memory be asked; it is put in evaluation mode."""
    return Live(
        network.name, "", Path(network.name), tuple(classes), None, drawing.side_px,
        network.stride, drawing.normalisation, network=Decoded(network).eval(),
    )  # fmt: skip


def train_domains(
    data: DataSet,
    out: str | os.PathLike[str],
    settings: DomainSettings | None = None,
    *,
    name: str = "",
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[Progress], None] = lambda told: None,
) -> ModelCard:
    """Train a network of objects and write it as one file.

    Parameters
    ----------
    data : DataSet
        With outlined objects. Its own split is kept; else a fifth is held out, by specimen.
    out : path
        Ends in ``.onnx``.
    settings : DomainSettings, optional
    name : str
        Of the images, for the card.
    tell, progress : callable

    Raises
    ------
    InputError
        If nothing is marked, or outlines are missing.
    """
    wanted = settings or DomainSettings()
    train, valid = parts_of(data, wanted.seed)
    shown, kept = len(train), len(valid)
    tell(f"{shown} images to learn from, {kept} held out, {len(data.classes) - 1} classes")
    network = start_network(wanted, data.classes[1:])
    tell(f"{network.name}: {network.origin}")
    fitted = fit_domains(network, train, wanted, valid, progress=progress)
    model = live(network, data.classes[1:], wanted.drawing)
    pairs = found_and_marked(model, valid)
    cut, calibration, metrics = judge(pairs, len(data.classes) - 1)
    for line in lines_of(metrics):
        tell(line)
    card = ModelCard(
        name=Path(out).stem,
        task="domains",
        output="objects",
        classes=data.classes[1:],
        normalisation=wanted.normalisation,
        stride=network.stride,
        thresholds=dict.fromkeys(data.classes[1:], cut),
        trained_on=(
            TrainingSet(
                name,
                images=shown,
                groups=len(set(train.groups)),
                seen=fingerprints(e.read_image() for e in train.examples),
            ),
        ),
        metrics=metrics,
        settings=_told(wanted, calibration, fitted),
    )
    return export_yolo(network, card, out)


def parts_of(data: DataSet, seed: int) -> tuple[DataSet, DataSet]:
    """Images to learn from and images held out; none of the latter where there is one specimen."""
    told = [e.split for e in data.examples]
    other = "valid" if "valid" in told else "test"
    if "train" in told and other in told:
        train, valid = ([i for i, s in enumerate(told) if s == part] for part in ("train", other))
        return data.take(train), data.take(valid)
    if len(set(data.groups)) < 2:
        return data, data.take([])
    learned, kept = hold_out(data.groups, _HELD_OUT, seed)
    return data.take(learned), data.take(kept)


def start_network(settings: DomainSettings, classes: Sequence[str]) -> YoloNetwork:
    """Network from scratch, or with the weights beside `settings.start`."""
    network = build_yolo(settings.size, len(classes), seed=settings.seed)
    if settings.start is not None:
        state = read_state(Path(settings.start).with_suffix(".safetensors"))
        same = _same_classes(settings.start, classes)
        network.origin = f"{settings.start.name}, {take_over(network, state, same)}"
    return network


def _same_classes(start: Path, classes: Sequence[str]) -> bool:
    from layerscope.models.yolo import read_yolo

    return read_yolo(start.with_suffix(".onnx")).classes == tuple(classes)


def take_over(network: YoloNetwork, state: dict[str, Any], same_classes: bool) -> str:
    """Take the weights that fit from another network; says how many.

    Without the same classes the last layer of the class branch starts anew.

    Raises
    ------
    InputError
        If less than half of the weights fit.
    """
    own = network.state_dict()
    last = tuple(f"head.classes.{i}.2." for i in range(3))
    fits = {
        k: v
        for k, v in state.items()
        if k in own and v.shape == own[k].shape and (same_classes or not k.startswith(last))
    }
    if len(fits) < 0.5 * len(own):
        raise InputError(
            f"{len(fits)} of {len(own)} weights fit {network.name}: start from one of its size"
        )
    network.load_state_dict({**own, **fits})
    return f"{len(fits)} of {len(own)} weights"


def fit_domains(
    network: YoloNetwork,
    train: DataSet,
    settings: DomainSettings,
    valid: DataSet | None = None,
    *,
    steps: int = 0,
    drawing: Drawing | None = None,
    progress: Callable[[Progress], None] = lambda told: None,
) -> Fitted:
    """Train `network` in place on labelled images; ends with the best weights on `valid`.

    Parameters
    ----------
    network : YoloNetwork
    train : DataSet
    settings : DomainSettings
    valid : DataSet, optional
        Empty or None: the last weights are taken.
    steps : int
        Instead of epochs.
    drawing : Drawing, optional
        Instead of that of the settings.
    progress : callable
    """
    drawing = drawing or settings.drawing
    pictures = read_pictures(train, drawing)
    per_epoch = math.ceil(len(pictures) / settings.batch)
    most = steps or (settings.epochs * per_epoch if settings.epochs else _ENDLESS)
    held = train.take([]) if valid is None else valid
    judged = any(e.instances for e in held.examples)
    rate = settings.learning_rate or (2e-3 if settings.start is None else 5e-4)
    names = train.classes[1:]

    def validate(shown: Any) -> dict[str, float]:
        model = live(shown, names, drawing)
        return object_figures(found_and_marked(model, held), len(names))

    return fit(
        network,
        batches(pictures, drawing, settings.batch, settings.seed),
        YoloLoss(),
        FitSettings(
            steps=most, minutes=settings.minutes, learning_rate=rate,
            warmup_steps=min(50, max(1, most // 10)), ema=0.98, clip=10.0,
            metric="mask_ap50_90" if judged else "", validations=8 if judged else 0,
            seed=settings.seed,
        ),
        validate=validate if judged else None,
        progress=progress,
    )  # fmt: skip


def found_and_marked(model: YoloModel, data: DataSet) -> list[Pair]:
    """Objects that a network finds on each image, however unsure, and those marked there."""
    return [
        (model.find(e.read_image(), _ALL), Objects.marked(e.instances or (), e.shape))
        for e in data.examples
    ]


def _told(
    settings: DomainSettings, calibration: tuple[float, float], fitted: Fitted
) -> dict[str, Any]:
    told = asdict(replace(settings, start=None))
    told["start"] = settings.start.name if settings.start else ""
    told["calibration"] = [round(v, 6) for v in calibration]
    told["steps_taken"] = fitted.steps
    return told
