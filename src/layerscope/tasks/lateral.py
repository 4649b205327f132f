"""Lateral heterostructures: which part of a crystal is the core and which the shell around it.

A crystal is cut into parts of one colour. The part that has most of the outline is what grew last.
A part inside of it that has another colour is either the core, another material at the same height,
or a second layer on top. Which of both, materials say where they are given (`physics.sheets`);
else a second layer is what is about twice as strong in the same colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray, RegionSignal
from layerscope.measure.hexagon import hexagon_of, twist_between
from layerscope.measure.number_density import edge_length_density
from layerscope.ops.channels import FloatImage
from layerscope.physics.sheets import Sheets, possible_piles, tell_sheets
from layerscope.physics.thin_film import Stack
from layerscope.tasks.crystal_colours import Part, contrast_image, filled, parts_of
from layerscope.tasks.crystals import Crystals

_INSIDE = 0.25
"""An inner part has less of its rim than this at the outline."""

_TWICE = (1.35, 2.6)
"""Contrast of a second layer over that of one. On 285 nm of oxide two layers of MoS2 have 1.5 to
1.65 times the contrast of one; the same oxide shows MoSe2 1.3 to 1.45 times as strong as MoS2."""

_SAME_COLOUR = 0.9
"""Least cosine between the contrasts of one and two layers of a material."""

_PROFILE_PX = 12
_PROFILE_END_PX = 3
_FEWEST = 4
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, eq=False)
class Heterostructure:
    """Core and shell of one crystal.

    Attributes
    ----------
    core : ndarray of bool, (h, w)
        Of the crystal's box; what lies on the core is part of it. All False: none is seen.
    core_share : float
        Area of the core over that of the crystal; NaN without a core. So are all that follow.
    ring_width_px : float
        Median distance from the interface to the outline.
    interface_px : float
        Length of the interface.
    sharpness_px : float
        Distance over which the colour goes from 10 to 90 % of the step between both, blur of the
        optics included.
    core_sheets, shell_sheets : Sheets or None
        Piles of materials; the shell's is that of the whole crystal where there is no core. None:
        not told.
    top_share : float
        Area under second layers over that of the crystal.
    twist_deg : float
        Turn of the second layer's facets against those of the crystal, see
        `measure.hexagon.twist_between`; NaN without a facetted second layer.
    sure : bool
        False where colour alone told a core from a second layer, and the answer was close.
    """

    core: BoolArray
    core_share: float = np.nan
    ring_width_px: float = np.nan
    interface_px: float = np.nan
    sharpness_px: float = np.nan
    core_sheets: Sheets | None = None
    shell_sheets: Sheets | None = None
    top_share: float = 0.0
    twist_deg: float = np.nan
    sure: bool = True


@dataclass(frozen=True)
class Setup:
    """Materials that may be there and what they lie on.

    Attributes
    ----------
    materials : tuple of str
    stack : Stack
    na : float
    max_layers : int
        Of one material alone.
    """

    materials: tuple[str, ...]
    stack: Stack
    na: float = 0.45
    max_layers: int = 3
    piles: tuple[Sheets, ...] = field(init=False)

    def __post_init__(self) -> None:
        piles = possible_piles(self.materials, max_layers=self.max_layers)
        object.__setattr__(self, "piles", piles)


def find_lateral(
    micrograph: Micrograph, crystals: Crystals, setup: Setup | None = None
) -> tuple[Heterostructure, ...]:
    """Tell core from shell in every crystal of an image.

    Parameters
    ----------
    micrograph : Micrograph
    crystals : Crystals
        Of `find_crystals` on it.
    setup : Setup, optional
        Without materials, second layers are told by their colour.

    Returns
    -------
    tuple of Heterostructure
        One per crystal.
    """
    masks = crystals.domains.detections.masks
    if not len(masks):
        return ()
    colour = contrast_image(micrograph, crystals.background)
    number = masks.labels()
    parts = [parts_of(colour, number, i + 1, w, c) for i, (w, c) in enumerate(masks)]
    sheets = _sheets_of(parts, crystals, setup)
    return tuple(
        _read(colour[where], crop, own, told)
        for (where, crop), own, told in zip(masks, parts, sheets, strict=True)
    )


def _sheets_of(
    parts: Sequence[Sequence[Part]], crystals: Crystals, setup: Setup | None
) -> list[list[Sheets | None]]:
    """Pile of each part of each crystal, told of all of them together; None: not known."""
    every = [p for own in parts for p in own]
    if setup is None or not every:
        return [[None] * len(own) for own in parts]
    area = np.array([p.area_px for p in every], float)
    signal = _signal(every, crystals.background.level)
    told = tell_sheets(signal, np.sqrt(area), setup.piles, setup.stack, na=setup.na)
    answers = [None if a < 0 else told.piles[a] for a in told.answer.tolist()]
    rest = iter(answers)
    return [[next(rest) for _ in own] for own in parts]


def _signal(parts: Sequence[Part], level: FloatArray) -> RegionSignal:
    """Signal of parts, as they were on substrate of the level at the image's centre."""
    n, colour = len(parts), np.stack([p.colour for p in parts])
    bare, none = np.tile(level, (n, 1)), np.zeros((n, 3))
    count = np.array([p.area_px for p in parts], np.int64)
    return RegionSignal(
        bare * (1 + colour), none, bare, none, none, count, np.ones(n), np.zeros(n)
    )  # fmt: skip


