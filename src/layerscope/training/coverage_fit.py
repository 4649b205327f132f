"""Fit one model of coverage and write its file: the part that needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from layerscope.core.examples import IGNORE
from layerscope.core.results import FloatArray
from layerscope.models.card import ModelCard
from layerscope.ops.augmentation import Augmentation
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.training.coverage_models import CoverageModel
from layerscope.training.coverage_patches import (
    Pictures,
    Place,
    copies_of,
    coverage_of,
    draw_places,
    turned_anew,
)
from layerscope.training.export import (
    bare_graph,
    export_model,
    quiet_exporter,
    versions,
    write_graph,
    write_weights,
)
from layerscope.training.loop import Batch, FitSettings, Fitted, Validate, fit
from layerscope.training.losses import build_loss
from layerscope.training.networks import build
from layerscope.training.networks.network import Network
from layerscope.training.patches import PatchSource

if TYPE_CHECKING:
    from layerscope.training.coverage_settings import CoverageSettings, Parts

Array = np.ndarray[Any, np.dtype[Any]]

_MOST_JUDGED = 64  # patches of the training that its error is read from after an epoch
_STEPS_PER_EPOCH = 50  # of ours, which has no fixed patches
_FAR_STEPS = 10**6


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A network that learned, and what the card shall say of it."""

    network: Network
    stopped: str
    steps: int
    told: Mapping[str, Any]
    patch_px: int
    numbers: bool

    def write(self, card: ModelCard, out: Path) -> ModelCard:
        """Write the file and return its card as written."""
        if not self.numbers:
            return export_model(self.network, card, out)
        return _write_numbers(self.network, card, out, self.patch_px)


@dataclass(frozen=True, eq=False)
class _Task:
    """Batches, what judges them, and the part of the network that learns."""

    module: nn.Module
    batch: Batch
    validate: Validate
    per_epoch: int


@dataclass(frozen=True, eq=False)
class _Patches:
    """Patches of pictures as a network takes them."""

    pictures: Pictures
    model: CoverageModel
    places: tuple[Place, ...]
    seed: int
    kept: dict[int, tuple[FloatImage, Any]] = field(default_factory=dict)

    def take(self, index: int, step: int | None = None) -> tuple[FloatImage, Any]:
        """Patch (C, S, S) and its target; with a step it is turned anew where the model says."""
        if step is not None and self.model.on_the_fly:
            rng = np.random.default_rng([self.seed, step, index])
            place = self.places[index]
            shape = self.pictures.images[place.picture].shape
            return self.cut(turned_anew(place, shape, self.model.size_px, rng))
        if index not in self.kept:
            self.kept[index] = self.cut(self.places[index])
        return self.kept[index]

    def cut(self, place: Place) -> tuple[FloatImage, Any]:
        image, mask = self.pictures.cut(place, self.model.size_px)
        seen = normalise(self.model.normalisation, image).transpose(2, 0, 1)
        if self.model.gives == "number":
            return seen, np.array([coverage_of(mask)], np.float32)
        return seen, mask[None].astype(np.float32)

    def batch(self, step: int, size: int) -> tuple[Array, Array]:
        """Patches of one step: every one once in an epoch, in an order of its own."""
        drawn = [self.take(i, step) for i in epoch_indices(len(self.places), size, step, self.seed)]
        return np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])


