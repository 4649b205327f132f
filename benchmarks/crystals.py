"""Grown crystals against synthetic truth: masks, shapes, directions, cores, and what noise costs.

    python benchmarks/crystals.py [--quick] [--seed 100]

Cameras and objectives in turn, growths of one material, of a lateral heterostructure either way
round, and of aligned crystals. Nothing is trained; constants were set on other seeds, those against
noise on 9000 to 9003 through the five shipped cameras that are not used here.
Noise is added to the 8-bit picture: Gaussian of a standard deviation of 20 % of the white
level, and 20 % of the pixels black or white.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from layerscope.core.evaluation import Objects
from layerscope.core.micrograph import Micrograph
from layerscope.measure.domains import measure_domains
from layerscope.measure.scores_overlap import mask_iou
from layerscope.measure.scores_precision import average_precision, match_objects, rank_class
from layerscope.ops.quieting import quieted
from layerscope.physics.thin_film import Stack
from layerscope.synth.camera import BENCHMARK_CAMERAS
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystals import OBJECTIVES, GrownImage, crystal_set
from layerscope.tasks.crystals import Crystals, find_crystals
from layerscope.tasks.lateral import Setup, find_lateral

GROWTHS = {
    "MoS2": Growth(),
    "MoS2 in MoSe2": Growth(outer="MoSe2"),
    "MoSe2 in MoS2": Growth(inner="MoSe2", outer="MoS2"),
    "aligned, touching": Growth(aligned=True, touching=0.4),
}
STACK = Stack.parse("SiO2(285nm)/Si")
MATERIALS = ("MoS2", "MoSe2")
SHARE = 0.2


@dataclass
class Tally:
    """What was seen of the crystals of many images."""

    ranked: list = field(default_factory=list)
    right: list[tuple[bool, bool]] = field(default_factory=list)
    turn: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)
    cores: int = 0
    seconds: float = 0.0

    def add(self, truth: GrownImage, found: Crystals, objective: str) -> None:
        masks = found.domains.detections.masks
        iou = mask_iou(masks, truth.masks)
        crowd = np.zeros(len(truth), bool)
        self.ranked.append(match_objects(
            Objects(masks, np.zeros(len(masks), int),
                    found.domains.detections.score, np.zeros(len(masks), bool)),
            Objects(truth.masks, np.zeros(len(truth), int),
                    np.ones(len(truth)), crowd),
            iou, (masks.area_px, truth.masks.area_px),
        ))  # fmt: skip
        if not len(masks) or not len(truth):
            return
        self.read(truth, found, iou, objective)

    def read(self, truth: GrownImage, found: Crystals, iou: np.ndarray, objective: str) -> None:
        size = truth.micrograph.pixel_size
        table = measure_domains(found.domains, None, pixel_size=size)
        setup = Setup(MATERIALS, STACK, OBJECTIVES[objective][1])
        lateral = find_lateral(quieted(truth.micrograph), found, setup)
        for j in np.flatnonzero(iou.max(axis=0) > 0.5).tolist():
            i = int(iou[:, j].argmax())
            if found.domains.cut[i]:
                continue
            self.right.append((found.shapes.names[i] == truth.shape[j], bool(truth.touching[j])))
            off = table["facet_direction_mod60_deg"][i] - truth.lattice_deg[j]
            self.turn.append(abs((off + 30) % 60 - 30))
            if 0.02 < truth.core_share[j] < 0.98:
                self.cores += 1
                self.core.append(lateral[i].core_share - truth.core_share[j])

    def lines(self) -> Iterator[str]:
        precision, recall = average_precision(rank_class(self.ranked))
        yield f"images {len(self.ranked)}, AP50 {precision[0, 0]:.3f}, AP {precision.mean():.3f}"
        yield f"recall at IoU 0.5 {recall[0, 0]:.3f}"
        for name, kept in (("free", [r for r, t in self.right if not t]),
                           ("touching", [r for r, t in self.right if t]),
                           ("all", [r for r, _ in self.right])):  # fmt: skip
            if kept:
                yield f"shape right, {name}: {np.mean(kept):.3f} of {len(kept)}"
        if self.turn:
            yield f"direction, median error {np.nanmedian(self.turn):.2f} degrees"
        off = np.abs([c for c in self.core if np.isfinite(c)])
        if len(off):
            yield (
                f"core share: median error {np.median(off):.4f}, within 0.03 "
                f"{np.mean(off <= 0.03):.2f}, seen {len(off)} of {self.cores} cores"
            )
        yield f"CPU {self.seconds / max(len(self.ranked), 1):.2f} s an image"


def gaussian(image: Micrograph, rng: np.random.Generator) -> Micrograph:
    """Add noise of 20 % of the white level."""
    noise = rng.normal(0, SHARE * image.white_level, image.data.shape)
    data = np.clip(np.rint(image.data + noise), 0, image.white_level)
    return replace(image, data=data.astype(image.data.dtype))


def salt_and_pepper(image: Micrograph, rng: np.random.Generator) -> Micrograph:
    """Make 20 % of the pixels black or white."""
    hit, white = rng.random(image.shape) < SHARE, rng.random(image.shape) < 0.5
    value = np.where(white, image.white_level, 0)[..., None]
    data = np.where(hit[..., None], value, image.data)
    return replace(image, data=data.astype(image.data.dtype))


NOISES = {"none": None, "20 % Gaussian": gaussian, "20 % salt and pepper": salt_and_pepper}


def scenes(seed: int, n_images: int) -> Iterator[tuple[str, GrownImage]]:
    """Yield objective and image of every growth."""
    names = list(OBJECTIVES)
    for k, growth in enumerate(GROWTHS.values()):
        images = crystal_set(
            seed + k, n_images, growth, cameras=BENCHMARK_CAMERAS, objectives=names
        )
        for i, image in enumerate(images):
            yield names[i % len(names)], image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=100)
    asked = parser.parse_args()
    tallies = {name: Tally() for name in NOISES}
    for k, (objective, truth) in enumerate(scenes(asked.seed, 3 if asked.quick else 10)):
        for name, spoil in NOISES.items():
            rng = np.random.default_rng([asked.seed, k])
            image = spoil(truth.micrograph, rng) if spoil else truth.micrograph
            start = time.process_time()
            found = find_crystals(image)
            tallies[name].seconds += time.process_time() - start
            tallies[name].add(replace(truth, micrograph=image), found, objective)
    for name, tally in tallies.items():
        print(f"noise: {name}")
        print("\n".join(f"  {line}" for line in tally.lines()))


if __name__ == "__main__":
    main()
