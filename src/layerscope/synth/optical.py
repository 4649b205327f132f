"""Optical micrographs of exfoliated flakes with exact truth.

Flakes get their colours from the same thin-film physics as the analysis, but through lamps and
cameras that it does not know (`layerscope.synth.camera`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import FloatArray
from layerscope.errors import InputError
from layerscope.physics.materials import Material, load
from layerscope.physics.thin_film import Stack, flake_reflectance
from layerscope.synth.camera import (
    WAVELENGTH_NM,
    FloatImage,
    SynthCamera,
    expose,
    find_camera,
    photograph,
)
from layerscope.synth.clutter import Clutter, strew
from layerscope.synth.geometry import LayerMap
from layerscope.synth.illumination import Illumination, draw_illumination, form_image
from layerscope.synth.photography import as_micrograph, coat, shade_walls, through_jpeg
from layerscope.synth.scene import find_terraces, place_flakes
from layerscope.synth.signals import draw_layers, synth_signals, true_stack
from layerscope.synth.truth import SynthImage, match_truth, write_set

__all__ = [
    "Illumination",
    "SynthImage",
    "draw_illumination",
    "match_truth",
    "synth_flakes",
    "synth_set",
    "synth_signals",
    "write_set",
]


def synth_flakes(
    generator: np.random.Generator | int,
    *,
    material: str = "graphene",
    substrate: str = "SiO2(90nm)/Si",
    shape: tuple[int, int] = (1200, 1920),
    n_flakes: int = 12,
    camera: str | SynthCamera = "ccd_linear",
    max_layers: int = 10,
    thick_share: float = 0.35,
    oxide_error_nm: float = 0.0,
    pixel_size_nm: float = 384.4,
    na: float = 0.45,
    illumination: Illumination | None = None,
    empty: bool = False,
    clutter: float = 1.0,
    noise: bool = True,
    jpeg_quality: int | None = 92,
    name: str = "synthetic",
) -> SynthImage:
    """One synthetic micrograph of exfoliated flakes.

    Parameters
    ----------
    generator : numpy.random.Generator or int
        Or a seed; the same seed gives the same bytes.
    material, substrate : str
        Names as in the `layerscope` command, e.g. ``"hBN"`` and ``"SiO2(285nm)/Si"``.
    shape : tuple of int
        Height and width in px.
    n_flakes : int
        How many are placed; fewer where there is no room.
    camera : str or SynthCamera
        Name in `layerscope.synth.camera.CAMERAS`.
    max_layers : int
        Longest step of thin flakes; thick ones have up to 300 layers.
    thick_share : float
        Share of flakes that are bulk; a third of the others have a bulk part along one side.
    oxide_error_nm : float
        True minus nominal thickness of the stack's tunable film.
    pixel_size_nm, na : float
        Of camera and objective: 384.4 nm and 0.45 for 20x.
    illumination : Illumination, optional
        Default: drawn.
    empty : bool
        No flakes and no crumbs: a bare part of the chip.
    clutter : float
        0 is a clean chip, 1 a usual, 2 a dirty one.
    noise : bool
        False switches shot and read noise off.
    jpeg_quality : int or None
        1 to 100: the pixels went through a JPEG file of that quality; None leaves them lossless.
        Cameras with more than 8 bits are always lossless.
    name : str
        Name of the micrograph.

    Raises
    ------
    InputError
        If a number is out of range; `UnknownName` for an unknown material or camera.
    """
    _check(shape, n_flakes, pixel_size_nm, jpeg_quality)
    rng = np.random.default_rng(generator)
    light = illumination or draw_illumination(rng)
    count = 0 if empty else n_flakes
    numbers = draw_layers(rng, count, max_layers=max_layers, thick_share=thick_share)
    layers, flakes = place_flakes(rng, shape, numbers, max_layers)
    dirt = strew(rng, layers, clutter, max_layers=max_layers, crumbs=not empty)
    return photograph_scene(
        rng, layers, flakes, dirt, light, material=material, substrate=substrate, camera=camera,
        oxide_error_nm=oxide_error_nm, pixel_size_nm=pixel_size_nm, na=na, noise=noise,
        jpeg_quality=jpeg_quality, name=name,
    )  # fmt: skip


def photograph_scene(
    rng: np.random.Generator,
    layers: LayerMap,
    flakes: npt.NDArray[np.int32],
    dirt: Clutter,
    light: Illumination,
    *,
    material: str,
    substrate: str,
    camera: str | SynthCamera,
    oxide_error_nm: float,
    pixel_size_nm: float,
    na: float,
    noise: bool,
    jpeg_quality: int | None,
    name: str,
    shift_px: tuple[float, float] = (0.0, 0.0),
    sensor_dust: FloatImage | None = None,
) -> SynthImage:
    """Take the micrograph of a scene; see `synth_flakes` for what is not listed.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the camera's noise.
    layers, flakes : ndarray of int32, (H, W)
        See `scene.place_flakes`.
    dirt : Clutter
    light : Illumination
    shift_px : tuple of float
        Rows and columns, under one pixel, by which the camera looks further down and right.
    sensor_dust : ndarray of float32, (H, W), optional
        What dust in front of the sensor leaves of the light: the same on each image of a scan.
    """
    device, crystal = find_camera(camera), load(material)
    stack = true_stack(substrate, oxide_error_nm)
    bare, scene = _paint(device, crystal, stack, layers, dirt, na)
    if any(shift_px):
        move = np.array([[1, 0, -shift_px[1]], [0, 1, -shift_px[0]]])
        scene = cv2.warpAffine(scene, move, scene.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    seen = form_image(device, scene, light, pixel_size_nm, na)
    if sensor_dust is not None:
        seen = seen * sensor_dust[..., None]
    data = photograph(device, seen, rng, noise=noise)
    data, encoded = through_jpeg(data, None if device.bit_depth > 8 else jpeg_quality)
    return _with_truth(
        as_micrograph(data, encoded, name, pixel_size_nm, device, stack, material, bare),
        layers, flakes, crystal.require_layer_nm(), (crystal.name, substrate, device.name), encoded,
    )  # fmt: skip


def _check(
    shape: tuple[int, int], n_flakes: int, pixel_size_nm: float, jpeg_quality: int | None
) -> None:
    if min(shape) < 16 or n_flakes < 0 or pixel_size_nm <= 0:
        raise InputError(
            f"shape {shape}, {n_flakes} flakes, {pixel_size_nm} nm per px: expected at least "
            "16 x 16 px, zero or more flakes and a positive pixel size"
        )
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InputError(f"JPEG quality {jpeg_quality}: expected 1 to 100, or None")


def _paint(
    camera: SynthCamera,
    crystal: Material,
    stack: Stack,
    layers: LayerMap,
    dirt: Clutter,
    na: float,
) -> tuple[FloatArray, FloatImage]:
    """Light of the bare substrate (3,) and of the scene (H, W, 3) before the optics."""
    number = np.where(layers > 0, layers, dirt.crumbs)
    steps = np.unique(np.append(number, 0))
    nm = steps * crystal.require_layer_nm()
    reflectance = flake_reflectance(crystal, nm, stack, WAVELENGTH_NM, na=na)
    palette = expose(camera, reflectance, reflectance[0]).astype(np.float32)
    table = np.zeros((int(steps[-1]) + 1, 3), np.float32)
    table[steps] = palette
    scene = table[number]
    scene *= shade_walls(number.astype(np.float32) * np.float32(crystal.require_layer_nm()))
    scene *= dirt.factor[..., None]
    if dirt.polymer_nm.any():
        coat(scene, camera, stack, dirt.polymer_nm, na)
    return palette[0].astype(float), scene


def _with_truth(
    micrograph: Micrograph,
    layers: LayerMap,
    flakes: npt.NDArray[np.int32],
    layer_nm: float,
    setup: tuple[str, str, str],
    encoded: bytes,
) -> SynthImage:
    masks, flake_id, number = find_terraces(layers, flakes)
    material, substrate, camera = setup
    return SynthImage(
        micrograph,
        masks,
        flake_id,
        number,
        np.asarray(number * layer_nm, float),
        material,
        substrate,
        camera,
        encoded,
    )


def synth_set(
    seed: int,
    n_images: int,
    *,
    material: str = "graphene",
    substrate: str = "SiO2(90nm)/Si",
    cameras: Sequence[str | SynthCamera] = ("ccd_linear",),
    oxide_sd_nm: float = 0.0,
    empty_share: float = 0.0,
    shape: tuple[int, int] = (1200, 1920),
    n_flakes: int = 12,
    max_layers: int = 10,
    thick_share: float = 0.35,
    clutter: float = 1.0,
    jpeg_quality: int | None = 92,
) -> Iterator[SynthImage]:
    """Micrographs as one session at the microscope gives them.

    Each entry of `cameras` is a setup with its own illumination and true oxide; image i belongs to
    setup ``i % len(cameras)``. Image i does not depend on `n_images`.

    Parameters
    ----------
    seed : int
    n_images : int
    material, substrate : str
    cameras : sequence of str or SynthCamera
        One for a plain set, several for a folder that mixes setups.
    oxide_sd_nm : float
        Spread of the true oxide around the nominal one, one draw per setup.
    empty_share : float
        Share of images of bare chip.
    shape, n_flakes, max_layers, thick_share, clutter, jpeg_quality
        See `synth_flakes`; the number of flakes per image is Poisson around `n_flakes`.

    Yields
    ------
    SynthImage
        Named ``synthetic_0000`` and so on.
    """
    if n_images < 0 or not cameras:
        raise InputError(
            f"{n_images} images of {len(cameras)} cameras: expected 0 or more of 1 or more"
        )
    setups = []
    for k in range(len(cameras)):
        rng = np.random.default_rng([seed, 1, k])
        setups.append((draw_illumination(rng), float(rng.normal(0, 1)) * oxide_sd_nm))
    for i in range(n_images):
        rng = np.random.default_rng([seed, 2, i])
        illumination, oxide_error_nm = setups[i % len(cameras)]
        yield synth_flakes(
            rng, material=material, substrate=substrate, shape=shape,
            camera=cameras[i % len(cameras)], n_flakes=int(rng.poisson(n_flakes)),
            max_layers=max_layers, thick_share=thick_share,
            oxide_error_nm=oxide_error_nm, illumination=illumination, clutter=clutter,
            empty=bool(rng.random() < empty_share), jpeg_quality=jpeg_quality,
            name=f"synthetic_{i:04d}",
        )  # fmt: skip
