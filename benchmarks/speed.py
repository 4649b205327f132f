"""CPU time from JPEG to result, beside decoding alone and the published pixel-wise recipe.

    python benchmarks/speed.py [DATA] [--repeat 5]

DATA is a folder of 1920 x 1200 JPEG micrographs (default ../shared/data/optical/exfoliated).
"read to layers" is bytes, hash, decoding, scale bar, flakes, and layer numbers from a calibration
that is known; "read to table" adds all measurements, as arrays (a scan makes one DataFrame of many
images; one per image costs 1 ms). "ratio" is the sum over all images over that of decoding.
All are timed in this process, one thread, by `time.process_time`; each image counts with its
fastest of `--repeat` rounds, because other work on the machine only ever adds time.

The recipe is 2DMatGMM's (Uslu et al., Mach. Learn.: Sci. Technol. 5, 015027 (2024)) built from its
published description: median blur 5, one background level per channel (mean within 5 of the
histogram's mode, 20 to 230), 8-bit contrast, Mahalanobis distance of every pixel to each layer's
Gaussian, nearest within 5, opening by a disk of radius 2, components of 200 px or more (its
per-flake features are left out). Its Python package is slower: it was measured at
396 to 939 ms an image.
"""

# ruff: noqa: E402  (the thread limits must stand before numpy is imported)

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from layerscope.core.calibration import Calibration
from layerscope.core.results import Detections
from layerscope.finding import Found, Optics, Scale, Wanted, find_in
from layerscope.io import decode
from layerscope.io.sources import Source
from layerscope.measure import measure_columns
from layerscope.ops.memory import keep_freed_memory
from layerscope.ops.tone import tone_curve
from layerscope.pipeline import run
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.layers import count_by_physics, is_crystal

# Published graphene table for 90 nm oxide, 1 to 4 layers, contrast in B, G, R.
MEANS = np.array(
    [
        [-0.071, -0.140, -0.137],
        [-0.152, -0.264, -0.248],
        [-0.216, -0.368, -0.347],
        [-0.272, -0.465, -0.436],
    ],
    np.float32,
)
COVARIANCE = np.diag(np.square([0.025, 0.02, 0.02])).astype(np.float32)


def pixelwise_gaussians(image: np.ndarray) -> list[np.ndarray]:
    """Published recipe on an RGB image; one mask per flake."""
    blurred = cv2.medianBlur(image[..., ::-1], 5)
    background = np.empty(3, np.float32)
    for channel in range(3):
        histogram = np.bincount(blurred[..., channel].ravel(), minlength=256)
        mode = 20 + int(np.argmax(histogram[20:231]))
        near = np.arange(mode - 5, mode + 6)
        background[channel] = (histogram[near] * near).sum() / histogram[near].sum()
    contrast = blurred.astype(np.float32) / background - 1
    whiten = np.linalg.inv(np.linalg.cholesky(COVARIANCE)).astype(np.float32)
    squares = [np.square(cv2.transform(contrast - mean, whiten)) for mean in MEANS]
    distance = np.stack([q[..., 0] + q[..., 1] + q[..., 2] for q in squares])
    layer = np.where(distance.min(axis=0) < 25, distance.argmin(axis=0) + 1, 0).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    masks = []
    for n in range(1, len(MEANS) + 1):
        opened = cv2.morphologyEx((layer == n).astype(np.uint8), cv2.MORPH_OPEN, disk)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
        for k in range(1, count):
            left, top, width, height, area = stats[k]
            if area >= 200:
                masks.append(labels[top : top + height, left : left + width] == k)
    return masks


MATERIALS = {"hbn": "hBN", "mose2": "MoSe2", "ws2": "WS2", "wse2": "WSe2"}


def calibration_of(folder: Path) -> Calibration:
    """Calibrate on the folder itself, as a run does before it counts layers."""
    material = MATERIALS.get(folder.parent.name, "graphene")
    optics = Optics(tone_curve("linear"))
    calibration = run([folder], material=material, substrate="SiO2(90nm)/Si", optics=optics)
    return calibration.calibration


def read_to_layers(path: Path, calibration: Calibration) -> tuple[Found, Detections]:
    scale, optics, wanted = Scale("0.3844um"), Optics(tone_curve("linear")), Wanted()
    found = find_in(Source(path.stem, str(path)), scale=scale, optics=optics, wanted=wanted)
    level = found.background.level
    numbered = count_by_physics(found.detections, level, 0, calibration, optics.tone)
    return found, numbered[is_crystal(numbered)]


def read_to_table(path: Path, calibration: Calibration) -> object:
    found, kept = read_to_layers(path, calibration)
    return measure_columns(kept, pixel_size=found.pixel_size, image=path.stem)


def cpu_ms(work: Sequence[Callable[[], object]], repeat: int) -> list[float]:
    """Fastest of `repeat` rounds of each; in turn, so that a busy spell spoils no one step."""
    best = [np.inf] * len(work)
    for _ in range(repeat):
        for i, step in enumerate(work):
            start = time.process_time()
            step()
            best[i] = min(best[i], time.process_time() - start)
    return [b * 1e3 for b in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parents[1]
    parser.add_argument("data", nargs="?", default=here.parent / "shared/data/optical/exfoliated")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    keep_freed_memory()
    paths = sorted(Path(options.data).rglob("*.jpg"))
    if not paths:
        raise SystemExit(f"no .jpg under {options.data}: give a folder of micrographs")
    columns = ("decode", "find", "read to layers", "read to table", "pixel-wise")
    calibrations = {folder: calibration_of(folder) for folder in {p.parent for p in paths}}
    rows = []
    for path in paths:
        data = path.read_bytes()
        micrograph = decode(data, name=path.stem)
        found, _ = find_flakes(micrograph)
        steps = (
            lambda d=data: simplejpeg.decode_jpeg(d, "RGB"),
            lambda m=micrograph: find_flakes(m),
            lambda p=path: read_to_layers(p, calibrations[p.parent]),
            lambda p=path: read_to_table(p, calibrations[p.parent]),
            lambda m=micrograph: pixelwise_gaussians(m.data),
        )
        rows.append(cpu_ms(steps, options.repeat))
        numbers = "  ".join(f"{v:7.1f}" for v in rows[-1])
        print(f"{path.parts[-3]:>14s}/{path.name[:8]}  {numbers}  {len(found):4d} regions")
    print(f"\n{len(rows)} images, CPU ms: median (least to most), mean, ratio")
    times = np.array(rows).T
    for name, values in zip(columns, times, strict=True):
        spread = f"{np.median(values):6.1f} ({values.min():.1f} to {values.max():.1f})"
        ratio = values.sum() / times[0].sum()
        print(f"{name:>16s}: {spread:>24s} {values.mean():6.1f} {ratio:6.2f}")
    noise = np.random.default_rng(0).normal([130, 113, 155], 1.5, (1200, 1920, 3))
    bare = decode(simplejpeg.encode_jpeg(noise.round().astype(np.uint8), 95), name="empty")
    print(f"{'empty field':>16s}: {cpu_ms([lambda: find_flakes(bare)], options.repeat)[0]:6.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory':>16s}: {peak:6.0f} MB")


if __name__ == "__main__":
    main()
