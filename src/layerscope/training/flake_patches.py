"""Patches to learn flakes from: a scene as another camera, crystal and file would show it.

What must not matter is drawn at random: which channel is which, gain and sign of the contrast
(another oxide), tone curve, magnification, focus, noise, JPEG, text over the picture, an error of
the background. What is left are edges and flatness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.training.flake_targets import FloatMaps, targets_of
from layerscope.training.scenes import Scene

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Conditions:
    """How far pictures differ; ranges are low and high, shares are 0 to 1.

    Attributes
    ----------
    zoom : tuple of float
        Magnification of the scene.
    recoloured : float
        Share of patches whose channels are shuffled and mixed, with other gains.
    gain : float
        Largest factor on the contrast of a channel, or one over it.
    turned : float
        Share of those whose contrast changes sign.
    gamma : tuple of float
        Exponent of the tone curve.
    blur_px : float
        Widest defocus, standard deviation.
    noise : tuple of float
        Standard deviation, fraction of white.
    jpeg : float
        Share of patches that go through a JPEG file, quality 40 to 95.
    grey : float
        Share of grey pictures.
    text : float
        Share of patches with text over them.
    lost_background : float
        Share of patches whose background is wrong by about a tenth.
    """

    zoom: tuple[float, float] = (0.5, 2.0)
    recoloured: float = 0.75
    gain: float = 2.0
    turned: float = 0.2
    gamma: tuple[float, float] = (0.6, 1.6)
    blur_px: float = 1.6
    noise: tuple[float, float] = (0.002, 0.03)
    jpeg: float = 0.6
    grey: float = 0.06
    text: float = 0.08
    lost_background: float = 0.15


MILD = Conditions(
    zoom=(0.7, 1.4), recoloured=0.0, gamma=(0.9, 1.1), blur_px=0.8, noise=(0.002, 0.01),
    jpeg=0.3, grey=0.0, text=0.0, lost_background=0.05,
)  # fmt: skip
"""For real pictures, which bring their own camera."""


def draw_patch(
    scene: Scene, rng: np.random.Generator, side_px: int, conditions: Conditions
) -> tuple[FloatMaps, FloatMaps]:
    """One patch, (3, side, side), and its targets, (3, side / 2, side / 2).

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator
    side_px : int
        Even.
    conditions : Conditions
    """
    contrast, terraces, depth, ignored = _crop(scene, rng, side_px, conditions.zoom)
    contrast = _recolour(contrast, rng, conditions)
    level = rng.uniform(0.12, 0.75, 3).astype(np.float32)
    picture = np.clip(level * (1 + contrast), 0, 1)
    picture = _blurred(picture, rng, conditions)
    if rng.random() < conditions.text:
        _write_over(picture, terraces, depth, rng)
    picture = _filed(_noisy(picture, rng, conditions), rng, conditions)
    if rng.random() < conditions.grey:
        picture[:] = picture.mean(axis=2, keepdims=True)
        level[:] = level.mean()
    seen = picture / (level * _background_error(rng, side_px, conditions)) - 1
    targets = targets_of(terraces, depth, ignored)
    return np.ascontiguousarray(seen.transpose(2, 0, 1), np.float32), targets


def draw_batch(
    scenes: Sequence[Scene],
    step: int,
    *,
    seed: int,
    count: int,
    side_px: int,
    conditions: Conditions,
) -> tuple[FloatMaps, FloatMaps]:
    """`count` patches of scenes drawn at random; depends on `seed` and `step` only."""
    rng = np.random.default_rng([seed, 43, step])
    chosen = rng.integers(0, len(scenes), count).tolist()
    pairs = [draw_patch(scenes[i], rng, side_px, conditions) for i in chosen]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def _crop(
    scene: Scene, rng: np.random.Generator, side_px: int, zoom: tuple[float, float]
) -> tuple[FloatImage, npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Square part of the scene, brought to `side_px`, turned and mirrored."""
    height, width = scene.terraces.shape
    factor = float(np.exp(rng.uniform(*np.log(zoom))))
    side = min(max(round(side_px / factor), 16), height, width)
    top, left = _corner(scene.terraces, rng, side)
    where = (slice(top, top + side), slice(left, left + side))
    smooth = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    turn, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def placed(plane: npt.NDArray[Any], interpolation: int) -> npt.NDArray[Any]:
        out = cv2.resize(plane, (side_px, side_px), interpolation=interpolation)
        out = np.rot90(out, turn)
        return np.ascontiguousarray(out[:, ::-1] if mirror else out)

    return (
        placed(scene.contrast[where].astype(np.float32), smooth),
        placed(scene.terraces[where], cv2.INTER_NEAREST),
        placed(scene.depth[where], smooth),
        placed(scene.ignored[where], cv2.INTER_NEAREST),
    )


