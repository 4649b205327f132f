"""Synthetic scenes to learn flakes from, rendered once from physics and kept on disk.

A scene is what the network would see of a micrograph without noise: contrast against the bare
substrate, and which terrace each pixel belongs to. Camera noise, blur and JPEG are drawn later
(`training.flake_patches`), so that one scene serves many times.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks
from layerscope.errors import InputError
from layerscope.ops.optical import fit_background
from layerscope.synth.camera import CAMERAS, SynthCamera, find_camera
from layerscope.synth.clutter import Clutter, strew
from layerscope.synth.geometry import LayerMap, cleave_flake
from layerscope.synth.illumination import draw_illumination
from layerscope.synth.optical import photograph_scene
from layerscope.synth.scene import place_flakes
from layerscope.synth.signals import THICKEST_LAYERS, draw_layers
from layerscope.synth.truth import SynthImage
from layerscope.training.flake_targets import depth_of

CRYSTALS = (
    "graphene", "hBN", "MoS2", "MoSe2", "WS2", "WSe2", "NbSe2", "TaS2", "WTe2", "ReS2", "GaSe",
)  # fmt: skip
_OXIDES_NM = (90.0, 285.0, 300.0)
_BRIGHTEST = 12.0
_DIRT, _DIRT_SHARE = (0.3, 1.0, 2.5, 8.0), (0.25, 0.35, 0.25, 0.15)
"""Clutter; 8 is the wreckage beside a pulled tape: hundreds of crumbs on tracks of glue."""
_SAME_LOG_LEVEL = 0.012
_UNSEEN_LOG_LEVEL = 0.008
"""One layer of hBN, the weakest step of the shipped crystals, is 0.02."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One noise-free scene.

    Attributes
    ----------
    contrast : ndarray of float16, (H, W, 3)
        Level over that of the substrate, as the analysis fits it, minus one.
    terraces : ndarray of uint16, (H, W)
        Number of the terrace; 0 is everything else.
    depth : ndarray of uint8, (H, W)
        Distance to the terrace's border over the largest of that terrace, times 255.
    ignored : ndarray of uint8, (H, W)
        1 on crumbs of the crystal: neither flake nor background.
    """

    contrast: npt.NDArray[np.float16]
    terraces: npt.NDArray[np.uint16]
    depth: npt.NDArray[np.uint8]
    ignored: npt.NDArray[np.uint8]


def render_scene(seed: int, index: int, *, side_px: int = 640) -> Scene:
    """Scene `index` of a series: crystal, oxide, camera, light and dirt drawn at random.

    Parameters
    ----------
    seed, index : int
        The same pair gives the same scene.
    side_px : int
        Height and width, at least 64.

    Raises
    ------
    InputError
        If `side_px` is too small.
    """
    if side_px < 64:
        raise InputError(f"scenes of {side_px} px: expected 64 px or more a side")
    rng = np.random.default_rng([seed, 41, index])
    layers, flakes = _draw_flakes(rng, (side_px, side_px))
    dirt = strew(rng, layers, float(rng.choice(_DIRT, p=_DIRT_SHARE)))
    image = _photograph(rng, layers, flakes, dirt)
    ground = np.median(image.micrograph.data[(layers == 0) & (dirt.crumbs == 0)], axis=0)
    background = fit_background(
        image.micrograph, substrate_level=ground / image.micrograph.white_level, binning=1
    )
    bare = np.maximum(background.at((side_px, side_px)) * image.micrograph.white_level, 1)
    contrast = np.clip(image.micrograph.data / bare - 1, -1, _BRIGHTEST).astype(np.float16)
    terraces = _visible(image.masks.labels(), contrast.astype(np.float32))
    lost = (terraces == 0) & ((layers > 0) | (dirt.crumbs > 0))
    depth = depth_of(CropMasks.from_labels(terraces))
    return Scene(contrast, terraces.astype(np.uint16), depth, lost.astype(np.uint8))


def _visible(
    terraces: npt.NDArray[np.int32], contrast: npt.NDArray[np.float32]
) -> npt.NDArray[np.int32]:
    """Join touching terraces that nobody could tell apart, and drop those like the substrate."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(terraces.max()) + 1
    light = np.log(np.maximum(1 + contrast, 0.02)).reshape(-1, 3)
    number = np.maximum(np.bincount(terraces.ravel(), minlength=count), 1)
    colour = [np.bincount(terraces.ravel(), light[:, c], count) / number for c in range(3)]
    level = np.stack(colour, axis=1)
    level[0] = 9.0
    touching = np.concatenate(
        [
            np.stack([a.ravel(), b.ravel()], axis=1)[(a != b).ravel()]
            for a, b in (
                (terraces[1:], terraces[:-1]),
                (terraces[:, 1:], terraces[:, :-1]),
            )
        ]
    )
    pairs = np.unique(touching, axis=0)
    alike = np.abs(level[pairs[:, 0]] - level[pairs[:, 1]]).max(axis=1) < _SAME_LOG_LEVEL
    row, column = pairs[alike].T
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(count, count))
    _, joined = connected_components(graph, directed=False)
    joined = (joined + 1).astype(np.int32)
    joined[np.abs(level).max(axis=1) < _UNSEEN_LOG_LEVEL] = 0
    joined[0] = 0
    _, compact = np.unique(np.append(0, joined), return_inverse=True)
    return np.asarray(compact[1:][terraces], np.int32)