def _read(
    colour: FloatImage, crop: BoolArray, parts: Sequence[Part], sheets: Sequence[Sheets | None]
) -> Heterostructure:
    """Roles of the parts, and what follows of them; parts are sorted from the outline inwards."""
    nothing = Heterostructure(np.zeros(crop.shape, bool))
    if not parts:
        return nothing
    shell, shell_sheets = parts[0], sheets[0]
    core, top = np.zeros(crop.shape, bool), np.zeros(crop.shape, bool)
    core_colour, core_sheets, sure = shell.colour, None, True
    for part, told in zip(parts[1:], sheets[1:], strict=True):
        if part.outline_share >= _INSIDE:
            continue
        around, below = (core_colour, core_sheets) if core.any() else (shell.colour, shell_sheets)
        on_top, certain = _lies_on(part.colour, told, around, below)
        sure &= certain
        if on_top:
            top |= part.mask
        elif not core.any():
            core_colour, core_sheets = part.colour, told
        if not on_top:
            core |= part.filled
    if core.any():
        core = filled(core | top) & crop
    share, twist = float(top.sum() / crop.sum()), _twist(crop, top)
    if not core.any():
        return Heterostructure(
            core, shell_sheets=shell_sheets, top_share=share, twist_deg=twist, sure=sure
        )
    return Heterostructure(
        core, float(core.sum() / crop.sum()), _ring_width(core, crop), _interface(core, crop),
        _sharpness(colour, (core, top), crop, np.stack([core_colour, shell.colour])),
        core_sheets, shell_sheets, share, twist, sure,
    )  # fmt: skip


def _lies_on(
    colour: FloatArray, sheets: Sheets | None, around: FloatArray, below: Sheets | None
) -> tuple[bool, bool]:
    """Whether a part lies on what is around it, and whether that is certain."""
    if sheets is not None and below is not None:
        count = [sum(n for _, n in s) for s in (sheets, below)]
        return sheets[0][0] == below[0][0] and count[0] > count[1], True
    size, beside = (max(float(np.linalg.norm(c)), 1e-9) for c in (colour, around))
    times, alike = size / beside, float(colour @ around) / (size * beside)
    on_top = _TWICE[0] <= times <= _TWICE[1] and alike >= _SAME_COLOUR
    return on_top, not 1.2 <= times <= 1.8


def _twist(crop: BoolArray, top: BoolArray) -> float:
    lower, upper = hexagon_of(crop), hexagon_of(top)
    return np.nan if lower is None or upper is None else twist_between(lower, upper)


def _ring_width(core: BoolArray, crop: BoolArray) -> float:
    depth = cv2.distanceTransform(np.pad(crop, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rim = core & (cv2.erode(core.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    return float(np.median(depth[rim])) - 0.5


def _interface(core: BoolArray, crop: BoolArray) -> float:
    density = float(edge_length_density(core, crop, (1.0, 1.0))[0])
    return density * float(crop.sum())


def _sharpness(
    colour: FloatImage, parts: tuple[BoolArray, BoolArray], crop: BoolArray, steps: FloatArray
) -> float:
    """Width in px from 10 to 90 % of the colour's step, along the normals of the interface.

    `parts` are the core and what lies on top; `steps` (2, 3) the colours of core and shell.
    """
    (core, top), (inner, outer) = parts, steps
    step = inner - outer
    value = (colour - outer.astype(np.float32)) @ (step / (step @ step)).astype(np.float32)
    away = _signed_distance(core)
    near = crop & (np.abs(away) <= _PROFILE_PX) & (_signed_distance(crop) >= _PROFILE_END_PX)
    near &= _signed_distance(top) < -_PROFILE_END_PX
    bins = np.arange(-_PROFILE_PX, _PROFILE_PX + 1.0)
    place = np.digitize(away[near], bins) - 1
    count = np.bincount(place, minlength=len(bins))
    seen = count >= _FEWEST
    profile = np.bincount(place, value[near], minlength=len(bins))[seen] / count[seen]
    middle = bins[seen] + 0.5
    below, above = np.flatnonzero(profile <= _LOW), np.flatnonzero(profile >= _HIGH)
    below, above = below[middle[below] < 0], above[middle[above] > 0]
    if not len(below) or not len(above):
        return float("nan")
    i, j = int(below[-1]), int(above[0])
    low = np.interp(_LOW, profile[i : i + 2], middle[i : i + 2])
    high = np.interp(_HIGH, profile[j - 1 : j + 1], middle[j - 1 : j + 1])
    return float(high - low)


def _signed_distance(mask: BoolArray) -> npt.NDArray[np.float32]:
    """Distance to the border of `mask` in px, positive inside; outside of the array is outside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - padded, cv2.DIST_L2, 5)
    return np.asarray(np.where(padded > 0, inside - 0.5, 0.5 - outside)[1:-1, 1:-1])