def _corner(
    terraces: npt.NDArray[np.uint16], rng: np.random.Generator, side: int
) -> tuple[int, int]:
    """Top left of the patch: three of four hold a flake, if there is any."""
    room = np.array(terraces.shape) - side
    corner = rng.integers(0, room + 1)
    coarse = np.argwhere(terraces[::8, ::8] > 0)
    if len(coarse) and rng.random() < 0.75:
        wanted = rng.choice(coarse) * 8 - rng.integers(0, side, 2)
        corner = np.clip(wanted, 0, room)
    return int(corner[0]), int(corner[1])


def _recolour(contrast: FloatImage, rng: np.random.Generator, conditions: Conditions) -> FloatImage:
    """Another crystal on another oxide: channels shuffled and mixed, gains, sign, tone."""
    if rng.random() < conditions.recoloured:
        reach = np.log(conditions.gain)
        gain = np.exp(rng.uniform(-reach, reach) + rng.uniform(-reach, reach, 3) / 2)
        mix = np.eye(3)[rng.permutation(3)] + rng.uniform(-0.2, 0.2, (3, 3))
        if rng.random() < conditions.turned:
            gain = -gain
        matrix = (mix * gain).astype(np.float32)
        contrast = contrast @ matrix
    gamma = np.float32(rng.uniform(*conditions.gamma))
    return np.asarray(np.maximum(1 + contrast, 0.01) ** gamma - 1, np.float32)


def _blurred(picture: FloatImage, rng: np.random.Generator, conditions: Conditions) -> FloatImage:
    if rng.random() < 0.5:
        sigma = float(rng.uniform(0.3, max(conditions.blur_px, 0.31)))
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    if rng.random() < 0.2:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.5)
        picture = picture + np.float32(rng.uniform(0.2, 0.9)) * (picture - soft)
    return np.asarray(picture, np.float32)


def _write_over(
    picture: FloatImage,
    terraces: npt.NDArray[np.uint16],
    depth: npt.NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """Burn in a number with a bar or a ruler, as programs do: no flake."""
    where = rng.integers(10, max(picture.shape[0] - 60, 11), 2).tolist()
    colour = (1.0, 1.0, 1.0) if rng.random() < 0.6 else tuple(rng.random(3).tolist())
    over = np.zeros(picture.shape[:2], np.uint8)
    text = f"{int(rng.integers(1, 200))} um"
    cv2.putText(over, text, where, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.4, 1.1)), 1, 2)
    end = (where[0] + int(rng.integers(20, 120)), where[1] + int(rng.integers(4, 12)))
    if rng.random() < 0.5:
        cv2.rectangle(over, (where[0], where[1] + 3), end, 1, -1)
    else:
        line = rng.integers(0, picture.shape[0], (2, 2)).tolist()
        cv2.line(over, line[0], line[1], 1, int(rng.integers(1, 4)))
    inside = over > 0
    picture[inside] = colour
    terraces[inside] = 0
    depth[inside] = 0


def _noisy(picture: FloatImage, rng: np.random.Generator, conditions: Conditions) -> FloatImage:
    low, high = np.log(conditions.noise)
    strength = np.float32(np.exp(rng.uniform(low, high)))
    noise = rng.standard_normal(picture.shape, np.float32)
    if rng.random() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.7)
        strength *= np.float32(2.0)  # what the blur takes
    return np.asarray(picture + strength * noise * np.sqrt(np.maximum(picture, 0) + 0.1))


def _filed(picture: FloatImage, rng: np.random.Generator, conditions: Conditions) -> FloatImage:
    """Store the picture in 8 bits, perhaps through a JPEG file."""
    stored = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < conditions.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
        stored = cv2.imdecode(cv2.imencode(".jpg", stored, quality)[1], cv2.IMREAD_COLOR)
    return stored.astype(np.float32) / np.float32(255)


def _background_error(rng: np.random.Generator, side_px: int, conditions: Conditions) -> FloatImage:
    """Draw what the fitted background is wrong by: a slope always, sometimes a tenth."""
    lost = rng.random() < conditions.lost_background
    constant = rng.normal(0, 0.1 if lost else 0.004, 3)
    corners = rng.normal(0, 0.006, (2, 2, 1)) + rng.normal(0, 0.002, (2, 2, 3)) + constant
    field = cv2.resize(corners, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.maximum(1 + field, 0.3), np.float32)
