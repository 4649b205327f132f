"""One 20,000 x 20,000 mosaic, tile by tile: peak memory, time, and flakes found against truth.

    python benchmarks/mosaic.py [--side 20000] [--fields 6] [--compression none|zlib|jpeg]

The mosaic is put together from rendered fields of 1900 x 1180 px with uneven light, each exposed
within 1 %, turned and mirrored at random, cross-faded over 60 px as stitching programs do. It is
written piece by piece to a temporary folder, which is deleted afterwards. Truth are the terraces
of 300 px and more that no cross-fade touches. The analysis runs in a process of its own: its peak
memory and CPU time are printed, and beside the share of terraces found on the mosaic the share
found on the same fields one by one.
"""

# ruff: noqa: E402  (the thread limits must stand before numpy is imported)

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from layerscope.core.results import CropMasks
from layerscope.io.mosaic import open_mosaic
from layerscope.synth import SynthImage, match_truth, synth_flakes
from layerscope.tasks.flakes import find_flakes
from layerscope.tasks.mosaic import find_in_tile, stitch, survey_mosaic

FIELD = (1180, 1900)
FADE = 60
BAND = 512
SMALLEST_PX = 300


def rendered(number: int) -> list[SynthImage]:
    return [
        synth_flakes(seed, shape=FIELD, n_flakes=12, clutter=0.5, thick_share=0.2)
        for seed in range(number)
    ]


def laid_out(side: int, number: int) -> list[tuple[int, int, int, int, float]]:
    """Top, left, which field, which of four mirrorings, exposure."""
    rng = np.random.default_rng(0)
    steps = [n - FADE for n in FIELD]
    return [
        (top, left, int(rng.integers(number)), int(rng.integers(4)), float(rng.normal(1, 0.01)))
        for top in range(0, side, steps[0])
        for left in range(0, side, steps[1])
    ]


def mirrored(image: np.ndarray, how: int) -> np.ndarray:
    image = image[::-1] if how & 1 else image
    return image[:, ::-1] if how & 2 else image


def fade(length: int) -> np.ndarray:
    rise = np.minimum((np.arange(length) + 0.5) / FADE, 1)
    return np.minimum(rise, rise[::-1]).astype(np.float32)


def pixel_rows(side: int, fields: list[SynthImage], layout: list) -> Iterator[np.ndarray]:
    """Full rows of the mosaic, some at a time."""
    weight = (fade(FIELD[0])[:, None] * fade(FIELD[1]))[..., None]
    light = np.zeros((FIELD[0], side + FIELD[1], 3), np.float32)
    mass = np.zeros((FIELD[0], side + FIELD[1], 1), np.float32)
    for top in sorted({place[0] for place in layout}):
        for _, left, which, how, gain in (place for place in layout if place[0] == top):
            picture = mirrored(fields[which].micrograph.data, how) * np.float32(gain)
            light[:, left : left + FIELD[1]] += weight * picture
            mass[:, left : left + FIELD[1]] += weight
        ready = FIELD[0] - FADE
        rows = light[:ready, :side] / np.maximum(mass[:ready, :side], 1e-6)
        yield np.clip(np.rint(rows), 0, 255).astype(np.uint8)
        for plane in (light, mass):
            plane[:FADE] = plane[ready:].copy()
            plane[FADE:] = 0