def epoch_indices(n: int, size: int, step: int, seed: int) -> list[int]:
    """Which of `n` patches a step takes; the last step of an epoch may be short."""
    epoch, at = divmod(step, -(-n // size))
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return [int(i) for i in order[at * size : (at + 1) * size]]


def fit_model(
    parts: Parts,
    settings: CoverageSettings,
    model: CoverageModel,
    options: Mapping[str, Any],
    tell: Callable[[str], None],
) -> FittedModel:
    """Train a model on `parts`, its network built with `options` that a search has chosen."""
    network = make_network(model, settings, options)
    tell(f"{settings.model}: {network.origin}")
    if model.weights and settings.weights is None:
        tell(f"the study started from {model.weights} weights: --weights {model.weights} or a path")
    task = make_task(network, model, parts, settings.seed)
    fitted = run_task(task, model, settings)
    tell(f"{fitted.steps} steps, {fitted.seconds:.0f} s, stopped by {fitted.stopped}")
    about = {"steps": fitted.steps, "stopped": fitted.stopped, "origin": network.origin}
    if settings.tune:
        rate, batch = model.learning_rate, model.batch
        about["tuned"] = {**options, "learning_rate": rate, "batch": batch}
    return FittedModel(
        network, fitted.stopped, fitted.steps, about, model.size_px, model.gives == "number"
    )


def make_network(
    model: CoverageModel, settings: CoverageSettings, options: Mapping[str, Any]
) -> Network:
    """Network of a model, from the weights that were told."""
    return build(
        model.network, channels=model.channels, outputs=1, weights=settings.weights,
        seed=settings.seed, **options,
    )  # fmt: skip


def run_task(task: _Task, model: CoverageModel, settings: CoverageSettings) -> Fitted:
    """Fit until the study's rule, the epochs or the minutes say stop."""
    epochs = settings.epochs or model.epochs
    steps = epochs * task.per_epoch or _FAR_STEPS
    chosen = FitSettings(
        steps=steps,
        minutes=settings.minutes,
        learning_rate=model.learning_rate,
        weight_decay=0.0,
        optimiser="adam",
        schedule="constant",
        warmup_steps=0,
        clip=0.0,
        validations=max(1, steps // task.per_epoch),
        metric="valid_iou" if model.gives == "maps" else "",
        patience=model.patience,
        goals=dict(model.goals),
        seed=settings.seed,
    )
    if not model.epochs:  # ours: the rate falls to the end of the time
        chosen = replace(
            chosen, schedule="cosine", warmup_steps=50, clip=1.0, validations=20, ema=0.995,
            optimiser="adamw", metric="valid_rmse", lower_is_better=True,
        )  # fmt: skip
    loss = build_loss(model.loss, **model.loss_parameters)
    return fit(task.module, task.batch, loss, chosen, validate=task.validate)


Kept = dict[str, tuple[Array, Array]]
"""Vectors of patches to learn from and to stop by, which trials of a search share."""


def make_task(
    network: Network, model: CoverageModel, parts: Parts, seed: int, kept: Kept | None = None
) -> _Task:
    """Batches of a model and how it is judged after an epoch; `kept` saves what is costly."""
    if not model.patches:
        return _endless(network, model, parts, seed)
    rng = np.random.default_rng([seed, model.size_px])
    train, valid = (
        _Patches(p, model, draw_places(p, model.size_px, model.patches, rng), seed)
        for p in (parts.train, parts.valid)
    )
    per_epoch = -(-len(train.places) // model.batch)
    if model.frozen:
        return _frozen(network, model, train, valid, {} if kept is None else kept)
    judge = _judge_numbers if model.gives == "number" else _judge_maps
    return _Task(
        network, lambda step: train.batch(step, model.batch), judge(train, valid), per_epoch
    )


def _endless(network: Network, model: CoverageModel, parts: Parts, seed: int) -> _Task:
    """Ours: patches without end, scale and look drawn anew each time."""
    source = PatchSource(
        parts.train.images, parts.train.masks, model.size_px, _LOOK, seed,
        lambda image: normalise(model.normalisation, image), foreground_share=0.0,
    )  # fmt: skip

    def batch(step: int) -> tuple[Array, Array]:
        x, y = source.batch(step, model.batch)
        if model.reads == "film":
            x = mislead(x, np.random.default_rng([seed, step, 0x3157]))
        return x, y[:, None].astype(np.float32)

    return _Task(network, batch, _judge_whole(parts.valid, model), _STEPS_PER_EPOCH)


_MISLED_SHARE = 0.4


def mislead(x: Array, rng: np.random.Generator) -> Array:
    """Cut some pictures at any grey value in the channels that guess from the histogram.

    The guesses are right so often that a network would learn nothing else, and share their errors:
    8 of 200 films came out inverted. Taught that a cut may be wrong, it looks at the rims.

    Parameters
    ----------
    x : ndarray of float32, (N, 4, S, S)
        See `tasks.coverage.channels.film_channels`.
    rng : Generator
    """
    out = x.copy()
    for i in range(len(x)):
        for k in (2, 3):
            if rng.random() < _MISLED_SHARE:
                cut = np.quantile(x[i, 0], rng.uniform(0.02, 0.98))
                width = np.exp(rng.uniform(np.log(0.01), np.log(0.1)))
                out[i, k] = 1 / (1 + np.exp(-np.clip((x[i, 0] - cut) / width, -30, 30)))
    return out


_LOOK = Augmentation(scale=(0.6, 1.6)).only_geometry()
"""Rank and odds belong to a whole picture: its contrast is varied before, in the scenes."""


def _frozen(
    network: Network, model: CoverageModel, train: _Patches, valid: _Patches, kept: Kept
) -> _Task:
    """Features once, of eight copies of every patch to learn from; then the head alone."""
    device = next(network.parameters()).device

    def vectors(patches: _Patches, places: list[Place]) -> tuple[Array, Array]:
        out = []
        for place in places:
            x, y = patches.cut(place)
            seen = network.features(torch.from_numpy(np.ascontiguousarray(x))[None].to(device))
            out.append((seen[0].cpu().numpy()[:, None, None], y))
        return np.stack([x for x, _ in out]), np.stack([y for _, y in out])

    if not kept:
        network.eval()
        kept["train"] = vectors(train, [c for p in train.places for c in copies_of(p)])
        kept["valid"] = vectors(valid, list(valid.places))
    (x, y), (x_valid, y_valid) = kept["train"], kept["valid"]

    def batch(step: int) -> tuple[Array, Array]:
        some = epoch_indices(len(x), model.batch, step, train.seed)
        return x[some], y[some]

    def validate(head: nn.Module) -> dict[str, float]:
        return {
            "train_mae": _mae(head, x[:: max(1, len(x) // 512)], y[:: max(1, len(x) // 512)]),
            "valid_mae": _mae(head, x_valid, y_valid),
        }

    head: Any = network.head
    return _Task(nn.Sequential(nn.Flatten(), head), batch, validate, -(-len(x) // model.batch))


def _judge_numbers(train: _Patches, valid: _Patches) -> Validate:
    def validate(network: nn.Module) -> dict[str, float]:
        figures = {}
        for name, patches in (("train_mae", train), ("valid_mae", valid)):
            some = range(0, len(patches.places), -(-len(patches.places) // _MOST_JUDGED))
            drawn = [patches.take(i) for i in some]
            figures[name] = _mae(
                network, np.stack([x for x, _ in drawn]), np.stack([y for _, y in drawn])
            )
        return figures

    return validate


def _mae(network: nn.Module, x: Array, y: Array) -> float:
    device = next(network.parameters()).device
    found = [
        network(torch.from_numpy(np.ascontiguousarray(x[i : i + 32])).to(device)).cpu().numpy()
        for i in range(0, len(x), 32)
    ]
    return float(np.mean(np.abs(np.concatenate(found) - y)))


def _judge_maps(train: _Patches, valid: _Patches) -> Validate:
    def validate(network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        both = either = 0
        for i in range(len(valid.places)):
            x, mask = valid.take(i)
            logits = network(torch.from_numpy(np.ascontiguousarray(x))[None].to(device))
            found, known = logits[0].cpu().numpy() > 0, mask != IGNORE
            film = mask > 0
            both += int(np.count_nonzero(found & film & known))
            either += int(np.count_nonzero((found | film) & known))
        return {"valid_iou": both / max(either, 1)}

    return validate


def _judge_whole(valid: Pictures, model: CoverageModel) -> Validate:
    """Judge on whole pictures, mirrored at the far sides up to the stride as in use."""

    def validate(network: Any) -> dict[str, float]:
        device = next(network.parameters()).device
        both = either = 0
        errors = []
        for image, mask in zip(valid.images, valid.masks, strict=True):
            rows, columns = mask.shape
            grow = [(0, -n % network.stride) for n in (rows, columns)]
            seen = np.pad(
                normalise(model.normalisation, as_unit(image)), [*grow, (0, 0)], "symmetric"
            )
            x = torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))[None].to(device)
            found = network(x)[0, 0, :rows, :columns].cpu().numpy() > 0
            known, film = mask != IGNORE, (mask > 0) & (mask != IGNORE)
            both += int(np.count_nonzero(found & film))
            either += int(np.count_nonzero((found | film) & known))
            errors.append(float(found[known].mean()) - coverage_of(mask))
        return {
            "valid_iou": both / max(either, 1),
            "valid_rmse": float(np.sqrt(np.mean(np.square(errors)))),
        }

    return validate


def _write_numbers(network: Network, card: ModelCard, out: Path, patch_px: int) -> ModelCard:
    """Write a network that answers a patch of one size with a number."""
    ready = network.cpu().eval()
    example = torch.zeros(2, card.channels, patch_px, patch_px)
    with quiet_exporter():
        program = torch.onnx.export(
            ready, (example,), dynamo=True, opset_version=int(versions()["opset"]), verbose=False,
            input_names=["image"], output_names=["coverage"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
        )  # fmt: skip
    assert program is not None
    filled = replace(
        card,
        stride=patch_px,
        parameters=sum(p.numel() for p in network.parameters()),
        made_with=versions(),
    )
    graph = bare_graph(program.model_proto)
    _check_parity(ready, graph, example)
    write_graph(graph, filled, out)
    write_weights(ready.state_dict(), filled, out.with_suffix(".safetensors"))
    return filled


def _check_parity(network: nn.Module, graph: Any, example: torch.Tensor) -> None:
    from layerscope.errors import LayerscopeError
    from layerscope.models.session import open_session
    from layerscope.training.export import PARITY

    noise: FloatArray = np.random.default_rng(0).random(example.shape, np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(noise)).numpy()
    found = open_session(graph.SerializeToString()).run(None, {"image": noise})[0]
    if not float(np.abs(found - wanted).max()) <= PARITY:
        raise LayerscopeError("ONNX and torch differ; the model was not written")


def note_figures(card: ModelCard, metrics: Mapping[str, Any], out: Path) -> ModelCard:
    """Write the card of a file again, with other metrics."""
    import onnx

    noted = replace(card, metrics=metrics)
    write_graph(onnx.load(str(out)), noted, out)
    return noted
