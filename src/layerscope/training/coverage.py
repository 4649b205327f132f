"""`layerscope train coverage`: the models of the WSe2 study, and ours, from labelled pictures.

    load -> one scale -> part by specimen -> patches -> fit -> file -> try on whole pictures

The study parted patches, so that a picture taught and tested; here specimens are parted, and the
figures in the card are those of whole pictures of specimens that taught nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from layerscope.core.examples import IGNORE, DataSet
from layerscope.core.results import IntArray
from layerscope.errors import InputError, MissingExtra
from layerscope.models.card import ModelCard, TrainingSet
from layerscope.ops.normalisation import as_unit
from layerscope.training.coverage_interval import interval_metrics
from layerscope.training.coverage_patches import (
    Pictures,
    coverage_of,
    error_figures,
    scaled_picture,
)
from layerscope.training.coverage_settings import CoverageSettings, Parts
from layerscope.training.labelled import LabelledImages, load_labelled
from layerscope.training.seen import fingerprints
from layerscope.training.splits import hold_out

Tell = Callable[[str], None]

_TEST_SHARE, _VALID_SHARE = 0.1, 0.11


@dataclass(frozen=True, eq=False)
class CoverageTraining:
    """A finished training: its card as written, why it ended, and the steps it took."""

    card: ModelCard
    stopped: str
    steps: int


def train_coverage(
    dataset: DataSet,
    out: Path,
    settings: CoverageSettings | None = None,
    *,
    name: str = "",
    tell: Tell = lambda text: None,
) -> CoverageTraining:
    """Train a model of coverage and write it as one file.

    Parameters
    ----------
    dataset : DataSet
        Pictures with masks; every class but the first is film.
    out : path
        Ends in ``.onnx``.
    settings : CoverageSettings, optional
    name : str
        Of the data, for the card.
    tell : callable
        Is told one line at a time.

    Raises
    ------
    InputError
        If the settings or data cannot be used.
    MissingExtra
        Without torch.
    """
    settings = settings or CoverageSettings()
    if out.suffix != ".onnx":
        raise InputError(f"{out.name}: expected a name that ends in .onnx")
    try:
        from layerscope.training.coverage_fit import fit_model
        from layerscope.training.coverage_search import search
    except ImportError:
        raise MissingExtra.of("training coverage", "train") from None
    loaded = load_labelled(dataset)
    for note in loaded.notes:
        tell(note)
    known = {e.name: e.pixel_size_nm for e in dataset.examples}
    sizes = [known[n] for n in loaded.names]
    parts = part_pictures(loaded, sizes, settings, tell)
    model, options = search(parts, settings, tell) if settings.tune else (settings.published, {})
    fitted = fit_model(parts, settings, model, options, tell)
    card = _card(loaded, parts, settings, out, name)
    card = fitted.write(replace(card, settings={**card.settings, **fitted.told}), out)
    card = _tried(card, parts, out, tell)
    return CoverageTraining(card, fitted.stopped, fitted.steps)


def part_pictures(
    loaded: LabelledImages,
    sizes_nm: Sequence[float | None],
    settings: CoverageSettings,
    tell: Tell = lambda text: None,
) -> Parts:
    """Bring pictures to one scale and part them by specimen: train, valid, test.

    With two specimens the second does for both, with one nothing is held out.
    """
    model, sides = settings.published, np.array([min(m.shape) for m in loaded.labels], float)
    target_nm = None
    factors = np.clip(1.0, model.least_side_px / sides, model.side_px / sides)
    known = [s for s in sizes_nm if s is not None]
    if len(known) == len(sides) and model.sides_px is None:
        target_nm = float(np.median(np.array(known) / factors))
        factors = np.maximum(np.array(known) / target_nm, 1.05 * model.size_px / sides)
    pictures = [
        scaled_picture(loaded.images[i], loaded.labels[i], float(f), model)
        for i, f in enumerate(factors)
    ]
    train, valid, test = _parted(loaded.groups, settings.seed)
    held = len(test) > 0
    if not held:
        tell("one specimen: nothing can be held out, so no interval; mark a second one")
        valid = test = train
    elif np.array_equal(valid, test):
        tell("two specimens: the second says when to stop and tries the model; mark a third")

    def some(index: IntArray) -> Pictures:
        return Pictures([pictures[i][0] for i in index], [pictures[i][1] for i in index])

    tried = Pictures([loaded.images[i] for i in test], [loaded.labels[i] for i in test])
    own = tuple(sizes_nm[i] for i in test)
    names = tuple(loaded.names[i] for i in test) if held else ()
    tell(
        f"{len(train)} pictures to learn from, {len(valid) if held else 0} to stop by, "
        f"{len(names)} to try the model on"
    )
    return Parts(some(train), some(valid), tried, names, target_nm, held, own)


def _parted(groups: tuple[str, ...], seed: int) -> tuple[IntArray, IntArray, IntArray]:
    everything, nothing = np.arange(len(groups)), np.zeros(0, np.intp)
    if len(set(groups)) < 2:
        return everything, nothing, nothing
    rest, test = hold_out(groups, _TEST_SHARE, seed)
    left = [groups[i] for i in rest]
    if len(set(left)) < 2:
        return rest, test, test
    train, valid = hold_out(left, _VALID_SHARE, seed + 1)
    return rest[train], rest[valid], test


def _card(
    loaded: LabelledImages, parts: Parts, settings: CoverageSettings, out: Path, name: str
) -> ModelCard:
    model = settings.published
    return ModelCard(
        name=out.stem,
        task="coverage",
        output="fraction" if model.gives == "number" else "labels",
        classes=("film",),
        channels=model.channels,
        normalisation=model.normalisation,
        network=model.network,
        trained_on=(_source(loaded, parts, name),),
        settings={
            "model": settings.model,
            "patch_px": model.size_px,
            "side_px": model.side_px,
            "reads": model.reads,
            "pixel_size_nm": parts.pixel_size_nm,
            "seed": settings.seed,
            "minutes": settings.minutes,
        },
    )


def _source(loaded: LabelledImages, parts: Parts, name: str) -> TrainingSet:
    """All images are counted; those held out for the last test taught nothing."""
    held = set(parts.test_names)
    taught = (i for n, i in zip(loaded.names, loaded.images, strict=True) if n not in held)
    return TrainingSet(name, images=len(loaded), groups=loaded.specimens, seen=fingerprints(taught))


def _tried(card: ModelCard, parts: Parts, out: Path, tell: Tell) -> ModelCard:
    """Try the written model on whole pictures that taught nothing, and note the figures."""
    from layerscope.models.file import read_model
    from layerscope.tasks.coverage.learned import ask
    from layerscope.training.coverage_fit import note_figures

    if not parts.held_out:
        return card
    model = read_model(out)
    true, answers = [], []
    test = parts.test
    for image, mask, size_nm in zip(test.images, test.masks, parts.test_sizes_nm, strict=True):
        answers.append(ask(model, as_unit(image), mask != IGNORE, size_nm))
        true.append(coverage_of(mask))
    figures = error_figures(np.array([a.fraction for a in answers]), np.array(true))
    told = ", ".join(f"{k.upper()} {v:.3f}" for k, v in figures.items())
    tell(f"on {len(true)} whole pictures of unseen specimens: {told}")
    metrics = {f"held_out_{k}": v for k, v in figures.items()} | {"held_out_images": len(true)}
    metrics |= interval_metrics(answers, true)
    return note_figures(card, {**card.metrics, **metrics}, out)
