"""The published study of WSe2 coverage, repeated: ten models, patches and whole pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.micrograph import Micrograph, Modality
from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.experiments.films import FilmWorld
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.study import Beside, Effort, Metric, Study, Trial, World
from layerscope.experiments.wse2_arms import (
    CNN_I,
    CNN_M,
    CNN_NONE,
    FEATURES_NONE,
    IMAGENET,
    MICRONET,
    MLP_I,
    MLP_M,
    PUBLISHED_PX,
    SCRATCH,
    SCRATCH_STAR,
    SEG_I,
    SEG_NONE,
    Trained,
    arms_of,
    scale_of,
    train_arm,
)
from layerscope.experiments.wse2_beside import (
    AS_PUBLISHED,
    NOTHING,
    PATCHES,
    WHOLE,
    draw_beside,
    lines_beside,
    tables_beside,
)
from layerscope.experiments.wse2_whole import ask_as_published, ask_network, ask_whole
from layerscope.ops.normalisation import normalise
from layerscope.training.coverage_patches import (
    Pictures,
    coverage_of,
    draw_places,
    error_figures,
    scaled_picture,
)

_SMALL = Effort("small", "a quarter of ResNet-18's channels", 96, 16, 200, 200, 20, 64, 16, 256)
_FULL = Effort("full", "networks as published", PUBLISHED_PX, 32, 20000, 400, 400, 200, 23, 512)
_PATCHES_PER_PICTURE = 4
_METHODS = {"threshold, nothing learned": "threshold", "edges, nothing learned": "edges"}


def run_wse2(
    world: World, seed: int, effort: Effort, weights: Mapping[str, Path] | None = None
) -> Iterator[Trial]:
    """Train every arm on the same pictures; judge each on patches and on whole pictures."""
    target, test = world.target(seed, effort), world.test(seed, effort)
    for arm in arms_of(effort):
        trained = train_arm(arm, target, effort, seed, weights or {})
        yield Trial(arm.name, _judge_patches(trained, test, seed), PATCHES)
        for panel, ask in ((AS_PUBLISHED, ask_as_published), (WHOLE, ask_whole)):
            if panel == AS_PUBLISHED and not arm.published:
                continue
            said = [ask(trained, i, m) for i, m in zip(test.images, test.labels, strict=True)]
            figures = _figures([s.fraction for s in said], test)
            if said[0].film is not None:
                figures["iou"] = _iou([s.film for s in said if s.film is not None], test)
            yield Trial(arm.name, figures, panel)
    for name, method in _METHODS.items():
        yield Trial(name, _figures(_ask_method(method, test), test), WHOLE)


def guess_mean(world: World, seed: int, effort: Effort) -> dict[str, float]:
    """Figures of the mean coverage of the pictures that teach, given for every test picture."""
    teaching = [coverage_of(m) for m in world.target(seed, effort).labels]
    test = world.test(seed, effort)
    return _figures([float(np.mean(teaching))] * len(test), test)


def with_weights(study: Study, files: Mapping[str, Path]) -> Study:
    """Let the encoders of the study start from real weights.

    Parameters
    ----------
    study : Study
        `WSE2`.
    files : mapping of str to Path
        ``imagenet`` and ``micronet``, or one of them.

    Raises
    ------
    InputError
        If the study is another one.
    UnreadableFile
        If a file is not there.
    """
    from layerscope.training.weight_files import checksum
    from layerscope.training.weights import read_state

    if study.name != WSE2.name:
        raise InputError(f"study {study.name} starts from no weights: --imagenet is for wse2")
    for path in files.values():
        read_state(path)
    return replace(
        study,
        run=partial(run_wse2, weights=dict(files)),
        options={name: checksum(path) for name, path in sorted(files.items())},
    )


def _figures(found: list[float], test: Labelled) -> dict[str, float]:
    return error_figures(np.array(found), np.array([coverage_of(m) for m in test.labels]))


def _judge_patches(trained: Trained, test: Labelled, seed: int) -> dict[str, float]:
    """Patches cut from the test pictures as those that taught, each its own coverage."""
    model = trained.model
    pairs = [
        scaled_picture(image, labels, scale_of(labels.shape, model), model)
        for image, labels in zip(test.images, test.labels, strict=True)
    ]
    pictures = Pictures([p[0] for p in pairs], [p[1] for p in pairs])
    size, rng = model.size_px, np.random.default_rng([seed, model.size_px, 0x7E57])
    cut = [pictures.cut(p, size) for p in draw_places(pictures, size, _PATCHES_PER_PICTURE, rng)]
    x = np.stack([normalise(model.normalisation, image).transpose(2, 0, 1) for image, _ in cut])
    said = ask_network(trained, x)
    if model.gives == "number":
        found = np.clip(said[:, 0], 0, 1)
    else:
        known = np.stack([mask != IGNORE for _, mask in cut])
        found = np.array([np.mean(s[0][k] > 0) for s, k in zip(said, known, strict=True)])
    return error_figures(found.astype(float), np.array([coverage_of(mask) for _, mask in cut]))


def _iou(films: list[BoolArray], test: Labelled) -> float:
    both = either = 0
    for found, labels in zip(films, test.labels, strict=True):
        known, film = labels != IGNORE, (labels > 0) & (labels != IGNORE)
        both += int(np.count_nonzero(found & film))
        either += int(np.count_nonzero((found | film) & known))
    return both / max(either, 1)


def _ask_method(method: str, test: Labelled) -> list[float]:
    """Coverage of pictures by a method that learns nothing, on the side that is film: bright."""
    from layerscope.tasks.coverage import find_coverage

    return [
        find_coverage(Micrograph(_grey(image), Modality.AFM), method=method, film="bright").fraction
        for image in test.images
    ]


def _grey(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return image[:, :, 0] if image.shape[2] == 1 else image


WSE2 = Study(
    "wse2",
    "Which way of learning the coverage of a film is right: the ten published models, again?",
    run_wse2,
    (
        (SCRATCH.name, SCRATCH_STAR.name),
        (CNN_I.name, CNN_NONE.name),
        (CNN_M.name, CNN_NONE.name),
        (MLP_I.name, FEATURES_NONE.name),
        (MLP_M.name, FEATURES_NONE.name),
        (CNN_I.name, MLP_I.name),
        (SEG_NONE.name, CNN_NONE.name),
        (SEG_I.name, CNN_I.name),
    ),
    notes=(
        "Lower is better: a difference below 0 is a gain.",
        f"{IMAGENET} and {MICRONET} weights that were not given are replaced by encoders that "
        "learned synthetic flakes and synthetic electron micrographs: what is said of them is not "
        "said of ImageNet or MicroNet.",
        "Steps are those of the CNNs; CNNsc took twice as many, an MLP five times, a segmenter "
        "half.",
    ),
    metric=Metric("rmse", "RMSE of coverage"),
    baseline=NOTHING,
    guess=guess_mean,
    efforts={e.name: e for e in (_SMALL, _FULL)},
    minutes=20.0,
    synthetic=FilmWorld,
    beside=Beside(tables_beside, lines_beside, draw_beside),
)
