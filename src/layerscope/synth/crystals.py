"""Optical micrographs of grown crystals and lateral heterostructures with exact truth.

All crystals of a picture grow at the same time. Where two would be they share the time's line, so
touching crystals meet as grain boundaries do. A lateral heterostructure is what the first vapour
grew until `Growth.switch`, and around it what the second grew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.physics.materials import load
from layerscope.physics.sheets import Sheets, pile_reflectance
from layerscope.physics.thin_film import Stack
from layerscope.synth.camera import (
    WAVELENGTH_NM,
    FloatImage,
    SynthCamera,
    expose,
    find_camera,
    photograph,
)
from layerscope.synth.clutter import Clutter, strew
from layerscope.synth.crystal_outlines import SHAPES, Outline, arrival, draw_outline
from layerscope.synth.illumination import Illumination, draw_illumination, form_image
from layerscope.synth.photography import as_micrograph, coat, shade_walls, through_jpeg
from layerscope.synth.signals import true_stack

OBJECTIVES: Mapping[str, tuple[float, float]] = {
    "20x": (384.4, 0.45),
    "50x": (153.8, 0.8),
    "100x": (76.9, 0.9),
}
"""Pixel size in nm on a camera of 7.7 um pixels, and numerical aperture."""

SMALLEST_CRYSTAL_PX = 150
"""Crystals of which fewer pixels are seen have no truth: their shape cannot be told."""

_NEVER = np.float32(np.inf)
_GAP_PX = 7.0
_Map = npt.NDArray[np.float32]
_Labels = npt.NDArray[np.int32]


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
class GrownImage:
    """A synthetic micrograph of grown crystals and what is really there.

    Attributes
    ----------
    micrograph : Micrograph
    masks : CropMasks
        What is seen of each crystal; they do not overlap.
    shape : tuple of str
        Of each crystal, as it would be had it met no other.
    lattice_deg : ndarray, (n,)
        Direction of a facet's normal modulo 60 degrees, counter-clockwise from x.
    touching : ndarray of bool, (n,)
        Meets another crystal: its outline is not its own everywhere.
    core_share : ndarray, (n,)
        Area of the inner material over that of the crystal; NaN without a second one.
    sheets : tuple of Sheets
        What lies on the substrate, bottom up; the first is empty.
    sheet : ndarray of uint8, (H, W)
        Index into `sheets`.
    encoded : bytes
        The JPEG file whose pixels the micrograph holds; empty without.
    """

    micrograph: Micrograph
    masks: CropMasks
    shape: tuple[str, ...]
    lattice_deg: FloatArray
    touching: BoolArray
    core_share: FloatArray
    sheets: tuple[Sheets, ...]
    sheet: npt.NDArray[np.uint8]
    encoded: bytes = b""

    def __len__(self) -> int:
        return len(self.shape)

    def materials(self, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Lowest material of each pixel as 1.. in the order of `names`; 0 is bare substrate."""
        value = [0 if not s else 1 + list(names).index(s[0][0]) for s in self.sheets]
        return np.array(value, np.uint8)[self.sheet]

    def layers(self) -> IntArray:
        """Count the layers of each pixel, all materials together, (H, W)."""
        return np.array([sum(n for _, n in s) for s in self.sheets], np.int64)[self.sheet]


def synth_crystals(
    generator: np.random.Generator | int,
    growth: Growth | None = None,
    *,
    substrate: str = "SiO2(285nm)/Si",
    shape: tuple[int, int] = (720, 1280),
    n_crystals: int = 14,
    objective: str = "50x",
    camera: str | SynthCamera = "ccd_linear",
    oxide_error_nm: float = 0.0,
    illumination: Illumination | None = None,
    clutter: float = 0.4,
    noise: bool = True,
    jpeg_quality: int | None = 92,
    name: str = "grown",
) -> GrownImage:
    """One synthetic micrograph of grown crystals.

    Parameters
    ----------
    generator : numpy.random.Generator or int
        Or a seed; the same seed gives the same bytes.
    growth : Growth, optional
    substrate : str
    shape : tuple of int
        Height and width in px, at least 64.
    n_crystals : int
        How many are placed; fewer where there is no room.
    objective : str
        One of `OBJECTIVES`: pixel size and numerical aperture.
    camera, oxide_error_nm, illumination, noise, jpeg_quality, name
        As in `synth_flakes`.
    clutter : float
        0 is a clean chip, 1 a usual one, 2 a dirty one.

    Raises
    ------
    InputError
        If a number is out of range; `UnknownName` for an unknown material or camera.
    """
    if min(shape) < 64 or n_crystals < 0 or objective not in OBJECTIVES:
        raise InputError(
            f"shape {shape}, {n_crystals} crystals, objective {objective!r}: expected 64 px or more"
            f" a side, zero or more crystals and one of {', '.join(OBJECTIVES)}"
        )
    rng = np.random.default_rng(generator)
    recipe, (pixel_nm, na) = growth or Growth(), OBJECTIVES[objective]
    grown = _grow(rng, recipe, shape, n_crystals, pixel_nm)
    light = illumination or draw_illumination(rng)
    dirt = strew(rng, grown.owner, clutter, crumbs=False)
    device, stack = find_camera(camera), true_stack(substrate, oxide_error_nm)
    bare, scene = _paint(device, stack, grown, dirt, na)
    seen = form_image(device, scene, light, pixel_nm, na)
    pixels, encoded = through_jpeg(
        photograph(device, seen, rng, noise=noise), None if device.bit_depth > 8 else jpeg_quality
    )
    materials = "/".join(m for m in (recipe.inner, recipe.outer, recipe.top) if m)
    micrograph = as_micrograph(pixels, encoded, name, pixel_nm, device, stack, materials, bare)
    return _with_truth(micrograph, grown, encoded)


