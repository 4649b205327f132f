"""The flake network beside the classical finder: without labels, after a few labels, and in time.

    python benchmarks/flake_network.py [DATA] [--model flake-n] [--part zero|few|speed]

DATA is the folder `optical` of the shared data (default ../shared/data/optical). `zero`: marked
flakes that each finder finds, as benchmarks/find_flakes.py counts them. `few`: taught by some
images and scored on others, mask AP at IoU 0.5 (COCO's rule); classes of hBN are told from the
colour of a region by one Gaussian per class, fitted to the labelled images, the same for every
finder. `speed`: CPU time per frame of 1280 x 720 cut from real fields.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from find_flakes import LEFT_OUT, box_ious, mask_ious, with_whole_flakes
from layerscope.core.evaluation import Objects
from layerscope.core.examples import DataSet, Example
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import Detections
from layerscope.io import read
from layerscope.io.annotated import read_dataset
from layerscope.measure.scores_overlap import mask_iou
from layerscope.measure.scores_precision import average_precision, match_objects, rank_class
from layerscope.models.file import read_model
from layerscope.models.shipped import open_model
from layerscope.tasks.finders import FINDERS, Finder, choose_finder
from layerscope.training.flakes import GEOMETRIES, FlakeSettings, train_flakes

SHAPE = (720, 1280)


def kept(find: Finder, image: Micrograph, min_area_px: int) -> Detections:
    """What a run keeps of one image."""
    found, _ = find(image, min_area_px=min_area_px)
    return found[(found.flags & LEFT_OUT) == 0]


def zero(data: Path, finders: dict[str, Finder], every: int) -> None:
    """Share of marked flakes found, no label used."""
    for name, find in finders.items():
        ious: list[float] = []
        number = 0
        for path in sorted(data.glob("exfoliated/graphene/images/*.jpg")):
            found = kept(find, read(path), 200)
            truth = cv2.imread(str(path.parents[1] / "instances" / f"{path.stem}.png"), -1)
            ious += mask_ious(found, truth)
            number += len(found)
        tell(f"graphene masks, {name}", ious, number)
    for name, find in finders.items():
        ious, whole, number = [], [], 0
        for path in sorted(data.glob("monolayer_boxes/*/images/*.jpg"))[::every]:
            image = read(path)
            found = kept(find, image, 100)
            labels = path.parents[1] / "labels" / f"{path.stem}.txt"
            ious += box_ious(found.masks.boxes, labels, image.shape)
            every_box = with_whole_flakes(found) if len(found) else found.masks.boxes
            whole += box_ious(every_box, labels, image.shape)
            number += len(found)
        tell(f"monolayer boxes, {name}", ious, number)
        print(f"   counting whole flakes too: {np.mean(np.array(whole) >= 0.5):.3f}")


def tell(what: str, ious: Sequence[float], number: int) -> None:
    values = np.array(ious)
    shares = ", ".join(f"{np.mean(values >= t):.3f} at {t}" for t in (0.3, 0.5, 0.75))
    print(f"{what}: {len(values)} marked, found {shares}; {number} regions", flush=True)


class Colours:
    """One Gaussian per class in the logarithm of the contrast of marked flakes."""

    def __init__(self, examples: Sequence[Example], finder: Finder):
        rows: dict[int, list[np.ndarray]] = {}
        for example in examples:
            image = as_micrograph(example)
            _, background = finder(image, min_area_px=200)
            bare = background.at(image.shape)
            for mark in example.instances or ():
                if mark.mask is None:
                    continue
                top, left, bottom, right = mark.box
                core = cv2.erode(np.pad(mark.mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))
                core = core[1:-1, 1:-1] > 0
                inside = core if core.any() else mark.mask
                level = image.data[top:bottom, left:right][inside] / image.white_level
                ratio = np.median(level / bare[top:bottom, left:right][inside], axis=0)
                rows.setdefault(mark.class_index, []).append(np.log(np.maximum(ratio, 0.02)))
        self.classes = sorted(rows)
        self.mean = np.array([np.mean(rows[c], axis=0) for c in self.classes])
        pooled = np.concatenate([np.array(rows[c]) - np.mean(rows[c], axis=0) for c in rows])
        spread = np.cov(pooled.T) + 1e-4 * np.eye(3)
        self.inverse = np.linalg.inv(spread)

    def objects(self, found: Detections) -> Objects:
        """Regions with their class; the score is the finder's times the class's probability."""
        ratio = found.signal.level / np.maximum(found.signal.background, 1e-3)
        off = np.log(np.maximum(ratio, 0.02))[:, None] - self.mean
        fit = -0.5 * np.einsum("nci,ij,ncj->nc", off, self.inverse, off)
        share = np.exp(fit - fit.max(axis=1, keepdims=True, initial=-1e9))
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
        best = share.argmax(axis=1) if len(found) else np.zeros(0, int)
        chosen = share[np.arange(len(found)), best]
        return Objects.found(found.masks, np.array(self.classes)[best], found.score * chosen)


def as_micrograph(example: Example) -> Micrograph:
    return read(example.path)


def precision_at_half(pairs: Sequence[tuple[Objects, Objects]], class_index: int) -> float:
    """Mask AP at IoU 0.5 of one class over images."""
    ranked = []
    for found, marked in pairs:
        mine = found.take(np.flatnonzero(found.class_index == class_index))
        real = marked.take(np.flatnonzero(marked.class_index == class_index))
        iou = mask_iou(mine.masks, real.masks, real.crowd)
        areas = (mine.masks.area_px, real.masks.area_px)
        ranked.append(match_objects(mine, real, iou, areas, max_detections=1000))
    precision, _ = average_precision(rank_class(ranked), max_detections=1000)
    return float(precision[0, 0])


def score(
    data: DataSet, finder: Finder, name_of: Callable[[Detections], Objects], min_area_px: int
) -> list[tuple[Objects, Objects]]:
    pairs = []
    for example in data.examples:
        found = kept(finder, as_micrograph(example), min_area_px)
        pairs.append((name_of(found), Objects.marked(example.instances or (), example.shape)))
    return pairs


def few(data: Path, model: str, settings: FlakeSettings) -> None:
    """Taught by some images, scored on the others."""
    graphene = read_dataset(data / "exfoliated/graphene")
    print(
        "graphene, mask AP50 of what is marked, each image held out once (train on 3, test on 2):"
    )
    folds = [([0, 2, 4], [1, 3]), ([1, 3, 4], [0, 2])]
    pairs: dict[str, list[tuple[Objects, Objects]]] = {}

    def plain(found: Detections) -> Objects:
        return Objects.found(found.masks, np.ones(len(found), np.int64), found.score)

    for train, test in folds:
        tuned = tune(graphene.take(train), settings)
        for name, find in finders_of(model, tuned).items():
            pairs.setdefault(name, []).extend(score(graphene.take(test), find, plain, 200))
    for name, each in pairs.items():
        print(f"   {name}: {precision_at_half(each, 1):.3f}", flush=True)

    hbn = read_dataset(data / "hbn_coco")
    train, test = list(range(0, 20, 4)), [i for i in range(20) if i % 4]
    print("hBN, mask AP50 on 15 images, 5 others labelled:")
    tuned = tune(hbn.take(train), settings)
    colours = Colours(hbn.take(train).examples, choose_finder("classical"))
    for name, find in finders_of(model, tuned).items():
        each = score(hbn.take(test), find, colours.objects, 60)
        values = [f"{c} {precision_at_half(each, i):.3f}" for i, c in enumerate(hbn.classes) if i]
        print(f"   {name}: {', '.join(values)}", flush=True)


def finders_of(model: str, tuned: Path) -> dict[str, Finder]:
    return {
        "classical": choose_finder("classical"),
        "pretrained": choose_finder("network", open_model(model)),
        "both, pretrained": choose_finder("both", open_model(model)),
        "taught": choose_finder("network", read_model(tuned)),
        "both, taught": choose_finder("both", read_model(tuned)),
    }


def tune(data: DataSet, settings: FlakeSettings) -> Path:
    out = Path(tempfile.mkdtemp()) / "tuned.onnx"
    started = time.process_time()
    train_flakes(data, out, settings)
    print(f"   ({len(data)} images, {time.process_time() - started:.0f} s CPU)", flush=True)
    return out


def speed(data: Path, finders: dict[str, Finder], repeat: int) -> None:
    """CPU time per frame, least of `repeat`, over fields of all materials and sets."""
    paths = sorted(data.glob("exfoliated/*/images/*.jpg")) + sorted(data.glob("hbn_coco/*/*.jpg"))
    frames = []
    for path in paths:
        image = read(path)
        top, left = ((n - m) // 2 for n, m in zip(image.shape, SHAPE, strict=True))
        pixels = np.ascontiguousarray(image.data[top : top + SHAPE[0], left : left + SHAPE[1]])
        frames.append(Micrograph(pixels, image.modality, name=path.name))
    for name, find in finders.items():
        least = np.full(len(frames), np.inf)
        for _ in range(repeat):
            for i, frame in enumerate(frames):
                started = time.process_time()
                find(frame, min_area_px=200)
                least[i] = min(least[i], time.process_time() - started)
        mean, median = least.mean() * 1e3, np.median(least) * 1e3
        print(
            f"{name}: {len(frames)} frames of 1280 x 720, CPU ms median {median:.0f},"
            f" mean {mean:.0f},"
            f" {least.min() * 1e3:.0f} to {least.max() * 1e3:.0f};"
            f" two cores: {2000 / mean:.0f} frames/s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parents[1]
    parser.add_argument("data", nargs="?", type=Path, default=here.parent / "shared/data/optical")
    parser.add_argument("--model", default="flake-n")
    parser.add_argument("--part", choices=("zero", "few", "speed"), action="append")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="keep")
    parser.add_argument("--minutes", type=float, default=0.0, help="of fine-tuning; 0: all steps")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=1, help="only each n-th picture with boxes")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = open_model(options.model)
    finders = {n: choose_finder(n, None if n == "classical" else model) for n in FINDERS}
    parts = options.part or ["zero", "few", "speed"]
    if "zero" in parts:
        zero(options.data, finders, options.every)
    if "few" in parts:
        settings = FlakeSettings(
            options.model, options.geometry, minutes=options.minutes, steps=options.steps
        )
        few(options.data, options.model, settings)
    if "speed" in parts:
        speed(options.data, finders, options.repeat)


if __name__ == "__main__":
    main()
