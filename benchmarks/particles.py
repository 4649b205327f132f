"""Particles of published SEM and TEM pictures: average precision at overlap 0.5, held out.

    python benchmarks/particles.py                     # 48 pictures of ../shared/data
    python benchmarks/particles.py --quick             # 12 of them
    python benchmarks/particles.py --write FILE.npz    # also grow the ranker that ships, from all
    python benchmarks/particles.py --holes             # hole-aware counts on synthetic TEM
    python benchmarks/particles.py --holes --support holey --test 10 24   # by a network, of one lab
    python benchmarks/particles.py --holes --support holey --test 24 --seed 312    # of another

Compared are Otsu's threshold with a distance watershed (the smaller class is particles; or, told
from the truth, the right one), outlines ranked by a formula, and outlines ranked by the forest,
trained on other papers only. Burnt-in bars are left out for all. A picture counts like every other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from scipy import ndimage

from layerscope.core.evaluation import Objects
from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.core.micrograph import Micrograph
from layerscope.core.particles import Particles, PixelClasses
from layerscope.core.results import BoolArray, CropMasks, FloatArray
from layerscope.io import read
from layerscope.io.annotated.images import unit_pixels
from layerscope.measure.scores_masks import MaskCounts, mean_figure
from layerscope.measure.scores_overlap import mask_iou
from layerscope.measure.scores_precision import average_precision, match_objects, rank_class
from layerscope.models.file import Model, read_model
from layerscope.models.particle_ranker import write_ranker
from layerscope.ops.outline_features import SLOPE_SMOOTHING_PX
from layerscope.ops.outline_rims import with_true_rims
from layerscope.ops.outlines import Slopes, rims_of
from layerscope.ops.scale import mask_annotations
from layerscope.synth.em import CLASSES, SynthEm
from layerscope.synth.em_files import em_set
from layerscope.tasks.particle_counts import SURE
from layerscope.tasks.particle_segmentation import choose_outlines, counted_pixels, grey_of, view_of
from layerscope.tasks.particle_sources import ClassNames, ModelSource
from layerscope.tasks.particles import Separation, separate_particles
from layerscope.tasks.phases import cut_masks
from layerscope.training.particles import RankedPicture, grow_ranker, rank_picture
from layerscope.training.phases import PhaseSettings, train_phases

DATA = Path(__file__).parents[2] / "shared" / "data" / "tem" / "em_particles"
SAME_PAPER = (
    ("85dedcfd30", "9fac661e24"), ("39dda96b25", "a492171fa8"), ("3a8af6d3f4", "76dde347fc"),
    ("2e5dab1969", "a4b639ab1a"), ("478a6c42ec", "83fd5c9288"), ("85743c45d1", "f0522acde8"),
)  # fmt: skip
"""By eye: same specimen, lettering and scale bar. A fold holds both or none."""
FOLDS = 6
LABS = {"regular": 11, "holey": 12, "lacey": 13}
MOST = 1000


class Picture:
    """One picture with what is marked on it and its outlines."""

    def __init__(self, path: Path):
        self.name = path.stem
        self.image: Micrograph = mask_annotations(read(path))
        labels = cv2.imread(str(DATA / "instances" / path.name), cv2.IMREAD_UNCHANGED)
        self.marked = CropMasks.from_labels(labels.astype(np.int32))
        self.view = view_of(self.image, max(self.image.shape))
        start = time.process_time()
        grey, counted = grey_of(self.image), counted_pixels(self.image)
        grey = np.where(counted, grey, np.median(grey[counted])).astype(np.float32)
        self.grey, self.counted = grey, counted
        self.ranked: RankedPicture = rank_picture(
            grey, counted, self.marked, smallest_px=max(30.0, 2e-5 * grey.size)
        )
        self.seconds = time.process_time() - start


def otsu_watershed(picture: Picture, told: bool) -> tuple[CropMasks, FloatArray]:
    """Otsu, filled holes, watershed of the distance from summits 10 px apart; largest first."""
    grey, counted = picture.grey, picture.counted
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    level = cv2.threshold((smooth[counted] * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0]
    bright = (smooth > level / 255) & counted
    up = 2 * bright.sum() < counted.sum()
    if told:
        on = picture.marked.labels() > 0
        up = smooth[on].mean() > smooth[~on & counted].mean()
    body = ndimage.binary_fill_holes(bright if up else counted & ~bright)
    depth = ndimage.distance_transform_edt(body)
    summits, _ = ndimage.label((depth == ndimage.maximum_filter(depth, 21)) & body, np.ones((3, 3)))
    markers = np.where(body, summits, -1).astype(np.int32)
    relief = (65535 * (1 - depth / max(depth.max(), 1))).astype(np.uint16)
    found = np.where(body, ndimage.watershed_ift(relief, markers), 0).astype(np.int32)
    masks = CropMasks.from_labels(found)
    masks = masks.take(np.flatnonzero(masks.area_px >= 30))
    return masks, masks.area_px / grey.size


def by_formula(picture: Picture) -> FloatArray:
    """Steepness of the rim over the noise times evenness and convexity, larger ones first."""
    slopes = Slopes.of(picture.grey, picture.counted, SLOPE_SMOOTHING_PX)
    outlines = picture.ranked.outlines
    rims = rims_of(outlines, slopes)
    sure = np.clip(rims.slope, 0, None) * np.sqrt(outlines.area) / slopes.noise
    return sure * rims.even**2 * rims.solidity**4 * (1 - rims.at_border)


def ranked_masks(
    picture: Picture, score: FloatArray, least: float = 0.0, *, moved: bool = False
) -> tuple[CropMasks, FloatArray]:
    kept = choose_outlines(picture.ranked.outlines, score, picture.grey.shape, least)
    outlines = picture.ranked.outlines.take(kept)
    if moved:
        outlines = with_true_rims(outlines, picture.grey)
    return outlines.masks(picture.image.shape), score[kept]


def precision(masks: CropMasks, score: FloatArray, marked: CropMasks) -> tuple[float, float]:
    """COCO's average precision at overlaps of 0.5 and 0.75, of one picture."""
    one = np.ones
    found = Objects.found(masks, one(len(masks), np.int64), score / max(score.max(initial=0), 1e-9))
    truth = Objects(
        marked, one(len(marked), np.int64), one(len(marked)), np.zeros(len(marked), bool)
    )
    iou = mask_iou(masks, marked) if len(masks) else np.zeros((0, len(marked)))
    matched = match_objects(
        found, truth, iou, (masks.area_px, marked.area_px), max_detections=MOST
    )  # fmt: skip
    levels = average_precision(rank_class([matched]), max_detections=MOST)[0][0]
    return float(levels[0]), float(levels[5])


