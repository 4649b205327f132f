"""`layerscope pretrain phases`: flakes and holes in TEM images from synthetic scenes alone.

What a network needs to know before the first labelled image: that a hole is bright and smooth, that
a flake is a faint step with straight edges, that light and grain of the carbon are neither. It is
drawn from physics (`synth.em`) with any film, microscope, dose and magnification, and learned with
no label of a person. Flakes too faint to be seen are unknown, as in a person's labels.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from layerscope.core.examples import IGNORE
from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.ops.normalisation import normalise
from layerscope.synth.em import synth_em
from layerscope.training.export import export_model, write_weights
from layerscope.training.held_out_islands import HeldOutImage, learn_islands
from layerscope.training.labelled import LabelledImages
from layerscope.training.loop import FitSettings, Progress, fit
from layerscope.training.losses import SIGMOID, BceDice
from layerscope.training.network_trial import PATCHES, NetworkSettings, ask_network, make_patches
from layerscope.training.networks import build
from layerscope.training.networks.network import Network

CLASSES = ("flake", "hole")

PIXELS_NM = (2.0, 20.0)
"""Sizes of a pixel that scenes are drawn at, evenly in the logarithm."""

_FIRST_SEED, _HELD_OUT_SEED = 5_000_000_000, 6_000_000_000
"""Far from those of `synth.em_files.em_set`: no test meets a scene that was learned."""


@dataclass(frozen=True)
class TemPretrainSettings:
    """How to pretrain.

    Attributes
    ----------
    network : str
    steps : int
    minutes : float
        Wall time of the training, at most; 0: no limit. Rendering comes before.
    scenes, held_out : int
        To learn from and to validate on.
    scene_px, side_px : int
        Sides of a scene and of a patch.
    batch : int
        Patches per step.
    learning_rate : float
    seed : int
    """

    network: str = "plain-n"
    steps: int = 8000
    minutes: float = 0.0
    scenes: int = 800
    held_out: int = 40
    scene_px: int = 416
    side_px: int = 256
    batch: int = 6
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.side_px % 64 or min(self.side_px, self.batch, self.scenes, self.held_out) < 1:
            raise InputError(
                f"side {self.side_px}, batch {self.batch}, {self.scenes} + {self.held_out} scenes:"
                " expected a multiple of 64 and at least one of the others"
            )


def pretrain_tem(
    out: str | os.PathLike[str],
    settings: TemPretrainSettings | None = None,
    *,
    folder: Path | None = None,
    rendered: Callable[[int, int], None] = lambda done, total: None,
    progress: Callable[[Progress], None] = lambda told: None,
) -> ModelCard:
    """Train a network on synthetic scenes and write it, weights beside it.

    Parameters
    ----------
    out : path
        Ends in ``.onnx``.
    settings : TemPretrainSettings, optional
    folder : path, optional
        Keeps the scenes and the state; a training found in it is continued.
    rendered : callable
        Told scenes done and scenes in all.
    progress : callable
        Told after each step.
    """
    wanted = settings or TemPretrainSettings()
    scenes, held_out = open_series(wanted, folder, rendered)
    network = build(wanted.network, channels=1, outputs=len(CLASSES), seed=wanted.seed)
    taken = NetworkSettings(
        size_px=wanted.side_px, batch=wanted.batch, seed=wanted.seed, augmentation=PATCHES
    )
    source = make_patches(scenes, "standard", taken)
    fitted = fit(
        network,
        lambda step: source.batch(step, wanted.batch),
        BceDice(SIGMOID, 0.6, 0.4),
        FitSettings(
            steps=wanted.steps, minutes=wanted.minutes, learning_rate=wanted.learning_rate,
            weight_decay=0.02, warmup_steps=200, ema=0.998, validations=10, seed=wanted.seed,
        ),
        validate=_check(held_out, wanted),
        folder=None if folder is None else folder / "state",
        progress=progress,
    )  # fmt: skip
    figures = dict(fitted.history.iloc[-1]) if len(fitted.history) else {}
    card = _card(wanted, fitted.steps, figures, held_out_islands(network, held_out))
    card = export_model(network, card, out, half=True)
    # Weights to go on from need 11 bits as little as those to ask: 1.8 instead of 3.7 MB.
    state = {k: v.half() if v.is_floating_point() else v for k, v in fitted.state.items()}
    write_weights(state, card, Path(out).with_suffix(".safetensors"))
    return card


def open_series(
    settings: TemPretrainSettings,
    folder: Path | None,
    rendered: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LabelledImages, LabelledImages]:
    """Scenes to learn from and to validate on, drawn where `folder` does not have them."""
    first, total = _FIRST_SEED + 100_000 * settings.seed, settings.scenes + settings.held_out
    scenes = _open_scenes(
        folder, first, settings.scenes, settings.scene_px, lambda done: rendered(done, total)
    )
    held_out = _open_scenes(
        folder, _HELD_OUT_SEED, settings.held_out, settings.scene_px,
        lambda done: rendered(settings.scenes + done, total),
    )  # fmt: skip
    return scenes, held_out


def _open_scenes(
    folder: Path | None, first: int, number: int, side_px: int, drawn: Callable[[int], None]
) -> LabelledImages:
    path = None if folder is None else folder / f"scenes_{first}_{number}_{side_px}px.npz"
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as kept:
            images, maps = list(kept["images"]), list(kept["maps"])
    else:
        pairs = []
        for i in range(number):
            pairs.append(_draw_scene(first + i, side_px))
            drawn(i + 1)
        images, maps = [p[0] for p in pairs], [p[1] for p in pairs]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = io.BytesIO()
            np.savez(stream, images=np.stack(images), maps=np.stack(maps))
            write_bytes(path, stream.getvalue())
    names = tuple(f"scene-{first + i}" for i in range(number))
    return LabelledImages(names, names, tuple(images), tuple(maps), CLASSES, PIXELS_NM)


def _draw_scene(seed: int, side_px: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One picture (S, S, 1) of 8 bits with its masks (S, S, 2)."""
    drawn = synth_em(seed, shape=(side_px, side_px), pixel_size_nm=PIXELS_NM)
    return drawn.micrograph.data.astype(np.uint8)[..., None], drawn.maps_seen()