def _draw_flakes(
    rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[LayerMap, npt.NDArray[np.int32]]:
    """Flakes apart from each other, a pile of overlapping ones, or both."""
    share = float(rng.choice([0.1, 0.35, 0.6]))
    numbers = draw_layers(rng, int(rng.poisson(rng.choice([1, 5, 14]))), thick_share=share)
    layers, _ = place_flakes(rng, shape, numbers, 10)
    if rng.random() < 0.45:
        _pile(rng, layers, share)
    _, flakes = cv2.connectedComponents((layers > 0).astype(np.uint8), connectivity=8)
    return layers, flakes.astype(np.int32)


def _pile(rng: np.random.Generator, layers: LayerMap, thick_share: float) -> None:
    """Drop flakes onto each other around one place: where they overlap, layers add."""
    centre = rng.uniform(0.1, 0.9, 2) * layers.shape
    for number in draw_layers(rng, int(rng.integers(2, 9)), thick_share=thick_share).tolist():
        radius = float(np.clip(np.exp(rng.normal(np.log(45), 0.6)), 10, min(layers.shape) / 4))
        flake = cleave_flake(rng, radius, number)
        if not flake.size:
            continue
        top, left = (centre + rng.normal(0, 45, 2) - np.array(flake.shape) / 2).astype(int)
        here = (slice(max(top, 0), max(top + flake.shape[0], 0)),
                slice(max(left, 0), max(left + flake.shape[1], 0)))  # fmt: skip
        seen = layers[here]
        part = flake[max(-top, 0) :, max(-left, 0) :][: seen.shape[0], : seen.shape[1]]
        seen[...] = np.minimum(seen + part, THICKEST_LAYERS)


def _photograph(
    rng: np.random.Generator, layers: LayerMap, flakes: npt.NDArray[np.int32], dirt: Clutter
) -> SynthImage:
    camera = find_camera(str(rng.choice(list(CAMERAS))))
    fine: SynthCamera = replace(camera, bit_depth=16)
    near = float(rng.choice(_OXIDES_NM)) + float(rng.normal(0, 6))
    oxide_nm = near if rng.random() < 0.7 else float(rng.uniform(60, 340))
    return photograph_scene(
        rng, layers, flakes, dirt, draw_illumination(rng),
        material=str(rng.choice(CRYSTALS)), substrate=f"SiO2({oxide_nm:.1f}nm)/Si", camera=fine,
        oxide_error_nm=0.0, pixel_size_nm=float(np.exp(rng.uniform(np.log(120), np.log(500)))),
        na=float(rng.uniform(0.4, 0.9)), noise=False, jpeg_quality=None, name="scene",
    )  # fmt: skip


def open_scenes(
    folder: str | os.PathLike[str],
    count: int,
    *,
    seed: int = 0,
    side_px: int = 640,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Scene, ...]:
    """Scenes of a series from a folder, rendered first where they are missing.

    Parameters
    ----------
    folder : path
        Made if absent; 9 bytes per pixel and scene lie there.
    count : int
        At least 1.
    seed, side_px
        As in `render_scene`.
    progress : callable
        Called with scenes done and scenes in all while rendering.

    Raises
    ------
    InputError
        If `count` is no positive number.
    """
    if count < 1:
        raise InputError(f"{count} scenes: expected 1 or more")
    root = Path(folder) / f"{side_px}px_seed{seed}"
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = root / f"{i:05d}.npz"
        if not path.exists():
            _write(path, render_scene(seed, i, side_px=side_px))
            progress(i + 1, count)
    return tuple(_read(root / f"{i:05d}.npz") for i in range(count))


def _write(path: Path, scene: Scene) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **vars(scene))
    part.replace(path)


def _read(path: Path) -> Scene:
    with np.load(path, allow_pickle=False) as stored:
        return Scene(**{name: stored[name] for name in stored.files})
