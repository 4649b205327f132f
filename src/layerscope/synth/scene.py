"""Where flakes lie on the chip, and the terraces that are seen of them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks, IntArray
from layerscope.synth.geometry import SMALLEST_TERRACE_PX, LayerMap, cleave_flake
from layerscope.synth.signals import THICKEST_LAYERS

_GAP_PX = 4


def place_flakes(
    rng: np.random.Generator, shape: tuple[int, int], numbers: IntArray, max_layers: int
) -> tuple[LayerMap, npt.NDArray[np.int32]]:
    """Layer number and flake number per pixel; flakes keep apart, borders may cut them.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width of the scene in px.
    numbers : ndarray of int, (n,)
        Layers of the largest part of each flake; there may be room for fewer.
    max_layers : int
        Longest step of thin flakes; a third of them also get a bulk part along one side.

    Returns
    -------
    layers, flakes : ndarray of int32, (H, W)
        0 is bare substrate.
    """
    layers, flakes = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    room = min(shape) / 3.2
    for flake_id, number in enumerate(numbers.tolist(), start=1):
        thin = number <= max_layers
        median_px = 30 if thin else 42
        radius = float(np.clip(np.exp(rng.normal(np.log(median_px), 0.65)), 6, room))
        side = thin and rng.random() < 0.33
        thick = int(np.exp(rng.uniform(np.log(15), np.log(THICKEST_LAYERS)))) if side else 0
        flake = cleave_flake(
            rng,
            radius,
            number,
            max_layers=max_layers,
            thick_layers=max(thick, max_layers + 1) * side,
        )
        if flake.size:
            _place(rng, layers, flakes, flake, flake_id)
    return layers, flakes


def _place(
    rng: np.random.Generator,
    layers: LayerMap,
    flakes: npt.NDArray[np.int32],
    flake: LayerMap,
    flake_id: int,
) -> None:
    """Put a flake where nothing is within 4 px, often beside another; give up after 30 places."""
    height, width = flake.shape
    for _ in range(30):
        top, left = _corner(rng, layers, (height, width))
        wide = (_span(top, height, _GAP_PX), _span(left, width, _GAP_PX))
        if layers[wide].any():
            continue
        here = (_span(top, height), _span(left, width))
        seen = layers[here].shape
        part = flake[max(-top, 0) :, max(-left, 0) :][: seen[0], : seen[1]]
        layers[here] = part
        flakes[here] = np.where(part > 0, flake_id, 0)
        return


def _span(start: int, length: int, margin: int = 0) -> slice:
    return slice(max(start - margin, 0), max(start + length + margin, 0))


def _corner(rng: np.random.Generator, layers: LayerMap, size: tuple[int, int]) -> tuple[int, int]:
    """Top left of a free-standing flake, or in three of ten cases of one in a cluster."""
    height, width = size
    coarse = np.argwhere(layers[::8, ::8] > 0)
    if len(coarse) and rng.random() < 0.3:
        top, left = rng.choice(coarse) * 8
        angle = rng.uniform(0, 2 * np.pi)
        reach = rng.uniform(0.5, 1.5) * (20 + max(size))
        return (
            int(top - height / 2 + reach * np.sin(angle)),
            int(left - width / 2 + reach * np.cos(angle)),
        )
    middle = rng.uniform(0, 1, 2) * layers.shape
    return int(middle[0] - height / 2), int(middle[1] - width / 2)


def find_terraces(
    layers: LayerMap, flakes: npt.NDArray[np.int32]
) -> tuple[CropMasks, IntArray, IntArray]:
    """Find connected regions of one layer number, at least `SMALLEST_TERRACE_PX` large.

    Parameters
    ----------
    layers, flakes : ndarray of int32, (H, W)
        See `place_flakes`.

    Returns
    -------
    masks : CropMasks
    flake_id, n_layers : ndarray of int, (n,)
        1-based flake number, and layers, per mask.
    """
    boxes, crops, flake_id, number = [], [], [], []
    whole = CropMasks.from_labels(flakes)
    for (where, crop), box in zip(whole, whole.boxes, strict=True):
        inside = np.where(crop, layers[where], 0)
        for value in np.unique(inside[inside > 0]):
            _, label, stats, _ = cv2.connectedComponentsWithStats(
                (inside == value).astype(np.uint8), connectivity=4
            )
            for k in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= SMALLEST_TERRACE_PX):
                if k == 0:
                    continue
                x, y, width, height, _ = (int(v) for v in stats[k])
                boxes.append((box[0] + y, box[1] + x, box[0] + y + height, box[1] + x + width))
                crops.append(label[y : y + height, x : x + width] == k)
                flake_id.append(int(flakes[where][crop][0]))
                number.append(int(value))
    masks = CropMasks(np.array(boxes, np.int64).reshape(-1, 4), tuple(crops), whole.shape)
    return masks, np.array(flake_id, np.int64), np.array(number, np.int64)
