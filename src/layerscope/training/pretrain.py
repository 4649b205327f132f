"""A flake network from nothing but physics: trained on synthetic scenes, no label needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from layerscope.errors import InputError
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.models.instances import decode
from layerscope.training.export import export_model
from layerscope.training.flake_loss import flake_loss
from layerscope.training.flake_patches import Conditions, draw_batch
from layerscope.training.flake_targets import FloatMaps
from layerscope.training.loop import FitSettings, Fitted, Progress, Validate, fit
from layerscope.training.networks import build
from layerscope.training.networks.flake import MAPS, FlakeNetwork
from layerscope.training.scenes import Scene, open_scenes

HELD_OUT_SEED = 7_000_000
"""Scenes that are validated on come from another series than those that are learned from."""

FOREGROUND = 0.4
"""Least foreground of a terrace. Of 777 terraces of held-out scenes 0.645 are found at 0.4, 0.641
at 0.5, with the same F1; of boxes of other laboratories 0.36 and 0.34."""

_LEAST_PX = 50  # of the maps: 200 px of a picture, the finder's own smallest region


@dataclass(frozen=True)
class PretrainSettings:
    """How to pretrain.

    Attributes
    ----------
    network : str
        ``flake-n``, ``-s`` or ``-m``.
    minutes : float
        Wall time of the training itself; rendering the scenes comes before.
    steps : int
        At most.
    scenes, held_out : int
        Scenes to learn from and to validate on.
    batch, side_px : int
        Patches per step, and their side.
    scene_px : int
        Side of a scene.
    learning_rate : float
    seed : int
    """

    network: str = "flake-n"
    minutes: float = 120.0
    steps: int = 40_000
    scenes: int = 560
    held_out: int = 30
    batch: int = 8
    side_px: int = 256
    scene_px: int = 640
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.network.startswith("flake-"):
            raise InputError(f"network {self.network!r}: expected flake-n, flake-s or flake-m")
        if self.side_px % 32 or min(self.side_px, self.batch, self.scenes, self.held_out) < 1:
            raise InputError(
                f"side {self.side_px}, batch {self.batch}, {self.scenes} + {self.held_out} scenes:"
                " expected a multiple of 32 and at least one of the others"
            )


def pretrain(
    out: str | os.PathLike[str],
    settings: PretrainSettings | None = None,
    *,
    cache: str | os.PathLike[str],
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda told: None,
) -> ModelCard:
    """Train a flake network on synthetic scenes and write it as one file.

    Parameters
    ----------
    out : path
        Ends in ``.onnx``.
    settings : PretrainSettings, optional
    cache : path
        Folder for the scenes and the state of the training; missing scenes are rendered.
    resume : bool
        Continue the training found in `cache`.
    progress : callable
        Told after each step.

    Returns
    -------
    ModelCard

    Raises
    ------
    InputError
        If a setting is impossible, or `cache` holds another training that was not to be resumed.
    """
    wanted = settings or PretrainSettings()
    folder = Path(cache)
    state = folder / f"state_{wanted.network}_seed{wanted.seed}"
    if state.exists() and not resume:
        raise InputError(f"{state}: holds a training; add --resume, or remove the folder")
    scenes, held_out = open_series(folder, wanted)
    network = build(wanted.network, channels=3, outputs=len(MAPS), seed=wanted.seed)
    assert isinstance(network, FlakeNetwork)  # PretrainSettings has seen to it
    fitted = fit_flakes(
        network,
        scenes,
        FitSettings(
            steps=wanted.steps, minutes=wanted.minutes, learning_rate=wanted.learning_rate,
            weight_decay=0.02, warmup_steps=300, ema=0.999, validations=24, seed=wanted.seed,
        ),
        Conditions(),
        batch=wanted.batch,
        side_px=wanted.side_px,
        validate=synthetic_check(held_out, side_px=wanted.side_px, count=_patches(wanted)),
        folder=state,
        progress=progress,
    )  # fmt: skip
    figures = dict(fitted.history.iloc[-1]) if len(fitted.history) else {}
    network.half = True
    return export_model(network, pretrained_card(wanted, fitted, figures), out, half=True)


def open_series(
    cache: Path,
    settings: PretrainSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[tuple[Scene, ...], tuple[Scene, ...]]:
    """Scenes to learn from and to validate on, rendered where they are not in `cache` yet."""
    folder, total = cache / "scenes", settings.scenes + settings.held_out
    held_out = open_scenes(
        folder, settings.held_out, seed=HELD_OUT_SEED + settings.seed, side_px=settings.scene_px,
        progress=lambda done, _: progress(done, total),
    )  # fmt: skip
    scenes = open_scenes(
        folder, settings.scenes, seed=settings.seed, side_px=settings.scene_px,
        progress=lambda done, _: progress(settings.held_out + done, total),
    )  # fmt: skip
    return scenes, held_out


def fit_flakes(
    network: nn.Module,
    scenes: Sequence[Scene],
    settings: FitSettings,
    conditions: Conditions,
    *,
    batch: int,
    side_px: int,
    validate: Validate | None = None,
    folder: Path | None = None,
    progress: Callable[[Progress], None] = lambda told: None,
) -> Fitted:
    """Train a flake network at half resolution; it ends at full resolution as it began.

    Parameters
    ----------
    network : Module
        A `FlakeNetwork`; changed in place.
    scenes : sequence of Scene
    settings : FitSettings
    conditions : Conditions
    batch, side_px : int
        Patches per step, and their side, a multiple of 32.
    validate, folder, progress
        As in `loop.fit`.

    Raises
    ------
    InputError
        If the network is of another family.
    """
    if not isinstance(network, FlakeNetwork):
        raise InputError("fit_flakes trains flake-n, flake-s or flake-m; build one of them")
    network.half = True

    def draw(step: int) -> tuple[FloatMaps, FloatMaps]:
        return draw_batch(
            scenes, step, seed=settings.seed, count=batch, side_px=side_px, conditions=conditions
        )

    try:
        return fit(
            network, draw, flake_loss, settings,
            validate=validate, folder=folder, progress=progress,
        )  # fmt: skip
    finally:
        network.half = False


def _patches(settings: PretrainSettings) -> int:
    """Patches that are validated on: two of a held-out scene, 48 at most."""
    return min(2 * settings.held_out, 48)


def synthetic_check(scenes: Sequence[Scene], *, side_px: int = 256, count: int = 48) -> Validate:
    """Return a function that scores a network on patches that never change.

    Its figures: loss; foreground_iou; boundary_f1; recall and precision of terraces of 50 px or
    more at IoU 0.5.
    """
    images, targets = draw_batch(
        scenes, 0, seed=99, count=count, side_px=side_px, conditions=Conditions()
    )

    def check(network: nn.Module) -> Mapping[str, float]:
        device = next(network.parameters()).device
        parts = [
            network(torch.from_numpy(images[i : i + 8]).to(device)).float().cpu()
            for i in range(0, count, 8)
        ]
        logits = torch.cat(parts)
        loss = float(flake_loss(logits, torch.from_numpy(targets)))
        return {"loss": loss, **map_figures(torch.sigmoid(logits).numpy(), targets)}

    return check


def map_figures(maps: FloatMaps, targets: FloatMaps) -> dict[str, float]:
    """Compare drawn maps with targets, both (N, 3, h, w)."""
    known = targets[:, 0] < 1.5
    drawn, wanted = (maps[:, 0] > 0.5) & known, (targets[:, 0] > 0.5) & known
    lines, meetings = (maps[:, 1] > 0.5) & known, (targets[:, 1] > 0.5) & known
    hits, found, real = 0, 0, 0
    for one, truth in zip(maps, targets, strict=True):
        h, f, r = _matches(one, truth)
        hits, found, real = hits + h, found + f, real + r
    return {
        "foreground_iou": _ratio((drawn & wanted).sum(), (drawn | wanted).sum()),
        "boundary_f1": _ratio(2 * (lines & meetings).sum(), lines.sum() + meetings.sum()),
        "recall": _ratio(hits, real),
        "precision": _ratio(hits, found),
    }


def _matches(maps: FloatMaps, truth: FloatMaps) -> tuple[int, int, int]:
    """Terraces found at IoU 0.5, found in all and marked in all; truth decoded like the maps."""
    ideal = truth.copy()
    ideal[0][ideal[0] > 1.5] = 0
    found = decode(np.ascontiguousarray(maps.transpose(1, 2, 0)))
    real = decode(np.ascontiguousarray(ideal.transpose(1, 2, 0)))
    size_f, size_r = np.bincount(found.ravel()), np.bincount(real.ravel())
    shared = np.zeros((len(size_r), len(size_f)), np.int64)
    np.add.at(shared, (real.ravel(), found.ravel()), 1)
    total = size_r[:, None] + size_f[None] - shared
    good = (shared > 0.5 * total)[1:, 1:]
    large_r, large_f = size_r[1:] >= _LEAST_PX, size_f[1:] >= _LEAST_PX
    hits = int(good[large_r].any(axis=1).sum()) if good.size else 0
    return hits, int(large_f.sum()), int(large_r.sum())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def pretrained_card(
    settings: PretrainSettings, fitted: Fitted, figures: Mapping[str, float]
) -> ModelCard:
    """Card of a network that saw synthetic scenes only."""
    kept = ("loss", "foreground_iou", "boundary_f1", "recall", "precision")
    return ModelCard(
        name=settings.network,
        task="flakes",
        output="instances",
        classes=MAPS,
        normalisation="contrast",
        trained_on=(
            TrainingSet(
                "synthetic micrographs of layerscope.synth", "BSD-3-Clause", "layerscope",
                images=settings.scenes,
            ),
        ),
        thresholds={"foreground": FOREGROUND},
        metrics={f"synthetic_{k}": round(float(figures[k]), 4) for k in kept if k in figures},
        settings={**asdict(settings), "steps_taken": fitted.steps},
    )  # fmt: skip
