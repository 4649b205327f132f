"""The answers: what a task returns. Values only; indexing keeps all columns aligned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, fields, replace
from enum import IntFlag
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

THICK = 0
"""`LayerPosterior.n_layers` of a region thicker than the ladder reaches."""
UNKNOWN = -1
"""`LayerPosterior.n_layers` where no number is given."""


class Flag(IntFlag):
    """Quality flags of one object. Bits may be added, never renumbered."""

    TOUCHES_BORDER = 1 << 0
    SATURATED = 1 << 1
    OUT_OF_FOCUS = 1 << 2
    SCALE_UNKNOWN = 1 << 3
    AMBIGUOUS_LAYERS = 1 << 4
    MIXED_LAYERS = 1 << 5
    RESIDUE = 1 << 6
    EDGE_STRIP = 1 << 7
    LOW_CONTRAST = 1 << 8
    SUBSTRATE_UNCERTAIN = 1 << 9
    LAYERS_WITHHELD = 1 << 10
    TOUCHES_EXCLUDED = 1 << 11
    UNLIKE_MARKED = 1 << 12

    @property
    def names(self) -> list[str]:
        """Lower-case names of the set bits, lowest first."""
        return [(flag.name or "").lower() for flag in Flag if flag in self]


FLAG_MEANING: Mapping[Flag, str] = {
    Flag.TOUCHES_BORDER: "cut by the image border: area and size are lower bounds",
    Flag.SATURATED: "more than 5 % of the pixels are at the camera's limit in some channel",
    Flag.OUT_OF_FOCUS: "edges far blurrier than the image's sharpest",
    Flag.SCALE_UNKNOWN: "no pixel size: lengths and areas in px only",
    Flag.AMBIGUOUS_LAYERS: "the colour allows more than one layer number",
    Flag.MIXED_LAYERS: "the region holds more than one colour",
    Flag.RESIDUE: "looks like residue, tape, dust or a scratch rather than a crystal",
    Flag.EDGE_STRIP: "narrow strip along a thicker part: perhaps its blurred rim",
    Flag.LOW_CONTRAST: "contrast is close to the detection limit",
    Flag.SUBSTRATE_UNCERTAIN: "which colour is the bare substrate is not certain in this image",
    Flag.LAYERS_WITHHELD: "the calibration was refused: no absolute layer number is given",
    Flag.TOUCHES_EXCLUDED: "touches a burnt-in bar, text or another masked area",
    Flag.UNLIKE_MARKED: "unlike the flakes that a person marked to train the model",
}


@dataclass(frozen=True)
class CropMasks:
    """Masks kept as crops, so that 500 regions of a 2 Mpx image cost megabytes, not gigabytes.

    Attributes
    ----------
    boxes : ndarray of int, (n, 4)
        ``top, left, bottom, right``, half-open like slices.
    crops : tuple of bool ndarray
        One per box, of the box's size.
    shape : tuple of int
        Height and width of the image. Masks may overlap.
    """

    boxes: IntArray
    crops: tuple[BoolArray, ...]
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.crops):
            raise InputError(f"{len(self.boxes)} boxes but {len(self.crops)} crops")

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> CropMasks:
        """No mask at all, on an image of `shape`."""
        return cls(np.zeros((0, 4), np.int64), (), shape)

    @classmethod
    def from_labels(cls, labels: npt.NDArray[Any]) -> CropMasks:
        """One mask per positive value of `labels` (H, W), in ascending order of the values."""
        from scipy import ndimage

        found = [(i + 1, s) for i, s in enumerate(ndimage.find_objects(labels)) if s is not None]
        boxes = [(s[0].start, s[1].start, s[0].stop, s[1].stop) for _, s in found]
        crops = tuple(np.asarray(labels[s] == value) for value, s in found)
        height, width = labels.shape
        return cls(np.array(boxes, np.int64).reshape(-1, 4), crops, (height, width))

    @classmethod
    def from_dense(cls, masks: Sequence[npt.NDArray[Any]], shape: tuple[int, int]) -> CropMasks:
        """Crop full-size boolean masks; each must hold at least one pixel."""
        boxes, crops = [], []
        for mask in masks:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(rows) == 0:
                raise InputError("an empty mask is no object")
            box = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
            boxes.append(box)
            crops.append(np.asarray(mask[box[0] : box[2], box[1] : box[3]], bool))
        return cls(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), shape)

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], BoolArray]]:
        """Yield ``(slices into the image, crop)``."""
        for (top, left, bottom, right), crop in zip(self.boxes.tolist(), self.crops, strict=True):
            yield (slice(top, bottom), slice(left, right)), crop

    def take(self, index: IntArray) -> CropMasks:
        """Masks at the integer positions `index`."""
        return CropMasks(self.boxes[index], tuple(self.crops[i] for i in index), self.shape)

    def dense(self, i: int) -> BoolArray:
        """Mask `i` at full image size."""
        out = np.zeros(self.shape, bool)
        top, left, bottom, right = self.boxes[i]
        out[top:bottom, left:right] = self.crops[i]
        return out

    def labels(self, values: Sequence[int] | None = None) -> npt.NDArray[np.int32]:
        """Label image (H, W): mask `i` painted as ``values[i]`` (``i + 1``), later on top."""
        out = np.zeros(self.shape, np.int32)
        painted = range(1, len(self) + 1) if values is None else values
        for value, (where, crop) in zip(painted, self, strict=True):
            out[where][crop] = value
        return out

    @cached_property
    def area_px(self) -> IntArray:
        """Pixels per mask."""
        return np.array([np.count_nonzero(c) for c in self.crops], np.int64)


@dataclass(frozen=True)
class RegionSignal:
    """What the camera saw on each region, before any tone curve; one row per region.

    Levels are fractions of the white level, after flat-field correction, channels R, G, B.

    Attributes
    ----------
    level, level_se : ndarray, (n, 3)
        Robust mean over the region's core (rim excluded) and its standard error.
    background, background_se : ndarray, (n, 3)
        Bare substrate at the same place, and its standard error.
    spread : ndarray, (n, 3)
        Robust standard deviation inside the core.
    core_px : ndarray of int, (n,)
        Pixels averaged.
    uniformity : ndarray, (n,)
        Share of the region that has the core's colour, 0 to 1.
    saturated : ndarray, (n,)
        Share of the region at the camera's limit in any channel.
    """

    level: FloatArray
    level_se: FloatArray
    background: FloatArray
    background_se: FloatArray
    spread: FloatArray
    core_px: IntArray
    uniformity: FloatArray
    saturated: FloatArray

    @classmethod
    def empty(cls) -> RegionSignal:
        """No region."""
        rgb, one = np.zeros((0, 3)), np.zeros(0)
        return cls(rgb, rgb, rgb, rgb, rgb, np.zeros(0, np.int64), one, one)

    @classmethod
    def concatenate(cls, parts: Sequence[RegionSignal]) -> RegionSignal:
        """All rows of `parts`, in order."""
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.core_px)

    def take(self, index: IntArray) -> RegionSignal:
        """Rows at the integer positions `index`."""
        return RegionSignal(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True)
class LayerPosterior:
    """How many layers each region has, and how sure that is; one row per region.

    Attributes
    ----------
    probability : ndarray, (n, N + 2)
        Columns: 1..N layers, thick, unknown. Rows add to one.
    n_layers : ndarray of int, (n,)
        The answer: 1..N, `THICK` or `UNKNOWN`.
    thickness_nm, thickness_low_nm, thickness_high_nm : ndarray, (n,)
        Most probable thickness and its 95 % interval; NaN where none is given.
    branches_nm : tuple of tuples of (low_nm, high_nm, weight)
        Every thickness range that the colour allows, most probable first.
    withheld : tuple of str
        Per region: why there is no absolute number, or "".
    residue : ndarray, (n,), or None
        Probability that the region is polymer residue; part of the last column of `probability`.
    """

    probability: FloatArray
    n_layers: IntArray
    thickness_nm: FloatArray
    thickness_low_nm: FloatArray
    thickness_high_nm: FloatArray
    branches_nm: tuple[tuple[tuple[float, float, float], ...], ...]
    withheld: tuple[str, ...]
    residue: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.n_layers)

    @property
    def max_layers(self) -> int:
        """N, the longest ladder step that has a number of its own."""
        return self.probability.shape[1] - 2

    @property
    def confidence(self) -> FloatArray:
        """Probability of the given answer."""
        column = np.select(
            [self.n_layers > 0, self.n_layers == THICK],
            [self.n_layers - 1, self.max_layers],
            self.max_layers + 1,
        )
        return self.probability[np.arange(len(self)), column]

    def take(self, index: IntArray) -> LayerPosterior:
        """Rows at the integer positions `index`."""
        return LayerPosterior(
            self.probability[index],
            self.n_layers[index],
            self.thickness_nm[index],
            self.thickness_low_nm[index],
            self.thickness_high_nm[index],
            tuple(self.branches_nm[i] for i in index),
            tuple(self.withheld[i] for i in index),
            None if self.residue is None else self.residue[index],
        )


@dataclass(frozen=True)
class Detections:
    """Which objects are in one image; one row per region.

    Attributes
    ----------
    masks : CropMasks
    score : ndarray, (n,)
        Confidence, 0 to 1, that the region is a crystal and not residue, rim or dust.
    flags : ndarray of int, (n,)
        `Flag` bits.
    flake_id : ndarray of int, (n,)
        1-based; touching terraces of one flake share it.
    signal : RegionSignal
    layers : LayerPosterior or None
    provenance : mapping
        Task, parameters, software version, input hash.
    """

    masks: CropMasks
    score: FloatArray
    flags: IntArray
    flake_id: IntArray
    signal: RegionSignal
    layers: LayerPosterior | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.masks)
        columns: dict[str, Sized | None] = {
            "score": self.score,
            "flags": self.flags,
            "flake_id": self.flake_id,
        }
        columns |= {"signal": self.signal, "layers": self.layers}
        for name, column in columns.items():
            if column is not None and len(column) != n:
                raise InputError(f"{n} masks but {len(column)} rows of {name}")

    @classmethod
    def empty(
        cls, shape: tuple[int, int], provenance: Mapping[str, Any] | None = None
    ) -> Detections:
        """Nothing found on an image of `shape`."""
        none = np.zeros(0, np.int64)
        masks, signal = CropMasks.empty(shape), RegionSignal.empty()
        return cls(masks, np.zeros(0), none, none, signal, None, provenance or {})

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: Any) -> Detections:
        """Rows selected by a boolean mask, a slice or integers; every column stays aligned."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Detections(
            self.masks.take(chosen),
            self.score[chosen],
            self.flags[chosen],
            self.flake_id[chosen],
            self.signal.take(chosen),
            self.layers.take(chosen) if self.layers is not None else None,
            self.provenance,
        )

    def with_layers(self, layers: LayerPosterior, flags: IntArray | None = None) -> Detections:
        """Return a copy that carries `layers`, and `flags` added to its own."""
        new = self.flags if flags is None else self.flags | flags
        return replace(self, layers=layers, flags=new)
