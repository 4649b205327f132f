"""Maps of a flake network, asked only where there is something to see."""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.models.card import ModelCard
from layerscope.ops.illumination import LEVELS
from layerscope.ops.tiles import Window

Mask = npt.NDArray[np.uint8]
FloatMaps = npt.NDArray[np.float32]

BINNING = 2
"""Full-resolution pixels per pixel of the maps, each way."""

TILE_PX, HALO_PX = 32, 16
"""Pixels of the maps that a tile is wide and high, and that a window sees around its tiles."""

_ROWS, _COLUMNS = 4, 8
"""Most tiles of a window, down and across. With its halo it stays in the processor's cache; larger
windows cost a third more a pixel, smaller ones spend more on halos. On 45 crowded fields windows
with their halos are 1.01 of the field, against 1.24 for rows of four tiles of 64."""

_BRIGHTEST = 12.0


class FlakeModel(Protocol):
    """What is asked of a model: `models.file.Model` is one, so is a network under training."""

    @property
    def card(self) -> ModelCard:
        """What it was trained for."""

    @property
    def sha256(self) -> str:
        """Of its file, empty without one."""

    def logits(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Answer to contrast (N, 3, H, W)."""


def draw_maps(
    model: FlakeModel, data: npt.NDArray[Any], white_level: float, bare: FloatMaps, busy: Mask
) -> FloatMaps:
    """Foreground, boundary and depth of a picture.

    Parameters
    ----------
    model : FlakeModel
        Of the output ``"instances"``.
    data : ndarray, (H, W, 3)
        Camera values.
    white_level : float
    bare : ndarray of float32, (H // 2, W // 2, 3)
        Bare substrate in working levels, 0 to 255.
    busy : ndarray of uint8, (H // 2, W // 2)
        Not 0 where something differs from the substrate: tiles without any are not asked.

    Returns
    -------
    ndarray of float32, (H // 2, W // 2, 3)
        0 to 1; 0 in tiles that hold nothing.
    """
    maps = np.zeros(bare.shape, np.float32)
    for core in busy_windows(busy):
        seen = core.grown(HALO_PX, HALO_PX, busy.shape)
        contrast = _contrast(data, white_level, bare, seen)
        answer = _answer(model, contrast)
        top, left = core.top - seen.top, core.left - seen.left
        maps[core.top : core.bottom, core.left : core.right] = answer[
            top : top + core.bottom - core.top, left : left + core.right - core.left
        ]
    return maps


def busy_windows(busy: Mask) -> list[Window]:
    """Cover the tiles with something in them by windows of a few tiles each."""
    full = _busy_tiles(busy)
    windows = []
    for top in range(0, full.shape[0], _ROWS):
        band = full[top : top + _ROWS]
        edges = np.flatnonzero(np.diff(band.any(axis=0).astype(np.int8), prepend=0, append=0))
        for first, last in edges.reshape(-1, 2).tolist():
            for left in range(first, last, _COLUMNS):
                right = min(left + _COLUMNS, last)
                rows = top + np.flatnonzero(band[:, left:right].any(axis=1))
                windows.append(_window((int(rows[0]), left, int(rows[-1]) + 1, right), busy.shape))
    return windows


def _busy_tiles(busy: Mask) -> npt.NDArray[np.bool_]:
    height, width = busy.shape
    down, across = -(-height // TILE_PX), -(-width // TILE_PX)
    padded = np.zeros((down * TILE_PX, across * TILE_PX), bool)
    padded[:height, :width] = busy > 0
    blocks = padded.reshape(down, TILE_PX, across, TILE_PX)
    full: npt.NDArray[np.bool_] = blocks.max(axis=(1, 3))
    return full


def _window(tiles: tuple[int, int, int, int], shape: tuple[int, int]) -> Window:
    """Pixels of the tiles from top, left to bottom, right, as far as they lie in the maps."""
    top, left, bottom, right = (n * TILE_PX for n in tiles)
    return Window(top, left, min(bottom, shape[0]), min(right, shape[1]))


def _contrast(
    data: npt.NDArray[Any], white_level: float, bare: FloatMaps, seen: Window
) -> FloatMaps:
    """Level over that of the substrate minus one, (h, w, 3), at full resolution."""
    rows = slice(seen.top * BINNING, seen.bottom * BINNING)
    columns = slice(seen.left * BINNING, seen.right * BINNING)
    pixels = data[rows, columns].astype(np.float32)
    ground = bare[seen.top : seen.bottom, seen.left : seen.right]
    ground = cv2.resize(ground, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    pixels /= np.maximum(ground, 1) * np.float32(white_level / LEVELS)
    pixels -= 1
    return np.asarray(np.clip(pixels, -1, _BRIGHTEST, out=pixels))


def _answer(model: FlakeModel, contrast: FloatMaps) -> FloatMaps:
    """Ask about a window (h, w, 3): maps (h // 2, w // 2, 3)."""
    stride = model.card.stride
    height, width = contrast.shape[:2]
    below, right = -height % stride, -width % stride
    if below or right:
        contrast = cv2.copyMakeBorder(contrast, 0, below, 0, right, cv2.BORDER_REPLICATE)
    batch = np.ascontiguousarray(contrast.transpose(2, 0, 1)[None])
    logits = model.logits(batch)[0].transpose(1, 2, 0)
    half = (batch.shape[3] // BINNING, batch.shape[2] // BINNING)
    if logits.shape[:2] != half[::-1]:
        logits = cv2.resize(logits, half, interpolation=cv2.INTER_AREA)
    logits = logits[: height // BINNING, : width // BINNING]
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
