"""Networks tried on held-out specimens, and trained on all of them, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from layerscope.core.examples import IGNORE
from layerscope.models.card import LARGEST_WINDOW_PX
from layerscope.models.tiling import map_image
from layerscope.ops.augment import Augmentation
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import normalise
from layerscope.tasks.phases import sureness
from layerscope.tasks.shares import expected_variance, scale_of
from layerscope.training.choice import Candidate, HeldOut, Trial, confusion_of
from layerscope.training.ensemble import Ensemble
from layerscope.training.labelled import LabelledImages
from layerscope.training.loop import FitSettings, fit
from layerscope.training.losses import SIGMOID, SOFTMAX, CrossEntropy, Loss
from layerscope.training.networks import build
from layerscope.training.networks.network import Network
from layerscope.training.patches import PatchSource
from layerscope.training.splits import Split

Tell = Callable[[float], None]
Clock = Callable[[], float]
State = Mapping[str, torch.Tensor]

SPANS: Mapping[str, tuple[float, float]] = {
    "unit": (0.0, 1.0),
    "standard": (-5.0, 5.0),
    "percentile": (-1.0, 2.0),
    "clahe": (0.0, 1.0),
    "imagenet": (-2.2, 2.7),
    "contrast": (-1.0, 2.0),
    "minmax": (0.0, 1.0),
    "stretched": (0.0, 1.0),
    "stretched_clahe": (0.0, 1.0),
    "gaussian": (0.0, 1.0),
    "median": (0.0, 1.0),
    "nlm": (0.0, 1.0),
}
"""Values that a normalised image has, as far as patches keep them."""

PATCHES = Augmentation(
    scale=(0.7, 1.4),
    white_balance=(0.9, 1.1),
    gamma=(0.85, 1.2),
    brightness=(-0.04, 0.04),
    blur_px=(0.0, 1.0),
    noise=(0.0, 0.03),
    salt_pepper_share=0.0,
)
"""How patches differ from the normalised image, whose span is 0 to 1 here: a tenth of it is one
standard deviation of the image."""

_MOST_STEPS = 1_000_000  # the time ends a training
_NEXT_MEMBER = 7919  # between seeds of networks; those of folds are neighbours


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is trained.

    Attributes
    ----------
    size_px : int
        Side of a patch.
    batch : int
    learning_rate : float
    ema : float
        Decay of the running mean of the weights.
    steps : int
        At most.
    threads : int
    seed : int
    augmentation : Augmentation
        In the normalised image, whose span is 0 to 1 here.
    weights : str or None
        Of the encoder; see `networks.build`.
    """

    size_px: int = 256
    batch: int = 8
    learning_rate: float = 3e-3
    ema: float = 0.98
    steps: int = _MOST_STEPS
    threads: int = 1
    seed: int = 0
    augmentation: Augmentation = PATCHES
    weights: str | None = None


def train_network(
    data: LabelledImages,
    candidate: Candidate,
    minutes: float,
    settings: NetworkSettings,
    *,
    start: State | None = None,
    loss: Loss | None = None,
    tell: Tell = lambda share: None,
    clock: Clock = time.monotonic,
) -> Network:
    """Train a network on patches, with a cosine schedule that ends when the time does.

    Parameters
    ----------
    data : LabelledImages
    candidate : Candidate
    minutes : float
        Wall time.
    settings : NetworkSettings
    start : mapping of str to Tensor, optional
        Weights to start from; those that do not fit are left out.
    loss : callable, optional
        One of `losses`; default cross-entropy of one class per pixel.
    tell : callable
        Given the share of the training that is done.
    clock : callable
        Seconds.

    Returns
    -------
    Network
        In evaluation mode, on the CPU.
    """
    network = build(
        candidate.network,
        channels=data.channels,
        outputs=len(data.classes),
        weights=settings.weights,
        seed=settings.seed,
    )
    if start is not None:
        load_fitting(network, start)
    # Depthwise convolutions are 1.3 to 1.6 times faster so (light-n and -s, one thread).
    network.to(memory_format=torch.channels_last)
    source = make_patches(data, candidate.normalisation, settings)
    chosen = FitSettings(
        steps=settings.steps,
        minutes=minutes,
        learning_rate=settings.learning_rate,
        ema=settings.ema,
        validations=1,
        seed=settings.seed,
    )
    # Patches show rare classes as often as frequent ones. To weigh the loss besides is too much:
    # Dice of graphene_hrtem 0.78 instead of 0.86 (300 steps, one fold).
    with threads_of(settings.threads):
        fit(
            network,
            lambda step: source.batch(step, settings.batch),
            loss or CrossEntropy(),
            chosen,
            progress=lambda told: tell(told.share),
            clock=clock,
        )
    return network


