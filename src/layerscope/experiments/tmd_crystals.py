"""Labelled crystals of the TMD study: rendered by physics, or a user's, with its troubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.evaluation import Objects
from layerscope.core.examples import DataSet, Example, Instance
from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.experiments.labelled import Labelled
from layerscope.experiments.perturbation import PERTURBATIONS
from layerscope.experiments.study import Effort
from layerscope.experiments.worlds import UserWorld
from layerscope.measure.scores_objects import object_figures
from layerscope.synth.camera import BENCHMARK_CAMERAS
from layerscope.synth.crystal_growth import Growth
from layerscope.synth.crystal_labels import label_grown
from layerscope.synth.crystals import OBJECTIVES, synth_crystals
from layerscope.training.splits import hold_out

HETERO, THICKNESS = "material", "thickness"
"""What is taught: regions of two materials, or classes of thickness."""

USUAL = "50x"
"""Objective of all pictures but those of the question of magnification."""

_TEST_SHARE = 0.35
_LEAST_PX = 20
_ROLES = {"target": 0, "test": 1}
_NOISE = {p.name: p for p in PERTURBATIONS}
_SHAPES = {"triangle": 0.6, "truncated triangle": 0.15, "hexagon": 0.25}


@dataclass(frozen=True)
class CrystalWorld:
    """Grown crystals with exact truth; a seed is one camera, and its own pictures.

    Attributes
    ----------
    material : str
        That nucleates, and whose thickness is told.
    shell : str
        That grows around it.
    other : str
        The other material whose thickness is told.
    substrate : str
    """

    material: str = "MoS2"
    shell: str = "MoSe2"
    other: str = "WTe2"
    substrate: str = "SiO2(285nm)/Si"

    @property
    def classes(self) -> tuple[str, ...]:
        """See `World`."""
        return ("background", *sorted((self.material, self.shell)))

    @property
    def ranges(self) -> None:
        """See `World`."""
        return None

    @property
    def sources(self) -> tuple[str, ...]:
        """See `World`."""
        return ()

    def target(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return _as_maps(self.pictures(seed, "target", HETERO, self.material, effort))

    def test(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return _as_maps(self.pictures(seed, "test", HETERO, self.material, effort))

    def source(self, seed: int, kind: str, effort: Effort) -> Labelled:
        """See `World`."""
        raise InputError(f"source {kind}: the study of crystals has none")

    def facts(self) -> Mapping[str, object]:
        """See `World`."""
        return {"images": "synthetic", **vars(self)}

    def pictures(
        self,
        seed: int,
        role: str,
        label: str,
        material: str,
        effort: Effort,
        objective: str = USUAL,
    ) -> DataSet:
        """Pictures to learn from (``target``) or to judge on (``test``).

        Parameters
        ----------
        seed : int
        role : str
        label : str
            `HETERO`: of `material` and the shell; `THICKNESS`: of `material` alone.
        material : str
        effort : Effort
        objective : str
            In `synth.crystals.OBJECTIVES`; ``"all"``: in turn.
        """
        return _drawn(self, seed, role, label, material, effort, objective)


@lru_cache(maxsize=12)
def _drawn(
    world: CrystalWorld,
    seed: int,
    role: str,
    label: str,
    material: str,
    effort: Effort,
    objective: str,
) -> DataSet:
    count = effort.test_images if role == "test" else effort.target_images
    if label == HETERO and role == "target":
        count = effort.source_images
    layered = label == THICKNESS
    growth = Growth(
        material, None if layered else world.shell, thick=0.8 if layered else 0.0, bilayer=0.0,
        touching=0.1, size_um=(6.0, 20.0), shapes=_SHAPES, switch=(0.45, 0.7),
    )  # fmt: skip
    lenses = list(OBJECTIVES) if objective == "all" else [objective]
    pictures = []
    for i in range(count):
        rng = np.random.default_rng([seed, _ROLES[role], len(label), *material.encode(), i])
        pictures.append(
            synth_crystals(
                rng, growth, substrate=world.substrate, shape=(effort.side_px, effort.side_px),
                n_crystals=6, objective=lenses[i % len(lenses)],
                camera=BENCHMARK_CAMERAS[seed % len(BENCHMARK_CAMERAS)], clutter=0.3,
                oxide_error_nm=float(np.random.default_rng([seed, 5]).normal(0, 3)),
                name=f"{role}_{i:04d}",
            )
        )  # fmt: skip
    data = label_grown(pictures, label)
    return data


def user_parts(world: UserWorld, seed: int, effort: Effort) -> tuple[DataSet, DataSet]:
    """Split a user's labelled objects by specimen: to learn from, and to judge on."""
    data = world.data
    if any(e.instances is None for e in data.examples):
        raise InputError("objects are not told apart in these images: give outlines (COCO, YOLO)")
    train, test = hold_out(data.groups, _TEST_SHARE, seed)
    order = np.random.default_rng([seed, 7]).permutation(train)
    return data.take(order[: effort.source_images]), data.take(test[: effort.test_images])