def bands(side: int, rows: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows, `BAND` at a time."""
    held, given = np.zeros((0, side, 3), np.uint8), 0
    for some in rows:
        held = np.concatenate([held, some])
        while len(held) >= BAND and given < side:
            yield held[: min(BAND, side - given)]
            given += BAND
            held = held[BAND:]
    if given < side:
        yield held[: side - given]


def tiles(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    for band in parts:
        full = np.pad(band, ((0, BAND - len(band)), (0, -band.shape[1] % BAND), (0, 0)))
        for left in range(0, full.shape[1], BAND):
            yield np.ascontiguousarray(full[:, left : left + BAND])


def write(path: Path, side: int, fields: list[SynthImage], layout: list, how: str) -> None:
    rows = bands(side, pixel_rows(side, fields, layout))
    kind = {"shape": (side, side, 3), "dtype": np.uint8, "photometric": "rgb"}
    if how == "none":
        tifffile.imwrite(path, rows, rowsperstrip=BAND, **kind)
    else:
        kind |= {"compressionargs": {"level": 90}} if how == "jpeg" else {"predictor": True}
        tifffile.imwrite(path, tiles(rows), tile=(BAND, BAND), compression=how, **kind)


def truth_of(side: int, fields: list[SynthImage], layout: list) -> SynthImage:
    boxes, crops = [], []
    for top, left, which, how, _ in layout:
        masks = fields[which].masks
        large = masks.area_px >= SMALLEST_PX
        for box, crop in zip(
            masks.boxes[large].tolist(), np.array(masks.crops, object)[large], strict=True
        ):
            y0, x0, y1, x1 = box
            if how & 1:
                y0, y1 = FIELD[0] - y1, FIELD[0] - y0
            if how & 2:
                x0, x1 = FIELD[1] - x1, FIELD[1] - x0
            inside = min(y0, x0, FIELD[0] - y1, FIELD[1] - x1) >= FADE
            if inside and top + y1 <= side and left + x1 <= side:
                boxes.append((top + y0, left + x0, top + y1, left + x1))
                crops.append(mirrored(crop, how))
    masks = CropMasks(np.array(boxes).reshape(-1, 4), tuple(crops), (side, side))
    return replace(fields[0], masks=masks, n_layers=np.ones(len(crops), np.int64))


def found_alone(fields: list[SynthImage]) -> float:
    """Share found of the same kind of terraces on single fields."""
    found = total = 0
    for field in fields:
        b = field.masks.boxes
        inner = np.minimum(b[:, :2].min(axis=1), (np.array(FIELD) - b[:, 2:]).min(axis=1)) >= FADE
        inner &= field.masks.area_px >= SMALLEST_PX
        found += np.count_nonzero(match_truth(find_flakes(field.micrograph)[0], field)[inner] >= 0)
        total += np.count_nonzero(inner)
    return found / total


def peak_mb() -> float:
    """Largest resident memory of this process; unlike ru_maxrss not inherited from its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def analyse(path: str, out: str) -> None:
    """What the process of its own does."""
    cv2.setNumThreads(1)
    start, idle = time.process_time(), peak_mb()
    with open_mosaic(path) as mosaic:
        opened = time.process_time() - start
        survey = survey_mosaic(mosaic)
        surveyed = time.process_time() - start - opened
        parts = [find_in_tile(mosaic, tile, survey) for tile in survey.tiles()]
        found = stitch(parts, survey.tiles())
    seconds = time.process_time() - start
    packed = [np.packbits(crop) for crop in found.masks.crops]
    np.savez(out, boxes=found.masks.boxes, bits=np.concatenate(packed))
    sides = (survey.long[:, 2:] - survey.long[:, :2]).max(axis=1, initial=0) * survey.binning
    figures = {
        "peak_mb": peak_mb(), "import_mb": idle, "seconds": seconds, "open_s": opened,
        "survey_s": surveyed, "tiles": len(parts), "long": len(sides),
        "in_pieces": int(np.count_nonzero(sides > survey.whole_px)),
        "longest_px": int(sides.max(initial=0)), "differs": survey.limits.differs.tolist(),
    }  # fmt: skip
    print(json.dumps(figures))


def read_masks(path: str, shape: tuple[int, int]) -> CropMasks:
    with np.load(path) as stored:
        boxes, bits = stored["boxes"], stored["bits"]
    crops, at = [], 0
    for top, left, bottom, right in boxes.tolist():
        size = (bottom - top) * (right - left)
        crop = np.unpackbits(bits[at : at + -(-size // 8)], count=size)
        crops.append(crop.reshape(bottom - top, right - left).astype(bool))
        at += -(-size // 8)
    return CropMasks(boxes, tuple(crops), shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--compression", choices=("none", "zlib", "jpeg"), default="none")
    parser.add_argument("--analyse", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.analyse:
        return analyse(*options.analyse)
    cv2.setNumThreads(1)
    fields, side = rendered(options.fields), options.side
    layout = laid_out(side, options.fields)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "mosaic.tif", str(Path(folder) / "found.npz")
        write(path, side, fields, layout, options.compression)
        print(f"{side} x {side} px, {options.compression}, {path.stat().st_size / 1e6:.0f} MB")
        command = [sys.executable, __file__, "--analyse", str(path), out]
        said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        masks = read_masks(out, (side, side))
    truth = truth_of(side, fields, layout)
    found = np.count_nonzero(match_truth(masks, truth) >= 0)
    rate = side * side / 1e6 / said["seconds"]
    print(f"peak memory {said['peak_mb']:.0f} MB, of which {said['import_mb']:.0f} MB imports")
    print(f"CPU {said['seconds']:.1f} s, {rate:.1f} MPix/s; open and hash {said['open_s']:.1f} s, "
          f"survey {said['survey_s']:.1f} s, {said['tiles']} tiles")  # fmt: skip
    limit = np.round(said["differs"], 2)
    print(f"clusters longer than the halo: {said['long']}, the longest {said['longest_px']} px, "
          f"in pieces {said['in_pieces']}; threshold {limit} of 255")  # fmt: skip
    print(f"{len(masks)} regions; terraces found at IoU 0.5: {found} of {len(truth)} = "
          f"{found / len(truth):.3f}; on single fields {found_alone(fields):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
