"""Example and picture of docs/howto/paint_pixels.md: images, strokes by truth, and what comes out.

    python docs/images/make_pixel_pictures.py FOLDER

makes FOLDER/images and FOLDER/scribbles for the commands of the page, and its picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from layerscope.labelling.batch import classify
from layerscope.labelling.learning import fit_pixels
from layerscope.labelling.painting import PaintSettings
from layerscope.labelling.scribble_files import write_scribbles
from layerscope.labelling.thresholds import Thresholds
from layerscope.report.doubt_pictures import draw_doubt
from layerscope.synth.em import CLASSES, synth_em

HERE = Path(__file__).parent
SEEDS, SHAPE, STROKES = (24, 31, 47, 53), (512, 640), 6


def strokes(truth: np.ndarray, seed: int) -> np.ndarray:
    """Short lines through pixels of each class, wherever they are of that class."""
    rng, labels = np.random.default_rng(seed), np.zeros(truth.shape, np.uint8)
    for k in np.repeat(np.arange(len(CLASSES)), STROKES).tolist():
        y, x = np.nonzero(truth == k)
        if not len(y):
            continue
        i, angle, line = rng.integers(len(y)), rng.random() * 2 * np.pi, np.zeros_like(labels)
        end = int(x[i] + 60 * np.cos(angle)), int(y[i] + 60 * np.sin(angle))
        cv2.line(line, (int(x[i]), int(y[i])), end, 1, 4)
        labels[(line > 0) & (truth == k)] = k + 1
    return labels


def main(folder: Path) -> None:
    """Write the example, and the picture of the last image with strokes on all four."""
    for name in ("images", "scribbles"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = [synth_em(s, shape=SHAPE, pixel_size_nm=6.5, support="holey") for s in SEEDS]
    taught = [strokes(m.label_map, s) for m, s in zip(made, SEEDS, strict=True)]
    for seed, one in zip(SEEDS, made, strict=True):
        cv2.imwrite(str(folder / "images" / f"tem-{seed}.png"), one.micrograph.data)
    for seed, labels in zip(SEEDS[:3], taught[:3], strict=True):
        write_scribbles(folder / "scribbles" / f"tem-{seed}.png", labels)
    images = [m.micrograph.data for m in made]
    classifier = fit_pixels(images, taught, CLASSES, PaintSettings(features="wide"))
    found = classify(f"tem-{SEEDS[3]}", made[3].micrograph, classifier, Thresholds())
    picture = draw_doubt(
        made[3].micrograph, found.labels, found.uncertainty, CLASSES, title=found.name
    )
    cv2.imwrite(str(HERE / "pixel_doubt.jpg"), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
