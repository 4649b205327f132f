"""Flakes and holes in TEM images: trained on 7 synthetic images, tested on 10 others.

The fair set is what a laboratory would label: one material on one kind of grid in one session,
similar magnifications (4 to 6 nm a pixel, a field of some 2.5 um), masks that overlap, and flakes
unlabelled that no person sees (contrast below five times its noise in 10 x 10 px). Three
laboratories: round holes on a grid, holey and lacey carbon.

The hard set is kept beside it: every image another specimen, another film and microscope, any
magnification from 1 to 10 nm a pixel, and every flake in the truth, seen or not.

    python benchmarks/tem_phases.py                  # 20 minutes of training each
    python benchmarks/tem_phases.py --quick          # one laboratory, 5 minutes
    python benchmarks/tem_phases.py --scratch        # without pretrained weights
    python benchmarks/tem_phases.py --large          # memory and seams of 4096 x 4096 px

With ``--cpu`` minutes are those of one processor core, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from layerscope.core.examples import DataSet, Example
from layerscope.core.micrograph import Micrograph, Modality, PixelSize
from layerscope.measure.scores_masks import MaskCounts, mean_figure
from layerscope.models.file import Model, read_model
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.report.phases_folder import PhasesFolder
from layerscope.segmentation import run_phases
from layerscope.synth.em import SynthEm, synth_em
from layerscope.synth.em_files import em_set
from layerscope.tasks.phases import cut_masks
from layerscope.training.labelled import load_labelled
from layerscope.training.phases import PhaseSettings, train_phases

CLASSES = ("background", "flake", "hole")
LABS = {"regular": 11, "holey": 12, "lacey": 13}
SHAPE = (512, 512)
TRAINED, TESTED = 7, 10


def example(picture: SynthEm, least_contrast: float | None) -> Example:
    size = picture.micrograph.require_scale()
    return Example.from_arrays(
        picture.micrograph.name, picture.micrograph.data, picture.maps_seen(least_contrast),
        pixel_size_nm=size.x_nm,
    )  # fmt: skip


def laboratory(support: str, seed: int) -> tuple[DataSet, DataSet]:
    drawn = em_set(
        seed, TRAINED + TESTED, specimens=1, support=support, pixel_size_nm=(4.0, 6.0), shape=SHAPE
    )
    examples = tuple(example(p, None) for p in drawn)
    return DataSet(examples[:TRAINED], CLASSES), DataSet(examples[TRAINED:], CLASSES)


def hard() -> tuple[DataSet, DataSet]:
    examples = tuple(
        example(synth_em(70_000 + i, shape=SHAPE, pixel_size_nm=(1.0, 10.0)), 0.0)
        for i in range(TRAINED + TESTED)
    )
    return DataSet(examples[:TRAINED], CLASSES), DataSet(examples[TRAINED:], CLASSES)


def score(model: Model, data: DataSet) -> tuple[float, float, dict[str, float], float]:
    """Mean IoU of all pixels, of images, of each class, and of both classes everywhere."""
    labelled = load_labelled(data, overlapping=True)
    cuts = np.array([model.card.thresholds[c] for c in labelled.classes], np.float32)
    parts = [
        MaskCounts.compare(cut_masks(model.predict(image, size), cuts), truth)
        for image, truth, size in zip(
            labelled.images, labelled.labels, [e.pixel_size_nm for e in data.examples], strict=True
        )
    ]
    whole = MaskCounts.together(parts)
    there = whole.hit + whole.missed
    everywhere = there / whole.known
    each = dict(zip(labelled.classes, whole.figure("iou").round(3).tolist(), strict=True))
    images = np.array([mean_figure(p.figure("iou")) for p in parts])
    return mean_figure(whole.figure("iou")), float(np.nanmean(images)), each, everywhere.mean()


def run(name: str, train: DataSet, test: DataSet, told: argparse.Namespace) -> float:
    clock = time.process_time if told.cpu else time.monotonic
    network = "plain-n" if told.scratch and told.network == "auto" else told.network
    settings = PhaseSettings(
        network, minutes=told.minutes, folds=told.folds, overlapping=True,
        losses=tuple(told.loss or ()), at_nm=told.at, jobs=1 if told.cpu else os.cpu_count() or 1,
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        began = clock()
        train_phases(train, path, settings, tell=lambda s: print(f"  {s}", flush=True), clock=clock)
        spent = (clock() - began) / 60
        reached = 0.0
        for turned in (False, True):
            reached, of_images, each, base = score(read_model(path, turned=turned), test)
            how = "8 orientations" if turned else "as it is"
            print(
                f"{name}, {how}: mean IoU {reached:.3f} {each}, mean of images {of_images:.3f}, "
                f"the class everywhere {base:.3f}; trained in {spent:.1f} min",
                flush=True,
            )
    return reached


def large(network: str) -> None:
    """Memory of 4096 x 4096 px through a network, and the seam between its tiles."""
    from layerscope.models.card import ModelCard
    from layerscope.models.tiling import map_image
    from layerscope.training.export import export_model
    from layerscope.training.network_trial import ask_network
    from layerscope.training.networks import build

    made = build(network, channels=1, outputs=2).eval()
    card = ModelCard(
        "large", "phases", "labels", CLASSES[1:], 1, "standard", pixel_size_nm=(5.0, 5.0)
    )
    noise = np.random.default_rng(0)
    image = noise.integers(0, 256, (4096, 4096), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        card = export_model(made, card, path)
        model = read_model(path)
        writer, began = PhasesFolder(Path(folder) / "run"), time.process_time()
        source = Micrograph(image, Modality.TEM, PixelSize(5.0, 5.0, "told"), name="large")
        writer.finish(run_phases([source], model, on_result=writer))
        spent = time.process_time() - began
        side = 64 * 22
        part = normalise("standard", as_unit(image[:side, :side]))
        whole = ask_network(made, part, apart=True)
        member = model.members[0]
        tiled = map_image(
            part, member._ask, stride=card.stride, margin_px=card.margin_px, tile_px=1024
        )  # fmt: skip
    print(
        f"{network}: 4096 x 4096 px in {spent:.0f} s, peak memory {peak_gb():.2f} GB; looks "
        f"{card.margin_px} px far; tiles of 1024 px against {side} px at once: "
        f"{np.abs(tiled - whole).max():.1e} at most"
    )


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--hard", action="store_true", help="the hard set only")
    parser.add_argument("--large", action="store_true", help="memory and seams only")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--network", default="auto")
    parser.add_argument("--loss", action="append", help="e.g. flake=tversky:0.8:0.2")
    parser.add_argument("--at", type=float, default=10.0, help="nm a pixel to learn at, 0: as is")
    parser.add_argument("--cpu", action="store_true")
    told = parser.parse_args()
    if told.large:
        large("plain-n" if told.network == "auto" else told.network)
        return
    told.minutes = told.minutes or (5.0 if told.quick else 20.0)
    labs = {} if told.hard else LABS if not told.quick else {"holey": LABS["holey"]}
    reached = [run(name, *laboratory(name, seed), told) for name, seed in labs.items()]
    if reached:
        print(f"fair set: mean IoU {np.mean(reached):.3f} over {len(reached)} laboratories")
    if told.hard or not told.quick:
        run("hard set", *hard(), told)
    print(f"peak memory {peak_gb():.2f} GB")


if __name__ == "__main__":
    main()
