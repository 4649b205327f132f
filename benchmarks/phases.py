"""`layerscope train phases` against a plain pixel forest, on synthetic TEM of known truth.

Film, flake and hole, each image of a specimen of its own, any magnification. Both learn from the
same images and are judged on others:

    python benchmarks/phases.py                      # 90 images, 10 minutes
    python benchmarks/phases.py --images 5 --minutes 3

With ``--cpu`` minutes are those of one processor core, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from layerscope.core.examples import DataSet, Example
from layerscope.models.file import read_model
from layerscope.models.forest import ForestSettings, grow_forest, join_samples
from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.synth.em import CLASSES, synth_em
from layerscope.training.choice import Candidate, confusion_of, iou_of, mean_iou
from layerscope.training.forest_trial import sample_images
from layerscope.training.labelled import LabelledImages, load_labelled
from layerscope.training.phases import PhaseSettings, train_phases

SHAPE = (688, 772)
PIXELS = 60_000


def make_set(first: int, number: int) -> DataSet:
    examples = []
    for seed in range(first, first + number):
        drawn = synth_em(seed, shape=SHAPE)
        image, size = drawn.micrograph.data, drawn.micrograph.require_scale()
        name = f"tem-{seed:05d}"
        examples.append(
            Example.from_arrays(name, image, drawn.label_map, pixel_size_nm=1e3 * size.um)
        )
    return DataSet(tuple(examples), CLASSES)


def plain_forest(train: LabelledImages, test: LabelledImages) -> np.ndarray:
    """100 trees on the 49 features of grey values, as many programs do it."""
    drawn = sample_images(train, Candidate("forest", "unit", "scales"), PIXELS, jobs=2)
    forest = grow_forest(join_samples(drawn.learned), ForestSettings(least_leaf=1, jobs=2))
    confusion = []
    for i, labels in enumerate(test.labels):
        planes = pixel_features(normalise("unit", test.unit(i)), "scales")
        rows = planes.reshape(len(planes), -1)[:, ::4].T
        found = forest.predict(rows).astype(np.uint8)
        confusion.append(confusion_of(labels.ravel()[::4], found, len(test.classes)))
    return np.mean(confusion, axis=0)


def asked(path: Path, test: LabelledImages) -> np.ndarray:
    model = read_model(path)
    confusion = []
    for image, labels in zip(test.images, test.labels, strict=True):
        found = model.predict(image).argmax(axis=2).astype(np.uint8)
        confusion.append(confusion_of(labels.ravel(), found.ravel(), len(test.classes)))
    return np.mean(confusion, axis=0)


def show(name: str, confusion: np.ndarray) -> None:
    each = ", ".join(f"{c} {v:.3f}" for c, v in zip(CLASSES, iou_of(confusion), strict=True))
    print(f"{name}: mean IoU {mean_iou(confusion):.3f} ({each})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=90)
    parser.add_argument("--tests", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--network", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true")
    told = parser.parse_args()
    data = make_set(1000 * told.seed, told.images)
    test = load_labelled(make_set(900_000, told.tests))
    clock = time.process_time if told.cpu else time.monotonic
    jobs = 1 if told.cpu else os.cpu_count() or 1
    settings = PhaseSettings(told.network, minutes=told.minutes, seed=told.seed, jobs=jobs)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        began = clock()
        train_phases(data, path, settings, tell=lambda s: print(s, flush=True), clock=clock)
        print(f"trained in {(clock() - began) / 60:.1f} min", flush=True)
        show("layerscope train phases", asked(path, test))
    show("plain forest of 100 trees", plain_forest(load_labelled(data), test))


if __name__ == "__main__":
    main()
