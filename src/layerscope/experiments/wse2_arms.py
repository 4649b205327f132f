"""The arms of the WSe2 study: the published models at the size of an effort, and how they learn.

At the full effort a model is trained exactly as published: patches, batch, rate, rule to stop. At a
smaller one patches and pictures shrink by the same factor, ResNet-18 keeps a quarter of its
channels, and a short training with a falling rate takes the place of thousands of epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.experiments.labelled import Labelled
from layerscope.experiments.study import Effort
from layerscope.training.coverage_models import COVERAGE_MODELS, CoverageModel
from layerscope.training.coverage_patches import Pictures, scaled_picture

if TYPE_CHECKING:
    from layerscope.training.networks.network import Network

PUBLISHED_PX = 224
"""Side of a patch of the regressors."""

IMAGENET, MICRONET = "imagenet", "micronet"
_VALID_EVERY = 8
_STRIDE = 32


@dataclass(frozen=True)
class Arm:
    """One row of the study's table.

    Attributes
    ----------
    name : str
    model : str
        In `COVERAGE_MODELS`.
    start : str
        Weights that its encoder starts from: `IMAGENET`, `MICRONET` or none.
    rate : float
        First learning rate of a short training.
    pace : float
        Its steps in units of those of the effort: cheap networks take more.
    full_only : bool
        Too heavy for a small effort.
    """

    name: str
    model: str
    start: str = ""
    rate: float = 1e-3
    pace: float = 1.0
    full_only: bool = False

    @property
    def published(self) -> bool:
        """Whether the study had it."""
        return self.model != "robust"

    def sized(self, effort: Effort, weights: Mapping[str, Path]) -> CoverageModel:
        """Model at the size of an effort; real weights need the real encoder."""
        model = COVERAGE_MODELS[self.model]
        if effort.patch_px == PUBLISHED_PX:
            return model
        factor = effort.patch_px / PUBLISHED_PX
        size = effort.patch_px
        if model.gives == "maps":
            size = max(1, int(factor * model.size_px / _STRIDE)) * _STRIDE
        network = model.network
        if network.endswith("/resnet18") and self.start not in weights:
            network += "-n"
        return replace(
            model, network=network, size_px=size, learning_rate=self.rate,
            batch=min(model.batch, effort.batch),
        )  # fmt: skip


FEATURES_NONE = Arm("MLP on untrained features", "mlp-i", pace=5)
CNN_NONE = Arm("CNN from scratch", "cnn-i")
SEG_NONE = Arm("SEG18 from scratch", "seg18-i", rate=2e-3, pace=0.5)
SCRATCH = Arm("CNNsc", "cnn-sc", pace=2)
SCRATCH_STAR = Arm("CNNsc*, not augmented", "cnn-sc-star", pace=2)
MLP_I = Arm("MLP-I, frozen features", "mlp-i", IMAGENET, pace=5)
MLP_M = Arm("MLP-M, frozen features", "mlp-m", MICRONET, pace=5)
CNN_I = Arm("CNN-I, fine-tuned", "cnn-i", IMAGENET)
CNN_M = Arm("CNN-M, fine-tuned", "cnn-m", MICRONET)
SEG_I = Arm("SEG18-I", "seg18-i", IMAGENET, rate=2e-3, pace=0.5)
SEG_M = Arm("SEG18-M", "seg18-m", MICRONET, full_only=True)
SEG_50 = Arm("SEG50", "seg50", MICRONET, full_only=True)
SEG_101 = Arm("SEG101", "seg101", MICRONET, full_only=True)
OURS = Arm("robust, ours", "robust", rate=4e-3)

ARMS = (
    SCRATCH, SCRATCH_STAR, FEATURES_NONE, MLP_I, MLP_M, CNN_NONE, CNN_I, CNN_M, SEG_NONE, SEG_I,
    SEG_M, SEG_50, SEG_101, OURS,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained arm."""

    arm: Arm
    model: CoverageModel
    network: Network


def arms_of(effort: Effort) -> tuple[Arm, ...]:
    """Arms that an effort can pay for."""
    full = effort.patch_px == PUBLISHED_PX
    return tuple(a for a in ARMS if full or not a.full_only)


def train_arm(
    arm: Arm, labelled: Labelled, effort: Effort, seed: int, weights: Mapping[str, Path]
) -> Trained:
    """Train one arm.

    Parameters
    ----------
    arm : Arm
    labelled : Labelled
        Every eighth picture decides when a published rule stops, and teaches nothing.
    effort : Effort
    seed : int
    weights : mapping of str to Path
        Real weights by name. Encoders that start elsewhere take `stand_in` weights.
    """
    from layerscope.experiments.wse2_stand_in import stand_in
    from layerscope.training.coverage_fit import make_network, make_task
    from layerscope.training.coverage_settings import CoverageSettings, Parts

    model = arm.sized(effort, weights)
    path = weights.get(arm.start)
    epochs = effort.steps if arm.model == OURS.model else 0
    settings = CoverageSettings(
        arm.model, None if path is None else str(path), minutes=0, epochs=epochs, seed=seed
    )
    options: dict[str, Any] = {"side_px": model.size_px} if model.network == "cnnsc" else {}
    network = make_network(model, settings, options)
    if arm.start and path is None:
        encoder: Any = network.encoder
        encoder.load_state_dict(stand_in(arm.start, model.network, effort, seed))
    train, valid = scaled_parts(labelled, model)
    parts = Parts(train, valid, valid, (), None, True)
    task = make_task(network, model, parts, seed)
    if effort.patch_px == PUBLISHED_PX:
        from layerscope.training.coverage_fit import run_task

        run_task(task, model, settings)
    else:
        _train_shortly(task, model, round(arm.pace * effort.steps), seed)
    network.eval()
    return Trained(arm, model, network)


def scaled_parts(labelled: Labelled, model: CoverageModel) -> tuple[Pictures, Pictures]:
    """Pictures that teach, and those that tell when to stop, as a model takes them."""
    pairs = [
        scaled_picture(image, labels, scale_of(labels.shape, model), model)
        for image, labels in zip(labelled.images, labelled.labels, strict=True)
    ]
    valid = pairs[::_VALID_EVERY]
    train = [p for i, p in enumerate(pairs) if i % _VALID_EVERY] or pairs

    def together(some: list[Any]) -> Pictures:
        return Pictures([p[0] for p in some], [p[1] for p in some])

    return together(train), together(valid)


def scale_of(shape: tuple[int, ...], model: CoverageModel) -> float:
    """Magnification that brings a whole picture to the scale of a model."""
    short = min(shape[:2])
    return min(max(1.0, model.least_side_px / short), model.side_px / short)


def _train_shortly(task: Any, model: CoverageModel, steps: int, seed: int) -> None:
    from layerscope.training.loop import FitSettings, fit
    from layerscope.training.losses import build_loss

    settings = FitSettings(
        steps=max(1, steps), learning_rate=model.learning_rate, weight_decay=0.0,
        optimiser="adam", schedule="cosine", validations=0, seed=seed,
    )  # fmt: skip
    fit(task.module, task.batch, build_loss(model.loss, **model.loss_parameters), settings)
