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

TILE_PX, HALO_PX = 64, 16
"""Pixels of the maps that a tile answers for each way, and those it sees around them. Marked
graphene found at IoU 0.5 is 0.81 to 0.86 for all tiles tried, from 64 and 8 to whole pictures."""

_MOST_TILES = 4
"""A window of a few tiles stays in the processor's cache: 51 to 57 ns a pixel on one thread,
against 136 for a whole picture of 1920 x 1200."""

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
    """List the runs of tiles with something in them, `_MOST_TILES` at most each."""
    height, width = busy.shape
    tiles = [-(-n // TILE_PX) for n in (height, width)]
    padded = np.zeros((tiles[0] * TILE_PX, tiles[1] * TILE_PX), bool)
    padded[:height, :width] = busy > 0
    blocks = padded.reshape(tiles[0], TILE_PX, tiles[1], TILE_PX)
    full: npt.NDArray[np.bool_] = blocks.max(axis=(1, 3))
    windows = []
    for row, line in enumerate(full):
        edges = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
        for first, last in edges.reshape(-1, 2).tolist():
            for start in range(first, last, _MOST_TILES):
                bottom = min((row + 1) * TILE_PX, height)
                right = min(min(start + _MOST_TILES, last) * TILE_PX, width)
                windows.append(Window(row * TILE_PX, start * TILE_PX, bottom, right))
    return windows


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
