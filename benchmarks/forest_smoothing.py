"""What smoothing does to the answer of a pixel forest, on specimens that it has not seen.

    python benchmarks/forest_smoothing.py            # synthetic TEM, and HRTEM of graphene
    python benchmarks/forest_smoothing.py --quick    # synthetic TEM only, a quarter of the pixels

Mean IoU of each fold and of all, for the forest as it is, a Gaussian, the guided filter that
`layerscope train phases` chooses a radius of, and a median of the classes. HRTEM is read from
``../shared/data/tem/graphene_hrtem``: two images of each session.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from layerscope.core.examples import IGNORE, DataSet, Example
from layerscope.io.annotated import read_dataset
from layerscope.models.forest import ForestSettings
from layerscope.ops.guided import guided_maps
from layerscope.ops.normalisation import normalise
from layerscope.ops.pixel_features import pixel_features
from layerscope.synth.em import CLASSES, synth_em
from layerscope.training.choice import Candidate, confusion_of, mean_iou
from layerscope.training.forest_trial import grow_folds, sample_images
from layerscope.training.labelled import LabelledImages, load_labelled
from layerscope.training.splits import grouped_folds

HRTEM = Path(__file__).parents[2] / "shared" / "data" / "tem" / "graphene_hrtem"
_SESSION = r"^\d{4}_\d{4}"
CANDIDATE = Candidate("forest", "standard", "wide")
PIXELS, TREES, IMAGES = 16_000, 30, 12

Smooth = Callable[[np.ndarray, np.ndarray], np.ndarray]


def gaussian(sigma_px: float) -> Smooth:
    def smooth(maps: np.ndarray, image: np.ndarray) -> np.ndarray:
        blurred = [cv2.GaussianBlur(maps[..., k], (0, 0), sigma_px) for k in range(maps.shape[2])]
        return np.stack(blurred, axis=2).argmax(axis=2).astype(np.uint8)

    return smooth


def guided(radius_px: int) -> Smooth:
    return lambda maps, image: guided_maps(maps, image, radius_px).argmax(axis=2).astype(np.uint8)


def median(side_px: int) -> Smooth:
    return lambda maps, image: cv2.medianBlur(maps.argmax(axis=2).astype(np.uint8), side_px)


WAYS: dict[str, Smooth] = {"as it is": guided(0)}
WAYS |= {f"Gaussian, {s} px": gaussian(s) for s in (1, 2, 3, 4, 6)}
WAYS |= {f"guided, {r} px": guided(r) for r in (2, 4, 8)}
WAYS |= {f"median of classes, {s} px": median(s) for s in (3, 5, 9)}


def synthetic(quick: bool) -> LabelledImages:
    """Images of a specimen each; three classes."""
    side = 160 if quick else 320
    drawn = [synth_em(seed, shape=(side, side), pixel_size_nm=4.0) for seed in range(IMAGES)]
    examples = [
        Example.from_arrays(f"em{i}", d.micrograph.data, d.label_map, group=f"s{i}")
        for i, d in enumerate(drawn)
    ]
    return load_labelled(DataSet(tuple(examples), CLASSES))


def hrtem() -> LabelledImages:
    """Two images of each of 13 sessions, which the first eight digits of a name tell."""
    data, taken, kept = read_dataset(HRTEM, group_pattern=_SESSION), Counter[str](), []
    for i, group in enumerate(data.groups):
        taken[group] += 1
        kept += [i] * (taken[group] <= 2)
    return load_labelled(data.take(kept))


def compare(name: str, data: LabelledImages, n_folds: int) -> None:
    print(f"\n{name}: {len(data)} images of {data.specimens} specimens, {n_folds} folds")
    drawn = sample_images(data, CANDIDATE, PIXELS)
    folds = grouped_folds(data.groups, n_folds)
    tables: dict[str, list[list[np.ndarray]]] = {way: [] for way in WAYS}
    for k, forest in grow_folds(drawn, folds, ForestSettings(TREES)).items():
        found = [_tables(data, int(i), forest) for i in folds[k][1]]
        for way in WAYS:
            tables[way].append([of[way] for of in found])
    for way, by_fold in tables.items():
        each = " ".join(f"{mean_iou(np.mean(t, axis=0)):.3f}" for t in by_fold)
        whole = mean_iou(np.mean([c for t in by_fold for c in t], axis=0))
        print(f"{way:24s} {each}   all {whole:.3f}")


def _tables(data: LabelledImages, index: int, forest: object) -> dict[str, np.ndarray]:
    image = normalise(CANDIDATE.normalisation, data.unit(index))
    planes = pixel_features(image, CANDIDATE.features)
    maps = np.zeros((planes[0].size, len(data.classes)), np.float32)
    maps[:, forest.classes_] = forest.predict_proba(planes.reshape(len(planes), -1).T)
    maps, labels = maps.reshape(*image.shape[:2], -1), data.labels[index]
    known = labels != IGNORE
    return {
        way: confusion_of(labels[known], smooth(maps, image)[known], len(data.classes))
        for way, smooth in WAYS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    cv2.setNumThreads(1)
    compare("synthetic TEM", synthetic(quick), 3)
    if not quick and HRTEM.is_dir():
        compare("HRTEM of graphene", hrtem(), 4)


if __name__ == "__main__":
    main()