def _check(
    scenes: LabelledImages, settings: TemPretrainSettings
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return a function that scores a network on patches that never change."""
    taken = NetworkSettings(size_px=settings.side_px, seed=99)
    images, truth = make_patches(scenes, "standard", taken).batch(0, 2 * len(scenes))

    def check(network: nn.Module) -> Mapping[str, float]:
        device = next(network.parameters()).device
        found = np.concatenate(
            [
                network(torch.from_numpy(images[i : i + 8]).to(device)).cpu().numpy() > 0
                for i in range(0, len(images), 8)
            ]
        )
        return map_figures(found, truth)

    return check


def held_out_islands(network: Network, scenes: LabelledImages) -> dict[str, Any]:
    """Ask a network about scenes it did not learn, and learn what its islands are worth.

    Parameters
    ----------
    network : Network
    scenes : LabelledImages

    Returns
    -------
    dict
        See `training.held_out_islands.learn_islands`.
    """
    images = []
    for i, truth in enumerate(scenes.labels):
        pixels = scenes.unit(i)
        found = ask_network(network, normalise("standard", pixels), apart=True)
        images.append(HeldOutImage(pixels.mean(axis=2), found, truth))
    return learn_islands(images, dict.fromkeys(CLASSES, 0.5))


def map_figures(found: BoolArray, truth: npt.NDArray[np.uint8]) -> dict[str, float]:
    """IoU of each class over all patches, and their mean; both (N, K, S, S)."""
    known, real = truth != IGNORE, truth == 1
    both = (found & real & known).sum((0, 2, 3))
    either = ((found | real) & known).sum((0, 2, 3))
    iou = both / np.maximum(either, 1)
    return {"mean_iou": float(iou.mean())} | {
        f"iou_{name}": float(v) for name, v in zip(CLASSES, iou, strict=True)
    }


def _card(
    settings: TemPretrainSettings,
    steps: int,
    figures: Mapping[str, float],
    islands: Mapping[str, Any],
) -> ModelCard:
    kept = {f"synthetic_{k}": round(float(v), 4) for k, v in figures.items() if "iou" in k}
    made = TrainingSet(
        "synthetic TEM images of layerscope.synth", "BSD-3-Clause", "layerscope",
        images=settings.scenes,
    )  # fmt: skip
    return ModelCard(
        name="phases-tem", task="phases", output="labels", classes=CLASSES, channels=1,
        normalisation="standard", pixel_size_nm=PIXELS_NM, trained_on=(made,),
        metrics=kept | {"islands": islands}, thresholds=dict.fromkeys(CLASSES, 0.5),
        settings={**asdict(settings), "steps_taken": steps},
    )  # fmt: skip