def f1_of(masks: CropMasks, marked: CropMasks) -> float:
    hits = int((mask_iou(masks, marked) >= 0.5).any(axis=0).sum()) if len(masks) else 0
    return 2 * hits / max(len(masks) + len(marked), 1)


def folds_of(pictures: list[Picture]) -> np.ndarray:
    first = {name: pair[0] for pair in SAME_PAPER for name in pair}
    groups = sorted({first.get(p.name, p.name) for p in pictures})
    return np.array([groups.index(first.get(p.name, p.name)) % FOLDS for p in pictures])


def held_out(pictures: list[Picture]) -> list[FloatArray]:
    """Scores by forests that never saw a picture of the same paper."""
    fold, scores = folds_of(pictures), [np.zeros(0)] * len(pictures)
    for k in range(FOLDS):
        others = [p.ranked for p, f in zip(pictures, fold, strict=True) if f != k]
        ranker = grow_ranker(others)
        for i in np.flatnonzero(fold == k).tolist():
            scores[i] = ranker.score(pictures[i].ranked.features)
    return scores


def compare(pictures: list[Picture]) -> dict[str, float]:
    """Print the table; return what goes into the ranker's file."""
    forest = held_out(pictures)
    rows: dict[str, list[tuple[float, float]]] = {}
    for picture, score in zip(pictures, forest, strict=True):
        ways = {
            "Otsu + watershed": otsu_watershed(picture, told=False),
            "  told bright or dark": otsu_watershed(picture, told=True),
            "outlines by formula": ranked_masks(picture, by_formula(picture)),
            "outlines by forest": ranked_masks(picture, score),
            "  rims at half height": ranked_masks(picture, score, moved=True),
        }
        for name, (masks, found) in ways.items():
            rows.setdefault(name, []).append(precision(masks, found, picture.marked))
    for name, values in rows.items():
        at50, at75 = np.array(values).T
        low, high = interval(at50)
        print(f"{name:24s} AP50 {at50.mean():.3f} [{low:.3f}-{high:.3f}]  AP75 {at75.mean():.3f}")
    named = zip(rows["outlines by forest"], (p.name for p in pictures), strict=True)
    worst = sorted((values[0], name) for values, name in named)[:10]
    print("lowest:", ", ".join(f"{name[:4]} {value:.2f}" for value, name in worst))
    for least in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6):
        f1 = [
            f1_of(ranked_masks(p, s, least)[0], p.marked)
            for p, s in zip(pictures, forest, strict=True)
        ]
        print(f"F1 with least score {least:.2f}: {np.mean(f1):.3f}")
    seconds = np.mean([p.seconds for p in pictures])
    print(f"outlines and features: {seconds:.2f} s of processor time per picture")
    return {name.strip(): round(float(np.mean(v, axis=0)[0]), 4) for name, v in rows.items()}


