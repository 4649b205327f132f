"""Train a small network on labelled images and judge it on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import ClassPixels
from layerscope.core.results import IntArray
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.study import Effort
from layerscope.measure.scores_pixels import (
    class_scores,
    confuse_pixels,
    majority_table,
    mean_over_classes,
)
from layerscope.ops.augment import Augmentation
from layerscope.ops.normalisation import as_unit, normalise

if TYPE_CHECKING:
    from torch import Tensor, nn

Batch = npt.NDArray[np.float32]
Change = Callable[[Batch, np.random.Generator], Batch]
"""Alters the images (N, C, S, S) of a step."""

MOVES = Augmentation(scale=(0.8, 1.25)).only_geometry()
"""Patches are turned, mirrored and scaled, and keep their colours."""

_RATE = 8e-3


@dataclass(frozen=True)
class Recipe:
    """How a network sees its images.

    Attributes
    ----------
    normalisation : str
        Of whole images, before patches are cut; one of `NORMALISATIONS`.
    augmentation : Augmentation
        Of patches; one that changes values is for images from 0 to 1, normalised as ``unit``.
    change : callable, optional
    """

    normalisation: str
    augmentation: Augmentation = MOVES
    change: Change | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network and how it sees images."""

    network: nn.Module
    recipe: Recipe
    state: Mapping[str, Tensor]

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(p.numel() for p in self.network.parameters())


def recipe_for(labelled: Labelled) -> Recipe:
    """Contrast to the substrate for colour images, mean and spread for grey ones."""
    return Recipe("contrast" if labelled.channels == 3 else "standard")


def prepare(labelled: Labelled, normalisation: str) -> Labelled:
    """Normalise the images and keep the labels."""
    images = tuple(normalise(normalisation, as_unit(i)) for i in labelled.images)
    return Labelled(images, labelled.labels)


def learn(
    labelled: Labelled,
    n_classes: int,
    effort: Effort,
    *,
    recipe: Recipe,
    steps: int,
    seed: int,
    network: str = "",
    start: Learned | None = None,
    prepared: bool = False,
) -> Learned:
    """Train a network; on a CPU the same arguments give the same weights.

    Parameters
    ----------
    labelled : Labelled
    n_classes : int
    effort : Effort
    recipe : Recipe
    steps, seed : int
    network : str
        Default: that of the effort.
    start : Learned, optional
        Whose weights the training starts from; its learning rate is then a third.
    prepared : bool
        The images are normalised already.
    """
    from layerscope.training.loop import FitSettings, fit
    from layerscope.training.losses import CrossEntropy
    from layerscope.training.networks import build
    from layerscope.training.patches import PatchSource

    ready = labelled if prepared else prepare(labelled, recipe.normalisation)
    module = build(network or effort.network, channels=ready.channels, outputs=n_classes, seed=seed)
    if start is not None:
        module.load_state_dict(start.state)
    source = PatchSource(
        ready.images, ready.labels, effort.patch_px, recipe.augmentation, seed, foreground_share=0.7
    )

    def batch(step: int) -> tuple[Batch, ClassPixels]:
        x, y = source.batch(step, effort.batch)
        if recipe.change is not None:
            x = recipe.change(x, np.random.default_rng([seed, step, 0xC0]))
        return x, y

    settings = FitSettings(
        steps=steps, learning_rate=_RATE / (1 if start is None else 3), validations=0, seed=seed
    )
    fitted = fit(module, batch, CrossEntropy(), settings)
    return Learned(module, recipe, fitted.state)


def judge(learned: Learned, test: Labelled, n_classes: int) -> dict[str, float]:
    """Figures of a network on images that it has not seen; see `figures_of`."""
    ready = prepare(test, learned.recipe.normalisation)
    table = np.zeros((n_classes, n_classes), np.int64)
    for image, labels in zip(ready.images, ready.labels, strict=True):
        table += confuse_pixels(labels, answer(learned, image), n_classes)
    return figures_of(table)


def figures_of(table: IntArray) -> dict[str, float]:
    """Mean IoU over the classes, and IoU of all flakes together, from a table of pixels."""
    split = np.array([[table[0, 0], table[0, 1:].sum()], [table[1:, 0].sum(), table[1:, 1:].sum()]])
    return {
        "mean_iou": float(mean_over_classes(class_scores(table)[..., 0])),
        "flake_iou": float(class_scores(split)[1, 0]),
    }


def guess_majority(test: Labelled, n_classes: int) -> dict[str, float]:
    """Figures of the answer that needs no learning: everywhere the most frequent class."""
    table = np.sum([confuse_pixels(m, m, n_classes) for m in test.labels], axis=0)
    return figures_of(majority_table(table).astype(np.int64))


def answer(learned: Learned, image: npt.NDArray[Any]) -> ClassPixels:
    """Most probable class of every pixel (H, W) of a normalised image (H, W, C)."""
    import torch

    height, width = image.shape[:2]
    stride = int(learned.network.stride)
    grow = [(0, -n % stride) for n in (height, width)]
    padded = np.pad(image, [*grow, (0, 0)], mode="symmetric")
    x = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32))
    with torch.no_grad():
        logits = learned.network(x)[0, :, :height, :width]
    return np.asarray(logits.argmax(0).numpy(), np.uint8)