@dataclass(frozen=True, eq=False)
class _Grown:
    """Crystals on the grid: 1-based owner and index of the sheets of each pixel; outlines."""

    owner: _Labels
    sheet: npt.NDArray[np.uint8]
    sheets: tuple[Sheets, ...]
    outlines: tuple[Outline, ...]
    core: BoolArray


def _grow(
    rng: np.random.Generator,
    recipe: Growth,
    shape: tuple[int, int],
    count: int,
    pixel_nm: float,
) -> _Grown:
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
    return _Grown(owner, sheet, tuple(book), tuple(outlines), (owner > 0) & (when < switch))


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
    when: _Map, owner: _Labels, outline: Outline, place: tuple[int, int], number: int
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


def _paint(
    camera: SynthCamera, stack: Stack, grown: _Grown, dirt: Clutter, na: float
) -> tuple[FloatArray, FloatImage]:
    """Light of the bare substrate (3,) and of the scene (H, W, 3) before the optics."""
    reflectance = np.stack([pile_reflectance(s, stack, WAVELENGTH_NM, na=na) for s in grown.sheets])
    palette = expose(camera, reflectance, reflectance[0]).astype(np.float32)
    scene = palette[grown.sheet]
    height_nm = np.array([_height_nm(s) for s in grown.sheets], np.float32)[grown.sheet]
    scene *= shade_walls(height_nm)
    scene *= dirt.factor[..., None]
    if dirt.polymer_nm.any():
        coat(scene, camera, stack, dirt.polymer_nm, na)
    return palette[0].astype(float), scene


def _height_nm(sheets: Sheets) -> float:
    return sum(n * load(name).require_layer_nm() for name, n in sheets)


def _with_truth(micrograph: Micrograph, grown: _Grown, encoded: bytes) -> GrownImage:
    """Keep the crystals of which enough is seen, in the order of their growth."""
    area = np.bincount(grown.owner.ravel(), minlength=len(grown.outlines) + 1)
    kept = np.flatnonzero(area[1:] >= SMALLEST_CRYSTAL_PX)
    number = np.zeros(len(area), np.int32)
    number[kept + 1] = np.arange(1, len(kept) + 1)
    labels = number[grown.owner]
    inside = np.bincount(labels[grown.core], minlength=len(kept) + 1)[1:]
    lateral = len({s[0][0] for s in grown.sheets if s}) > 1
    share = inside / np.maximum(area[kept + 1], 1) if lateral else np.full(len(kept), np.nan)
    return GrownImage(
        micrograph,
        CropMasks.from_labels(labels),
        tuple(grown.outlines[i].shape for i in kept),
        np.array([grown.outlines[i].lattice_deg for i in kept], float),
        _meeting(labels, len(kept)),
        np.asarray(share, float),
        grown.sheets,
        grown.sheet,
        encoded,
    )


def _meeting(labels: _Labels, count: int) -> BoolArray:
    """Which crystals have a pixel beside another crystal's."""
    out = np.zeros(count + 1, bool)
    for a, b in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        meet = (a != b) & (a > 0) & (b > 0)
        out[a[meet]] = out[b[meet]] = True
    return out[1:]


def crystal_set(
    seed: int,
    n_images: int,
    growth: Growth | None = None,
    *,
    cameras: Sequence[str | SynthCamera] = ("ccd_linear",),
    objectives: Sequence[str] = ("50x",),
    substrate: str = "SiO2(285nm)/Si",
    oxide_sd_nm: float = 3.0,
    shape: tuple[int, int] = (720, 1280),
    n_crystals: int = 14,
    clutter: float = 0.4,
    jpeg_quality: int | None = 92,
) -> Iterator[GrownImage]:
    """Micrographs as a growth study gives them; image i does not depend on `n_images`.

    Image i is taken by camera ``i % len(cameras)`` through objective ``i % len(objectives)``.

    Parameters
    ----------
    seed, n_images : int
    growth, substrate, shape, clutter, jpeg_quality
        As in `synth_crystals`; the number of crystals is Poisson around `n_crystals`.
    cameras, objectives : sequence
    oxide_sd_nm : float
        Spread of the true oxide around the nominal one.

    Yields
    ------
    GrownImage
        Named ``grown_0000`` and so on.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    if n_images < 0 or not cameras or not objectives:
        raise InputError(f"{n_images} images, {len(cameras)} cameras: expected 0 and 1 or more")
    for i in range(n_images):
        rng = np.random.default_rng([seed, 11, i])
        yield synth_crystals(
            rng, growth, substrate=substrate, shape=shape,
            n_crystals=int(rng.poisson(n_crystals)), objective=objectives[i % len(objectives)],
            camera=cameras[i % len(cameras)], oxide_error_nm=float(rng.normal(0, oxide_sd_nm)),
            clutter=clutter, jpeg_quality=jpeg_quality, name=f"grown_{i:04d}",
        )  # fmt: skip