def count_over_holes(
    train: int,
    tests: Sequence[int],
    minutes: float,
    support: str | None,
    seed: int | None,
    network: str,
) -> None:
    """Particles on holey carbon with known truth: by true labels, one class a pixel, by a model.

    A particle is an island of flakes that touch, 50 px or more. Where a pixel has one class, the
    hole that is seen through a flake hides it: the worst case of labels. Of one laboratory
    (`support`) the model is a network for masks that overlap, as in benchmarks/tem_phases.py; a
    flake that nobody sees is then not in the truth, and finding it is not an error. What is
    expected by held-out images has no way to leave it out.
    """
    drawn = list(
        em_set(seed or LABS[support], train + sum(tests), specimens=1, support=support,
               shape=(512, 512), pixel_size_nm=(4.0, 6.0))
        if support
        else em_set(seed or 11, train + sum(tests), shape=(512, 512), pixel_size_nm=(3.0, 5.0),
                    contamination=0.3)
    )  # fmt: skip
    teach = partial(trained_network, network=network) if support else trained_forest
    model = teach(drawn[:train], minutes) if train else None
    first = train
    for number in tests:
        told = drawn[first : first + number]
        print(f"images {first - train + 1} to {first - train + number} of those not learned from")
        tell_counts([count_scene(scene, model, seen=bool(support)) for scene in told])
        if model is not None and support:
            print(f"mean IoU of flakes and holes {mean_iou(told, model):.3f}")
        first += number


def count_scene(
    scene: SynthEm, model: Model | None, *, seen: bool
) -> dict[str, tuple[Particles, Particles]]:
    """Particles by each way, beside the true ones."""
    image, holes = scene.micrograph, scene.holes
    flake = scene.maps_seen()[..., 0] == 1 if seen else scene.flake_mask
    valid, grey = np.ones(flake.shape, bool), grey_of(image)
    truth = separate_particles(PixelClasses(flake, holes, valid))
    hidden = PixelClasses(flake & ~holes, holes, valid)
    plain = Separation(fill_holes=False)
    ways = {
        "flake hides hole": separate_particles(PixelClasses(flake, holes & ~flake, valid), grey),
        "both labels": separate_particles(PixelClasses(flake, holes, valid), grey),
        "hole hides flake, blind": separate_particles(hidden, grey, plain),
        "hole hides flake, aware": separate_particles(hidden, grey),
    }
    if model is not None:
        names = ClassNames(("flake",), ("hole",))
        for name, level in (("phases model", None), ("  sure at 0.85", SURE), ("  all", 0.0)):
            ways[name] = ModelSource(model, names, Separation(sure=level)).find(image)
    known = scene.maps_seen()[..., 0] != IGNORE if seen else valid
    return {name: (on_known(found, known), truth) for name, found in ways.items()}


def on_known(found: Particles, known: BoolArray) -> Particles:
    """Leave out what lies on flakes that are in no truth because nobody sees them."""
    kept = [known[where][crop].mean() >= 0.5 for where, crop in found.masks]
    return replace(found.take(np.flatnonzero(kept)), count=found.count)