def harmed(data: DataSet, kind: str, level: float, seed: int) -> DataSet:
    """Pictures with noise of one of `PERTURBATIONS`, in per cent."""
    trouble = _NOISE[kind]
    out = []
    for i, example in enumerate(data.examples):
        image, shape = example.read_image(), example.shape
        unit = image / np.float32(255) if image.dtype == np.uint8 else image
        noisy, _ = trouble.harm(
            np.asarray(unit, np.float32), np.zeros(shape, np.uint8), level,
            np.random.default_rng([seed, i, 0xBAD]),
        )  # fmt: skip
        seen = np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)
        out.append(_with_image(example, seen, example.instances or ()))
    return replace(data, examples=tuple(out))


def magnified(data: DataSet, factor: float) -> DataSet:
    """Middle of the pictures, as an objective of `factor` times the magnification shows it."""
    out = []
    for example in data.examples:
        (top, bottom), (left, right) = (_middle(n, factor) for n in example.shape)
        objects = [
            cut
            for one in example.instances or ()
            if (cut := _cut(one, example.shape, (top, left, bottom, right))) is not None
        ]
        out.append(_with_image(example, example.read_image()[top:bottom, left:right], objects))
    return replace(data, examples=tuple(out))


def _middle(length: int, factor: float) -> tuple[int, int]:
    kept = max(1, round(length / factor))
    return (length - kept) // 2, (length - kept) // 2 + kept


def _cut(
    one: Instance, shape: tuple[int, int], frame: tuple[int, int, int, int]
) -> Instance | None:
    """Object within a frame of the picture; None where hardly anything of it is left."""
    whole = np.zeros(shape, bool)
    top, left, bottom, right = one.box
    whole[top:bottom, left:right] = True if one.mask is None else one.mask
    seen = whole[frame[0] : frame[2], frame[1] : frame[3]]
    if np.count_nonzero(seen) < _LEAST_PX:
        return None
    masks = CropMasks.from_dense([seen], (seen.shape[0], seen.shape[1]))
    y, x, y_end, x_end = masks.boxes[0].tolist()
    return Instance(one.class_index, (y, x, y_end, x_end), masks.crops[0])


def guess_islands(test: DataSet, common: int) -> dict[str, float]:
    """Figures of the islands of Otsu's threshold, all of the most frequent class."""
    pairs = []
    for example in test.examples:
        grey = cv2.cvtColor(_bytes(example.read_image()), cv2.COLOR_RGB2GRAY)
        _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        mask = 1 - mask if mask.mean() > 0.5 else mask
        count, labels = cv2.connectedComponents(mask, connectivity=4)
        large = np.bincount(labels.ravel(), minlength=count) >= 60
        large[0] = False
        found = CropMasks.from_labels(np.where(large[labels], labels, 0))
        n = len(found)
        islands = Objects.found(found, np.full(n, common, np.int64), np.full(n, 0.5))
        pairs.append((islands, Objects.marked(example.instances or (), example.shape)))
    return object_figures(pairs, len(test.classes) - 1)


def _bytes(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """RGB, 8 bits."""
    pixels = image if image.dtype == np.uint8 else np.rint(255 * image.astype(float))
    out = pixels.astype(np.uint8)
    return np.repeat(out, 3, axis=2) if out.shape[2] == 1 else out


def _with_image(example: Example, image: npt.NDArray[Any], objects: Sequence[Instance]) -> Example:
    return Example.from_arrays(
        example.name, image, list(objects), group=example.group,
        pixel_size_nm=example.pixel_size_nm,
    )  # fmt: skip


def _as_maps(data: DataSet) -> Labelled:
    return Labelled(
        tuple(e.read_image() for e in data.examples), tuple(e.label_map() for e in data.examples)
    )
