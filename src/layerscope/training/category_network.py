"""Networks that answer questions about a picture: training, answers, and the file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.core.categories import NOT_ASKED, Questionnaire
from layerscope.core.results import FloatArray, IntArray
from layerscope.ops.augmentation import Augmentation
from layerscope.ops.normalisation import normalise
from layerscope.ops.recolour import recolour
from layerscope.training.category_data import CategoryData
from layerscope.training.loop import FitSettings, fit
from layerscope.training.network_trial import load_fitting
from layerscope.training.networks import build
from layerscope.training.networks.network import Network
from layerscope.training.weights import read_state

RECOLOURING = Augmentation(
    white_balance=(0.85, 1.15), gamma=(0.8, 1.25), brightness=(-0.05, 0.05),
    blur_px=(0.0, 0.7), noise=(0.0, 0.03), salt_pepper_share=0.0,
)  # fmt: skip
"""How values of a training picture change. Its frame does not: a cut would change the number of
particles, and a mirrored corner add some. It is turned and mirrored only."""

_UNTOLD_SHARE = 0.1  # of the pictures are learned from without their scale, for images without
_MOST_STEPS = 1_000_000
_TUNING_RATE = 5e-4
_AT_ONCE = 16


@dataclass(frozen=True)
class AnswerNetworkSettings:
    """How a network is trained.

    Attributes
    ----------
    network, normalisation : str
    weights : str or None
        ``"imagenet"``, a path, or None: from scratch.
    start : Path or None
        File of the weights of a trained network to go on from, as far as shapes are the same.
    steps : int
        0: by time.
    minutes : float
        Wall time; 0: by steps.
    batch : int
    learning_rate : float
        0: 2e-3 from scratch, 1e-4 with weights, 5e-4 from a trained network.
    threads, seed : int
    """

    network: str
    normalisation: str = "standard"
    weights: str | None = None
    start: Path | None = None
    steps: int = 0
    minutes: float = 0.0
    batch: int = 16
    learning_rate: float = 0.0
    threads: int = 1
    seed: int = 0


class _ScaleInside(nn.Module):
    """A classifier whose scale comes as the last channel, as the training loop knows one input."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x[:, :-1], x[:, -1, 0, 0])


def answer_loss(asked: Questionnaire) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy summed over questions, each the mean over the pictures that have an answer.

    ``loss(logits (N, K), targets (N, questions))``; `NOT_ASKED` teaches nothing.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        total = logits.sum() * 0
        for q, part in enumerate(asked.slices):
            target = targets[:, q]
            known = (target != NOT_ASKED).sum().clamp(min=1)
            summed = F.cross_entropy(
                logits[:, part], target, ignore_index=NOT_ASKED, reduction="sum"
            )
            total = total + summed / known
        return total

    return loss


def train_answers(
    data: CategoryData,
    rows: IntArray,
    settings: AnswerNetworkSettings,
    clock: Callable[[], float] = time.monotonic,
) -> Network:
    """Train a network on some of the pictures.

    Parameters
    ----------
    data : CategoryData
    rows : ndarray of int
        Which pictures are learned from.
    settings : AnswerNetworkSettings
    clock : callable
        Seconds, where the settings say a time.
    """
    torch.set_num_threads(settings.threads)
    network = build(
        settings.network, channels=data.channels, outputs=len(data.questionnaire.classes),
        weights=settings.weights, seed=settings.seed,
    )  # fmt: skip
    rate = settings.learning_rate or (1e-4 if settings.weights else 2e-3)
    if settings.start is not None:
        load_fitting(network, read_state(settings.start))
        rate = settings.learning_rate or _TUNING_RATE
    how = FitSettings(
        steps=settings.steps or _MOST_STEPS, minutes=0.0 if settings.steps else settings.minutes,
        learning_rate=rate, seed=settings.seed, validations=1,
    )  # fmt: skip
    source = _Batches(data, rows, settings)
    fit(_ScaleInside(network), source.batch, answer_loss(data.questionnaire), how, clock=clock)
    return network.eval()


class _Batches:
    """Batches that depend on seed and step only."""

    def __init__(self, data: CategoryData, rows: IntArray, settings: AnswerNetworkSettings):
        self.data, self.rows, self.settings = data, rows, settings

    def batch(self, step: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Pictures (N, C + 1, S, S), the last channel the scale, and targets (N, questions)."""
        rng = np.random.default_rng([self.settings.seed, step])
        size = self.settings.batch
        chosen = self.rows[rng.permutation(np.arange(max(size, len(self.rows))) % len(self.rows))]
        chosen = chosen[:size]
        pictures = np.stack([self._picture(int(row), rng) for row in chosen])
        scales = self.data.scales[chosen].astype(np.float32)
        scales[rng.random(size) < _UNTOLD_SHARE] = np.nan
        return _with_scale(pictures, scales), self.data.targets[chosen]

    def _picture(self, row: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        picture = np.rot90(self.data.picture(row), int(rng.integers(4)))
        picture = picture[:, ::-1] if rng.random() < 0.5 else picture
        changed = recolour(np.ascontiguousarray(picture), rng, RECOLOURING)
        return normalise(self.settings.normalisation, changed).transpose(2, 0, 1)


def _with_scale(
    pictures: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    count, _, height, width = pictures.shape
    plane = np.broadcast_to(scales[:, None, None, None], (count, 1, height, width))
    return np.concatenate([pictures, plane], axis=1)


def network_logits(
    network: Network, data: CategoryData, rows: IntArray, normalisation: str
) -> FloatArray:
    """Logits (n, K) of some of the pictures."""
    out = []
    with torch.no_grad():
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            seen = [normalise(normalisation, data.picture(int(r))).transpose(2, 0, 1) for r in part]
            pictures = torch.from_numpy(np.stack(seen))
            scales = torch.from_numpy(data.scales[part].astype(np.float32))
            out.append(network(pictures, scales).numpy())
    return np.concatenate(out).astype(float)


class Calibrated(nn.Module):
    """A classifier with the temperature of each of its outputs inside."""

    def __init__(self, network: nn.Module, temperatures: FloatArray):
        super().__init__()
        self.network = network
        self.register_buffer("gain", torch.from_numpy((1 / temperatures).astype(np.float32)))

    def forward(self, image: Tensor, scale: Tensor) -> Tensor:
        """Calibrated logits (N, K) of pictures (N, C, S, S) and scales (N,)."""
        return self.network(image, scale) * self.gain
