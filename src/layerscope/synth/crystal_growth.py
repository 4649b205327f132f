"""Crystals that grow on a substrate: where each lies, what it is made of, and who met whom.

All crystals of a picture grow at the same time. Where two would be they share the time's line, so
touching crystals meet as grain boundaries do. A lateral heterostructure is what the first vapour
grew until `Growth.switch`, and around it what the second grew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import BoolArray
from layerscope.errors import InputError
from layerscope.physics.sheets import Sheets
from layerscope.synth.crystal_outlines import SHAPES, Outline, arrival, draw_outline

_NEVER = np.float32(np.inf)
_GAP_PX = 7.0
_Map = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Growth:
    """What grows on a substrate; shares are 0 to 1.

    Attributes
    ----------
    inner : str
        Material that nucleates.
    outer : str or None
        Material that grows around it laterally from time `switch` on.
    top : str or None
        Material of second layers; None: that of the layer below.
    switch : tuple of float
        Range of the time of the change, as a share of the whole growth; one time per picture.
    shapes : mapping of str to float
        How often each of `crystal_outlines.SHAPES` grows.
    size_um : tuple of float
        Smallest and largest diameter of the disc of equal area; log-uniform.
    touching : float
        Share of the crystals that start beside another.
    bilayer : float
        Share with a second layer around the nucleus.
    thick : float
        Share of 2 to 60 layers instead of one.
    aligned : bool
        Epitaxial: facets within a degree of 0 or 60 degrees to one direction.
    """

    inner: str = "MoS2"
    outer: str | None = None
    top: str | None = None
    switch: tuple[float, float] = (0.4, 0.75)
    shapes: Mapping[str, float] = field(
        default_factory=lambda: {
            "triangle": 0.45, "truncated triangle": 0.15, "hexagon": 0.2, "star": 0.08,
            "strip": 0.05, "irregular": 0.07,
        }
    )  # fmt: skip
    size_um: tuple[float, float] = (3.0, 40.0)
    touching: float = 0.15
    bilayer: float = 0.2
    thick: float = 0.08
    aligned: bool = False

    def __post_init__(self) -> None:
        wrong = [s for s in self.shapes if s not in SHAPES]
        if wrong or not self.shapes or min(self.shapes.values()) < 0:
            raise InputError(f"shapes {dict(self.shapes)}: expected shares of {', '.join(SHAPES)}")
        if not 0 < self.size_um[0] <= self.size_um[1]:
            raise InputError(f"sizes {self.size_um} um: expected a positive range")
        for share in (*self.switch, self.touching, self.bilayer, self.thick):
            if not 0 <= share <= 1:
                raise InputError(f"share {share}: expected 0 to 1")


@dataclass(frozen=True, eq=False)
class Grown:
    """Crystals on the grid.

    Attributes
    ----------
    owner : ndarray of int32, (H, W)
        1-based number of the crystal; 0 is bare substrate.
    sheet : ndarray of uint8, (H, W)
        Index into `sheets`.
    sheets : tuple of Sheets
    outlines : tuple of Outline
        Of each crystal.
    core : ndarray of bool, (H, W)
        What grew before the switch.
    """

    owner: Labels
    sheet: npt.NDArray[np.uint8]
    sheets: tuple[Sheets, ...]
    outlines: tuple[Outline, ...]
    core: BoolArray


def grow(
    rng: np.random.Generator,
    recipe: Growth,
    shape: tuple[int, int],
    count: int,
    pixel_nm: float,
) -> Grown:
    """Let crystals grow on a grid (H, W), `count` of them or as many as there is room for."""
    axis_deg = float(rng.uniform(0, 60))
    switch = float(rng.uniform(*recipe.switch)) if recipe.outer else 1.0
    when = np.full(shape, _NEVER, np.float32)
    owner, sheet = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
    book: dict[Sheets, int] = {(): 0}
    outlines: list[Outline] = []
    for _ in range(count):
        outline = _draw(rng, recipe, min(shape), axis_deg, pixel_nm)
        place = _place(rng, when, outline, beside=rng.random() < recipe.touching)
        if place is None:
            continue
        outlines.append(outline)
        where, own = _claim(when, owner, outline, place, len(outlines))
        stack = _pile_up(rng, recipe, outline, own, switch, book)
        sheet[where] = np.where(np.isfinite(own), stack, sheet[where])
    return Grown(owner, sheet, tuple(book), tuple(outlines), (owner > 0) & (when < switch))


def _draw(
    rng: np.random.Generator, recipe: Growth, side_px: int, axis_deg: float, pixel_nm: float
) -> Outline:
    names = list(recipe.shapes)
    share = np.array([recipe.shapes[n] for n in names])
    shape = str(rng.choice(names, p=share / share.sum()))
    low, high = (1e3 * s / pixel_nm for s in recipe.size_um)
    high = min(high, side_px / 3)
    size_px = float(np.exp(rng.uniform(np.log(max(min(low, high), 18)), np.log(max(high, 18)))))
    turn = float(rng.uniform(0, 360))
    if recipe.aligned:
        turn = axis_deg + 60 * int(rng.integers(0, 6)) + float(rng.normal(0, 1))
    return draw_outline(rng, shape, size_px, turn)


def _place(
    rng: np.random.Generator, when: _Map, outline: Outline, *, beside: bool
) -> tuple[int, int] | None:
    """Nucleus of a crystal that keeps apart from all others, or that just reaches one of them."""
    height, width = when.shape
    free = (when == _NEVER).astype(np.uint8)
    room = cv2.distanceTransform(free, cv2.DIST_L2, 5) if not free.all() else None
    for _ in range(40):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        reach = outline.reach_px
        if room is None:
            return y, x
        if not beside and room[y, x] > reach + _GAP_PX:
            return y, x
        if beside and 0.55 * reach < room[y, x] < 0.8 * reach:
            return y, x
    return None


def _claim(
    when: _Map, owner: Labels, outline: Outline, place: tuple[int, int], number: int
) -> tuple[tuple[slice, slice], _Map]:
    """Take the pixels that this crystal reaches first: where, and its times, inf elsewhere."""
    half = int(np.ceil(outline.reach_px)) + 2
    top, left = max(place[0] - half, 0), max(place[1] - half, 0)
    where = (slice(top, place[0] + half + 1), slice(left, place[1] + half + 1))
    seen = when[where]
    y = np.arange(top, top + seen.shape[0], dtype=np.float32) - np.float32(place[0])
    x = np.arange(left, left + seen.shape[1], dtype=np.float32) - np.float32(place[1])
    time = arrival(outline, *np.broadcast_arrays(y[:, None], x[None, :]))
    own = np.where((time < 1) & (time < seen), time, _NEVER)
    mine = np.isfinite(own)
    when[where] = np.where(mine, own, seen)
    owner[where] = np.where(mine, number, owner[where])
    return where, own


def _pile_up(
    rng: np.random.Generator,
    recipe: Growth,
    outline: Outline,
    own: _Map,
    switch: float,
    book: dict[Sheets, int],
) -> npt.NDArray[np.uint8]:
    """Index of the sheets of every pixel of one crystal; new ones are written into the book."""
    number = int(np.exp(rng.uniform(np.log(2), np.log(60)))) if rng.random() < recipe.thick else 1
    second = float(rng.uniform(0.2, 0.5)) if rng.random() < recipe.bilayer else 0.0
    core = ((recipe.inner, number),)
    out = np.full(own.shape, _entry(book, core), np.uint8)
    if recipe.outer:
        out[own >= switch] = _entry(book, ((recipe.outer, number),))
    if second and number == 1:
        top = recipe.top or recipe.inner
        both = ((recipe.inner, 2),) if top == recipe.inner else (*core, (top, 1))
        out[own < min(second, 0.9 * switch)] = _entry(book, both)
    return out


def _entry(book: dict[Sheets, int], sheets: Sheets) -> int:
    return book.setdefault(sheets, len(book))