def tell_counts(scenes: Sequence[dict[str, tuple[Particles, Particles]]]) -> None:
    """Print found and true numbers of all scenes, and what held-out images expect."""
    for name in scenes[0]:
        pairs = [scene[name] for scene in scenes]
        found, true = (np.array([len(p) for p in each]) for each in zip(*pairs, strict=True))
        area = [f.masks.area_px.sum() / max(t.masks.area_px.sum(), 1) for f, t in pairs]
        off = 100 * (found.sum() / true.sum() - 1)
        per_image = np.abs(found - true).mean()
        print(f"{name:24s} {found.sum()} particles of {true.sum()} ({off:+.1f} %), "
              f"off by {per_image:.2f} an image, area {np.median(area):.3f}")  # fmt: skip
    pairs = [scene[next(reversed(scene))] for scene in scenes]
    counts = [f.count for f, _ in pairs if f.count is not None]
    if len(counts) == len(pairs):
        numbers = [len(t) for _, t in pairs]
        each = [c.interval() for c in counts]
        held = sum(low <= n <= high for (_, low, high), n in zip(each, numbers, strict=True))
        off = np.mean([abs(e - n) for (e, _, _), n in zip(each, numbers, strict=True)])
        value, low, high = reduce(add, counts).interval()
        print(f"expected: {value:.1f} [{low:.0f} to {high:.0f}] of {sum(numbers)} "
              f"({100 * (value / sum(numbers) - 1):+.1f} %), off by {off:.2f} an image; "
              f"intervals of images hold {held} of {len(each)}")  # fmt: skip


def mean_iou(scenes: Sequence[SynthEm], model: Model) -> float:
    """Of flakes and holes, all pixels together."""
    cuts = np.array([model.card.thresholds[c] for c in model.card.classes], np.float32)
    parts = [
        MaskCounts.compare(
            cut_masks(model.predict(unit_pixels(s.micrograph), s.micrograph.require_scale().x_nm),
                      cuts),
            s.maps_seen(),
        )
        for s in scenes
    ]  # fmt: skip
    return mean_figure(MaskCounts.together(parts).figure("iou"))


def trained_forest(scenes: list[SynthEm], minutes: float) -> Model:
    """A phases model of the true labels of a few images."""
    examples = [
        Example.from_arrays(
            s.micrograph.name, s.micrograph.data, s.label_map,
            pixel_size_nm=1e3 * s.micrograph.require_scale().um,
        )
        for s in scenes
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "forest.onnx"
        settings = PhaseSettings(network="forest", minutes=minutes)
        train_phases(DataSet(tuple(examples), CLASSES), path, settings, name="synthetic TEM")
        return read_model(path)


def trained_network(scenes: list[SynthEm], minutes: float, network: str) -> Model:
    """A small network for flakes and holes that overlap; minutes are those of one core."""
    examples = [
        Example.from_arrays(
            s.micrograph.name, s.micrograph.data, s.maps_seen(),
            pixel_size_nm=s.micrograph.require_scale().x_nm,
        )
        for s in scenes
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        settings = PhaseSettings(
            network, minutes=minutes, folds=2, overlapping=True, at_nm=10.0, jobs=1
        )
        data = DataSet(tuple(examples), ("background", "flake", "hole"))
        train_phases(data, path, settings, tell=print, clock=time.process_time)
        return read_model(path)


def interval(values: FloatArray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the pictures")
    parser.add_argument("--write", type=Path, help="grow the ranker from all pictures")
    parser.add_argument("--holes", action="store_true", help="counts on synthetic holey carbon")
    parser.add_argument("--support", choices=LABS, help="with --holes: one film, one session")
    parser.add_argument("--train", type=int, default=7, help="images that teach; 0: no model")
    parser.add_argument("--test", type=int, nargs="+", default=[20],
                        help="images that are counted, in parts")  # fmt: skip
    parser.add_argument("--network", default="auto", help="with --support; plain-n: from scratch")
    parser.add_argument("--seed", type=int, help="of the images; those told of in the docs if none")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training")
    options = parser.parse_args()
    if options.holes:
        count_over_holes(
            options.train, options.test, options.minutes, options.support, options.seed,
            options.network,
        )  # fmt: skip
        return
    paths = sorted((DATA / "images").glob("*.png"))
    pictures = [Picture(path) for path in (paths[::4] if options.quick else paths)]
    figures = compare(pictures)
    if options.write:
        about = {
            "trained_on": "EMPS: 48 electron micrographs of particles",
            "licence": "MIT", "attribution": "Copyright (c) 2020 Batuhan Yildirim",
            "ap50_held_out": figures,
        }  # fmt: skip
        write_ranker(grow_ranker([p.ranked for p in pictures], about=about), options.write)


if __name__ == "__main__":
    main()
