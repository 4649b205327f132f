"""Optical micrographs of grown crystals and lateral heterostructures with exact truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from layerscope.synth.crystal_growth import Grown, Growth, Labels, grow
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
    grown = grow(rng, recipe, shape, n_crystals, pixel_nm)
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


def _paint(
    camera: SynthCamera, stack: Stack, grown: Grown, dirt: Clutter, na: float
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


def _with_truth(micrograph: Micrograph, grown: Grown, encoded: bytes) -> GrownImage:
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


def _meeting(labels: Labels, count: int) -> BoolArray:
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
