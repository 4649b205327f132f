"""Where the images of a study come from: drawn from physics, or a user's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.examples import DataSet
from layerscope.core.results import IntArray
from layerscope.errors import InputError
from layerscope.experiments.labelled import Labelled, Ranges, classes_of, layer_ranges
from layerscope.experiments.study import SOURCES, Effort
from layerscope.synth import synth_flakes
from layerscope.synth.camera import BENCHMARK_CAMERAS
from layerscope.training.splits import hold_out

CLASSES = ("substrate", "1 layer", "2 layers", "3-5 layers", "6+ layers")
_ROLES = {"target": 0, "test": 1, "same": 2, "other": 3}
_PIXEL_NM = 384.4
_TEST_SHARE = 0.35


@dataclass(frozen=True)
class SyntheticWorld:
    """Optical micrographs of flakes with exact truth.

    The target images of a seed are taken by one camera on one chip; the sources by the four other
    cameras in turn, on other chips. Oxides are 5 nm (one standard deviation) off their name.

    Attributes
    ----------
    material, other : str
        Of the target, and of the source that is another.
    substrate : str
    classes : tuple of str
    grey : bool
        One channel instead of three.
    pixel_size_nm : float
    """

    material: str = "MoS2"
    other: str = "graphene"
    substrate: str = "SiO2(90nm)/Si"
    classes: tuple[str, ...] = CLASSES
    grey: bool = False
    pixel_size_nm: float = _PIXEL_NM

    @property
    def ranges(self) -> Ranges | None:
        """See `World`."""
        return layer_ranges(self.classes)

    @property
    def sources(self) -> tuple[str, ...]:
        """See `World`."""
        return SOURCES

    def target(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return self._render(seed, "target", effort.target_images, effort)

    def test(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        return self._render(seed, "test", effort.test_images, effort)

    def source(self, seed: int, kind: str, effort: Effort) -> Labelled:
        """See `World`."""
        return self._render(seed, kind, effort.source_images, effort)

    def facts(self) -> Mapping[str, object]:
        """See `World`."""
        return {"images": "synthetic", **vars(self)}

    def _render(self, seed: int, role: str, count: int, effort: Effort) -> Labelled:
        ranges = self.ranges
        if ranges is None:
            raise InputError(f"classes {', '.join(self.classes)}: the names say no layer numbers")
        own = seed % len(BENCHMARK_CAMERAS)
        cameras = [BENCHMARK_CAMERAS[own]]
        if role in ("same", "other"):
            cameras = [c for c in BENCHMARK_CAMERAS if c not in cameras]
        images, labels = [], []
        for i in range(count):
            camera = cameras[i % len(cameras)]
            chip = np.random.default_rng([seed, _ROLES[role] // 2, i % len(cameras)])
            picture = synth_flakes(
                np.random.default_rng([seed, _ROLES[role], i]),
                material=self.other if role == "other" else self.material,
                substrate=self.substrate, shape=(effort.side_px, effort.side_px),
                n_flakes=max(3, round(8 * (effort.side_px / 256) ** 2)), camera=camera,
                max_layers=6, thick_share=0.2, oxide_error_nm=float(chip.normal(0, 5)),
                pixel_size_nm=self.pixel_size_nm, clutter=0.5,
            )  # fmt: skip
            images.append(_in_channels(picture.micrograph.data, self.grey))
            labels.append(classes_of(picture.layer_labels, ranges))
        return Labelled(tuple(images), tuple(labels))


def _in_channels(data: npt.NDArray[Any], grey: bool) -> npt.NDArray[Any]:
    return np.rint(data.mean(axis=2, keepdims=True)).astype(np.uint8) if grey else data


@dataclass(frozen=True, eq=False)
class UserWorld:
    """A user's labelled images as the target; each seed splits them anew, by specimen.

    Attributes
    ----------
    data : DataSet
    material, other, substrate : str
        What the images show, and another material: for synthetic sources and for re-rendering.
    other_data : DataSet, optional
        Labelled images of another material, with the same classes, instead of synthetic ones.
    """

    data: DataSet
    material: str = "MoS2"
    other: str = "graphene"
    substrate: str = "SiO2(90nm)/Si"
    other_data: DataSet | None = None

    def __post_init__(self) -> None:
        if self.other_data is not None and self.other_data.classes != self.data.classes:
            raise InputError(
                f"sources have the classes {', '.join(self.other_data.classes)}, the data "
                f"{', '.join(self.data.classes)}; name them alike"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """See `World`."""
        return self.data.classes

    @property
    def ranges(self) -> Ranges | None:
        """See `World`."""
        return layer_ranges(self.data.classes)

    @property
    def sources(self) -> tuple[str, ...]:
        """See `World`."""
        if self.ranges is not None:
            return SOURCES
        return () if self.other_data is None else ("other",)

    def target(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        train, _ = hold_out(self.data.groups, _TEST_SHARE, seed)
        order = np.random.default_rng([seed, 7]).permutation(train)
        return self._read(self.data, order[: effort.target_images])

    def test(self, seed: int, effort: Effort) -> Labelled:
        """See `World`."""
        _, test = hold_out(self.data.groups, _TEST_SHARE, seed)
        order = np.random.default_rng([seed, 8]).permutation(test)
        most = 4 * effort.side_px
        found = self._read(self.data, np.sort(order[: effort.test_images]))
        return Labelled(
            tuple(_middle(i, most) for i in found.images),
            tuple(_middle(m, most) for m in found.labels),
        )

    def source(self, seed: int, kind: str, effort: Effort) -> Labelled:
        """See `World`."""
        if kind == "other" and self.other_data is not None:
            order = np.random.default_rng([seed, 9]).permutation(len(self.other_data))
            return self._read(self.other_data, order[: effort.source_images])
        return self._synthetic.source(seed, kind, effort)

    def facts(self) -> Mapping[str, object]:
        """See `World`."""
        told = {"material": self.material, "other": self.other, "substrate": self.substrate}
        sources = "synthetic" if self.other_data is None else _digest(self.other_data)
        images = {"count": len(self.data), "sha256": _digest(self.data)}
        return {"images": images, "classes": self.classes, **told, "sources": sources}

    @cached_property
    def _synthetic(self) -> SyntheticWorld:
        first = self.data.examples[0]
        return SyntheticWorld(
            self.material, self.other, self.substrate, self.data.classes,
            grey=first.read_image().shape[2] == 1, pixel_size_nm=first.pixel_size_nm or _PIXEL_NM,
        )  # fmt: skip

    def _read(self, data: DataSet, index: IntArray) -> Labelled:
        chosen = data.take(index).examples
        return Labelled(tuple(e.read_image() for e in chosen), tuple(e.label_map() for e in chosen))


def _digest(data: DataSet) -> str:
    """SHA-256 over all pixels and labels: a study must not go on with others."""
    digest = hashlib.sha256()
    for example in data.examples:
        digest.update(f"{example.name} {example.group} {example.shape}".encode())
        digest.update(np.ascontiguousarray(example.read_image()).tobytes())
        digest.update(np.ascontiguousarray(example.label_map()).tobytes())
    return digest.hexdigest()


def _middle(pixels: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Central part, at most `most` px a side."""
    top, left = (max(0, (n - most) // 2) for n in pixels.shape[:2])
    return pixels[top : top + most, left : left + most]