def train_members(
    data: LabelledImages,
    candidate: Candidate,
    minutes: float,
    settings: NetworkSettings,
    *,
    start: State | None = None,
    loss: Loss | None = None,
    tell: Tell = lambda share: None,
    clock: Clock = time.monotonic,
) -> Network:
    """Train the networks of a candidate one after the other, each in its part of the time.

    They start from other weights and see other patches. Those that go on from an ensemble each go
    on from one of its networks.

    Parameters
    ----------
    data, candidate, minutes, settings, start, loss, tell, clock
        As in `train_network`.

    Returns
    -------
    Network
        An `Ensemble` of several.
    """
    count = candidate.members
    members = [
        train_network(
            data,
            candidate,
            minutes / count,
            replace(settings, seed=settings.seed + _NEXT_MEMBER * m),
            start=None if start is None else member_state(start, m),
            loss=loss,
            tell=lambda share, m=m: tell((m + share) / count),  # type: ignore[misc]
            clock=clock,
        )
        for m in range(count)
    ]
    apart = getattr(loss, "activation", SOFTMAX) == SIGMOID
    return members[0] if count == 1 else Ensemble(members, apart=apart).eval()


def member_state(state: State, member: int) -> State:
    """Weights of one network of an ensemble; of a single network, all."""
    inside = sorted({k.split(".")[1] for k in state if k.startswith("members.")}, key=int)
    if not inside:
        return state
    prefix = f"members.{inside[member % len(inside)]}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def make_patches(
    data: LabelledImages, normalisation: str, settings: NetworkSettings
) -> PatchSource:
    """Patches of whole images that are normalised first: a patch of one class has no contrast."""
    low, high = SPANS[normalisation]

    def packed(index: int) -> npt.NDArray[np.uint8]:
        values = normalise(normalisation, data.unit(index))
        return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)

    return PatchSource(
        [packed(i) for i in range(len(data))],
        data.labels,
        settings.size_px,
        settings.augmentation,
        settings.seed,
        normalise=lambda patch: np.asarray(patch * np.float32(high - low) + np.float32(low)),
    )


def load_fitting(network: Network, state: State) -> tuple[int, int]:
    """Load the weights that fit by name and shape.

    Returns
    -------
    loaded, expected : int
        Numbers of tensors.
    """
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return len(fitting), len(own)


def ask_network(network: Network, image: FloatImage, *, apart: bool = False) -> FloatImage:
    """Probabilities (H, W, K) of a normalised image (H, W, C); as `models.file.Model` gives.

    Parameters
    ----------
    network : Network
    image : ndarray of float32
    apart : bool
        A probability per class by itself, not one class per pixel.
    """
    return _ask_maps(network, image, apart)[..., : network.outputs]


def ask_ensemble(network: Ensemble, image: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Mean probabilities (H, W, K) of a normalised image (H, W, C), and their spread."""
    maps = _ask_maps(network, image, apart=False)
    return maps[..., : network.outputs], maps[..., network.outputs :]


def _ask_maps(network: Network, image: FloatImage, apart: bool) -> FloatImage:
    """Probabilities, and behind them the spread of an ensemble."""

    def ask(window: FloatImage) -> FloatImage:
        x = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1)[None]))
        with torch.inference_mode():
            told = network(x)
            logits, *spread = told if isinstance(told, tuple) else (told,)
            known = torch.sigmoid(logits) if apart else torch.softmax(logits, 1)
            maps = torch.cat([known, *spread], 1)[0]
        return np.ascontiguousarray(maps.numpy().transpose(1, 2, 0))

    return map_image(image, ask, stride=network.stride, margin_px=None, tile_px=LARGEST_WINDOW_PX)


def try_network(
    data: LabelledImages,
    candidate: Candidate,
    folds: Sequence[Split],
    numbers: Sequence[int],
    minutes: float,
    settings: NetworkSettings,
    *,
    start: State | None = None,
    tell: Tell = lambda share: None,
    clock: Clock = time.monotonic,
) -> tuple[Trial, dict[str, Any]]:
    """Train a network per fold and ask it about the specimens that it has not seen.

    Parameters
    ----------
    data, candidate, settings, start, tell, clock
        As in `train_network`.
    folds : sequence of (train, test)
    numbers : sequence of int
        Which of them.
    minutes : float
        For each.

    Returns
    -------
    trial : Trial
    state : mapping
        Weights of the last fold's network.
    """
    answers: list[HeldOut] = []
    state: dict[str, Any] = {}
    for done, k in enumerate(numbers):
        train, test = folds[k]
        network = train_members(
            data.take(train),
            candidate,
            minutes,
            replace(settings, seed=settings.seed + k),
            start=start,
            tell=lambda share, done=done: tell((done + share) / len(numbers)),  # type: ignore[misc]
            clock=clock,
        )
        with threads_of(settings.threads):
            answers += [_ask(network, data, candidate, int(i), k) for i in test]
        state = network.state_dict()
    return Trial(candidate, tuple(answers)), state


def _ask(
    network: Network, data: LabelledImages, candidate: Candidate, image: int, fold: int
) -> HeldOut:
    seen, spread = normalise(candidate.normalisation, data.unit(image)), None
    if isinstance(network, Ensemble):
        probability, spread = ask_ensemble(network, seen)
    else:
        probability = ask_network(network, seen)
    known = data.labels[image] != IGNORE
    found = probability.argmax(axis=2).astype(np.uint8)
    return HeldOut(
        image,
        fold,
        confusion_of(data.labels[image][known], found[known], len(data.classes)),
        expected_variance(probability, known),
        sureness(probability, known)[1],
        None if spread is None else scale_of("spread", probability, spread, known),
    )


@contextmanager
def threads_of(number: int) -> Iterator[None]:
    """Let torch use so many threads, as long as it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
