"""How many marked flakes are found: instance masks of graphene, boxes of another laboratory.

    python benchmarks/find_flakes.py [DATA] [--unflagged] [--overlays DIR]

DATA is the folder `optical` of the shared data (default ../shared/data/optical). In both sets only
some flakes are marked, so an unmarked detection is no error: look at the overlays (green: sure,
yellow: score below 0.5, magenta: residue, orange: soft border, red: rim strip).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import Detections, Flag
from layerscope.io import read
from layerscope.tasks.flakes import find_flakes

COLOURS = {
    Flag.RESIDUE: (255, 0, 255),
    Flag.OUT_OF_FOCUS: (255, 140, 0),
    Flag.EDGE_STRIP: (255, 0, 0),
}


def mask_ious(found: Detections, truth: np.ndarray, min_area_px: int = 200) -> list[float]:
    """Best IoU with any region, for every marked flake over `min_area_px`."""
    labels, out = found.masks.labels(), []
    for value in np.unique(truth)[1:]:
        mask = truth == value
        if np.count_nonzero(mask) <= min_area_px:
            continue
        shared = np.bincount(labels[mask], minlength=len(found) + 1)[1:]
        total = np.count_nonzero(mask) + found.masks.area_px - shared
        out.append(float((shared / total).max(initial=0)))
    return out


LEFT_OUT = int(Flag.RESIDUE | Flag.OUT_OF_FOCUS | Flag.EDGE_STRIP)


def with_whole_flakes(found: Detections) -> np.ndarray:
    """Boxes of all regions, and of the union of the regions of each flake."""
    boxes = [found.masks.boxes]
    for flake in np.unique(found.flake_id):
        of = found.masks.boxes[found.flake_id == flake]
        boxes.append(np.concatenate([of[:, :2].min(axis=0), of[:, 2:].max(axis=0)])[None])
    return np.concatenate(boxes)


def box_ious(boxes: np.ndarray, path: Path, shape: tuple[int, int]) -> list[float]:
    """Best IoU of bounding boxes, for every box of a YOLO label file."""
    out = []
    for line in path.read_text().splitlines():
        x, y, w, h = (float(v) for v in line.split()[1:5])
        top, bottom = (y - h / 2) * shape[0], (y + h / 2) * shape[0]
        left, right = (x - w / 2) * shape[1], (x + w / 2) * shape[1]
        t, l, b, r = boxes.T  # noqa: E741
        high = np.clip(np.minimum(b, bottom) - np.maximum(t, top), 0, None)
        wide = np.clip(np.minimum(r, right) - np.maximum(l, left), 0, None)
        union = (b - t) * (r - l) + (bottom - top) * (right - left) - high * wide
        out.append(float((high * wide / union).max(initial=0)))
    return out


def draw(micrograph: Micrograph, found: Detections, path: Path) -> None:
    low, high = np.percentile(micrograph.data[::7, ::7], [0.5, 97])
    image = np.clip((micrograph.data - low) / (high - low) * 235, 0, 255).astype(np.uint8)
    for (where, crop), flags, score in zip(found.masks, found.flags, found.score, strict=True):
        colour = (0, 255, 0) if score >= 0.5 else (255, 255, 0)
        for flag, value in COLOURS.items():
            colour = value if flags & flag else colour
        padded = np.pad(crop, 1).astype(np.uint8)
        outlines, _ = cv2.findContours(padded, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        offset = (where[1].start - 1, where[0].start - 1)
        cv2.drawContours(image, outlines, -1, colour, 1, offset=offset)
    cv2.imwrite(str(path), image[..., ::-1])


def report(name: str, ious: list[float], found: list[Detections]) -> None:
    values = np.array(ious)
    flags = np.concatenate([f.flags for f in found])
    strips = np.count_nonzero(flags & Flag.EDGE_STRIP)
    sure = sum(int((f.score >= 0.5).sum()) for f in found)
    print(f"{name}: {len(values)} marked, found at IoU >= 0.5: {(values >= 0.5).mean():.3f}")
    print(
        f"   at 0.3: {(values >= 0.3).mean():.3f}, at 0.75: {(values >= 0.75).mean():.3f}, ", end=""
    )
    print(f"mean IoU of the found: {values[values >= 0.5].mean():.3f}")
    print(f"   {len(flags)} detections, {sure} with score >= 0.5, ", end="")
    print(f"{strips} flagged as rim strips ({strips / max(len(flags), 1):.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parents[1]
    parser.add_argument("data", nargs="?", type=Path, default=here.parent / "shared/data/optical")
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--unflagged", action="store_true", help="only what a run keeps")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sets = {
        "graphene, instance masks": ("exfoliated/graphene/images/*.jpg", 200),
        "monolayers of another laboratory, boxes": ("monolayer_boxes/*/images/*.jpg", 100),
    }
    for name, (pattern, min_area_px) in sets.items():
        ious: list[float] = []
        whole: list[float] = []
        everything: list[Detections] = []
        for path in sorted(options.data.glob(pattern)):
            micrograph = read(path)
            found, _ = find_flakes(micrograph, min_area_px=min_area_px)
            if options.unflagged:
                found = found[(found.flags & LEFT_OUT) == 0]
            everything.append(found)
            boxes = path.parents[1] / "labels" / f"{path.stem}.txt"
            if boxes.exists():
                ious += box_ious(found.masks.boxes, boxes, micrograph.shape)
                whole += box_ious(with_whole_flakes(found), boxes, micrograph.shape)
            else:
                truth = cv2.imread(str(path.parents[1] / "instances" / f"{path.stem}.png"), -1)
                ious += mask_ious(found, truth)
            if options.overlays:
                options.overlays.mkdir(parents=True, exist_ok=True)
                draw(micrograph, found, options.overlays / f"{path.stem}.png")
        report(name, ious, everything)
        if whole:
            share = (np.array(whole) >= 0.5).mean()
            print(f"   counting whole flakes too, at IoU >= 0.5: {share:.3f}")


if __name__ == "__main__":
    main()
