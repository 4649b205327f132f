"""Pretrained encoders without a download: stand-ins for ImageNet and MicroNet weights.

An encoder learns the share of each class in patches of synthetic pictures of another kind: colour
pictures of exfoliated flakes stand for ImageNet, electron micrographs of graphene for MicroNet.
Both are smaller than the real sets by a factor of a thousand and nearer to the films, so that they
tell what starting from learned features is worth, and nothing about ImageNet or MicroNet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.errors import UnknownName
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.study import Effort
from layerscope.experiments.worlds import SyntheticWorld
from layerscope.ops.augment import Augmentation
from layerscope.ops.normalisation import normalise
from layerscope.synth.em import synth_em

if TYPE_CHECKING:
    from torch import Tensor

STAND_INS: Mapping[str, str] = {
    "imagenet": "synthetic colour pictures of flakes",
    "micronet": "synthetic electron micrographs",
}
_RATE = 1e-3
_FIRST_EM = 700_000


@lru_cache(maxsize=4)
def stand_in(start: str, network: str, effort: Effort, seed: int) -> Mapping[str, Tensor]:
    """Weights of an encoder that learned another domain; the same arguments, the same weights.

    Parameters
    ----------
    start : str
        One of `STAND_INS`.
    network : str
        In `training.networks`; its part after the slash names the encoder.
    effort : Effort
        Its ``source_images`` and ``source_steps`` are spent.
    seed : int

    Raises
    ------
    UnknownName
        If there is no such stand-in.
    """
    if start not in STAND_INS:
        raise UnknownName.of("stand-in", start, STAND_INS)
    return _pretrained(start, network.partition("/")[2], effort, seed)


@lru_cache(maxsize=4)
def _pretrained(start: str, encoder: str, effort: Effort, seed: int) -> Mapping[str, Tensor]:
    from layerscope.training.loop import FitSettings, fit
    from layerscope.training.losses import build_loss
    from layerscope.training.networks import build
    from layerscope.training.patches import PatchSource

    pictures = _flakes(effort, seed) if start == "imagenet" else _micrographs(effort, seed)
    classes = max(int(m[m != IGNORE].max()) for m in pictures.labels) + 1
    source = PatchSource(
        pictures.images, pictures.labels, effort.patch_px, Augmentation(), seed,
        lambda image: normalise("imagenet", image),
    )  # fmt: skip

    def batch(step: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        x, labels = source.batch(step, effort.batch)
        return x, _shares(labels, classes)

    network = build(f"regressor/{encoder}", channels=3, outputs=classes, seed=seed)
    settings = FitSettings(steps=effort.source_steps, learning_rate=_RATE, validations=0, seed=seed)
    fit(network, batch, build_loss("mse"), settings)
    part: Any = network.encoder
    return {name: value.detach().clone() for name, value in part.state_dict().items()}


def _shares(labels: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.float32]:
    """Share of each class among the labelled pixels, (N, classes), of label maps (N, S, S)."""
    known = np.maximum((labels != IGNORE).sum(axis=(1, 2)), 1)
    counts = [(labels == k).sum(axis=(1, 2)) / known for k in range(classes)]
    return np.stack(counts, axis=1).astype(np.float32)


def _flakes(effort: Effort, seed: int) -> Labelled:
    return SyntheticWorld().source(seed, "same", effort)


def _micrographs(effort: Effort, seed: int) -> Labelled:
    drawn = [
        synth_em(_FIRST_EM + 1000 * seed + i, shape=(effort.side_px, effort.side_px))
        for i in range(effort.source_images)
    ]
    grey = tuple(np.repeat(d.micrograph.data[:, :, None], 3, axis=2) for d in drawn)
    return Labelled(grey, tuple(d.label_map for d in drawn))
