"""Region colours without images: for calibration benchmarks over many sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.errors import InputError
from layerscope.physics.materials import load
from layerscope.physics.thin_film import Stack, flake_reflectance
from layerscope.synth.camera import WAVELENGTH_NM, SynthCamera, develop, expose, find_camera

THICKEST_LAYERS = 300
"""Thickest bulk piece that is drawn."""


def draw_layers(
    generator: np.random.Generator,
    count: int,
    *,
    max_layers: int = 10,
    ratio: float = 0.75,
    thick_share: float = 0.4,
) -> IntArray:
    """Layer numbers of `count` flakes: geometric up to `max_layers`, log-uniform beyond.

    Parameters
    ----------
    generator : numpy.random.Generator
    count : int
    max_layers : int
        Longest step of the thin part.
    ratio : float
        Occupancy of n + 1 layers over that of n.
    thick_share : float
        Share of flakes with `max_layers` + 1 to `THICKEST_LAYERS` layers.
    """
    if not (max_layers >= 1 and 0 < ratio <= 1 and 0 <= thick_share <= 1):
        raise InputError("expected max_layers >= 1, 0 < ratio <= 1 and 0 <= thick_share <= 1")
    ladder = np.arange(1, max_layers + 1)
    occupancy = ratio ** ladder.astype(float)
    thin = generator.choice(ladder, count, p=occupancy / occupancy.sum())
    span = np.log([max_layers + 1, THICKEST_LAYERS])
    thick = np.exp(generator.uniform(span[0], span[1], count)).astype(np.int64)
    return np.where(generator.random(count) < thick_share, thick, thin).astype(np.int64)


def synth_signals(
    generator: np.random.Generator | int,
    *,
    material: str = "graphene",
    substrate: str = "SiO2(90nm)/Si",
    camera: str | SynthCamera = "ccd_linear",
    n_regions: int = 30,
    layers: Sequence[int] | IntArray | None = None,
    max_layers: int = 8,
    occupancy_ratio: float = 0.75,
    thick_share: float = 0.1,
    oxide_error_nm: float = 0.0,
    na: float = 0.45,
    background_error: float = 0.005,
    channel_error: float = 0.007,
    wrong_share: float = 0.02,
) -> tuple[RegionSignal, IntArray]:
    """Colours of flakes as a finder would measure them, with their true layer numbers.

    Parameters
    ----------
    generator : numpy.random.Generator or int
        Or a seed.
    material, substrate, camera : str
        As in `layerscope.synth.synth_flakes`.
    n_regions : int
        Ignored when `layers` is given.
    layers : sequence of int, optional
        Exact layer numbers instead of drawn ones; 0 is bare substrate.
    max_layers, occupancy_ratio, thick_share
        See `draw_layers`.
    oxide_error_nm : float
        True minus nominal thickness of the stack's tunable film.
    na : float
        Numerical aperture.
    background_error : float
        Standard deviation of the relative error of each local background, common to the channels
        (measured on real micrographs: .001 to .013).
    channel_error : float
        Standard deviation of the relative error of each region's light, per channel; blue twice
        that, as measured.
    wrong_share : float
        Share of regions whose colour was read on a neighbour of another thickness.

    Returns
    -------
    signal : RegionSignal
    n_layers : ndarray of int, (n,)
    """
    rng = np.random.default_rng(generator)
    device = find_camera(camera)
    if layers is None:
        layers = draw_layers(
            rng, n_regions, max_layers=max_layers, ratio=occupancy_ratio, thick_share=thick_share
        )
    truth = np.asarray(layers, np.int64)
    if np.any(truth < 0):
        raise InputError("layer numbers must be zero or positive")
    seen = _misread(rng, truth, wrong_share)
    light, bare = _lights(device, material, substrate, seen, oxide_error_nm, na)
    per_channel = channel_error * np.array([1.0, 1.0, 2.0])
    light = light * (1 + per_channel * rng.standard_normal(light.shape))
    ground = bare * (1 + background_error * rng.standard_normal((len(truth), 1)))
    return _signal(rng, device, light, ground), truth


def _misread(rng: np.random.Generator, truth: IntArray, share: float) -> IntArray:
    step = rng.choice([-2, -1, 1, 2, 3], len(truth), p=[0.1, 0.25, 0.35, 0.2, 0.1])
    wrong = (rng.random(len(truth)) < share) & (truth > 0)
    return np.where(wrong, np.maximum(truth + np.where(truth + step > 0, step, 1), 1), truth)


def _lights(
    camera: SynthCamera,
    material: str,
    substrate: str,
    layers: IntArray,
    oxide_error_nm: float,
    na: float,
) -> tuple[FloatArray, FloatArray]:
    """Light (n, 3) of each layer number, and (3,) of the bare substrate."""
    crystal, stack = load(material), true_stack(substrate, oxide_error_nm)
    steps, which = np.unique(layers, return_inverse=True)
    nm = np.concatenate([[0.0], steps * crystal.require_layer_nm()])
    reflectance = flake_reflectance(crystal, nm, stack, WAVELENGTH_NM, na=na)
    light = expose(camera, reflectance, reflectance[0])
    return light[1:][which], light[0]


def true_stack(substrate: str, oxide_error_nm: float) -> Stack:
    """Stack from its text, its tunable film thicker than nominal by `oxide_error_nm`."""
    stack = Stack.parse(substrate)
    if oxide_error_nm == 0:
        return stack
    if stack.oxide_nm is None:
        raise InputError(f"{stack} has no film that could be {oxide_error_nm:g} nm off")
    return stack.with_oxide(stack.oxide_nm + oxide_error_nm)


def _signal(
    rng: np.random.Generator, camera: SynthCamera, light: FloatArray, ground: FloatArray
) -> RegionSignal:
    n = len(light)
    core_px = np.exp(rng.normal(6.5, 1.0, n)).astype(np.int64) + 30
    level, spread = _levels(camera, light)
    background, background_spread = _levels(camera, ground)
    # Noise is correlated over about six pixels by demosaicing and JPEG.
    level_se = spread / np.sqrt(core_px / 6)[:, None]
    background_se = background_spread / np.sqrt(4000 / 6)
    return RegionSignal(
        level=np.clip(level + level_se * rng.standard_normal(level.shape), 0, 1),
        level_se=level_se,
        background=np.clip(background + background_se * rng.standard_normal((n, 3)), 0, 1),
        background_se=background_se,
        spread=spread,
        core_px=core_px,
        uniformity=rng.uniform(0.85, 1.0, n),
        saturated=(level >= 1 - 1 / camera.white_level).any(axis=1).astype(float),
    )


def _levels(camera: SynthCamera, light: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean level and its pixel noise, at least the rounding error."""
    noise = np.sqrt(np.maximum(light, 0) / camera.full_well_e) * 0.6
    level = develop(camera, light)
    spread = np.abs(develop(camera, light + noise) - develop(camera, light - noise)) / 2
    return level, np.maximum(spread, 0.3 / camera.white_level)
