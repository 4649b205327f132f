"""A trained model and whole pictures: as the study's code asked them, and as they should be asked.

The study brought the short side to 512 px, mirrored a quarter of a patch around the picture,
filled up with zeros to a multiple of the patch, and cut tiles at half a patch. A regressor's answer
was the mean over all tiles, those of border and filling too; a segmenter kept the middle of each
tile, at a scale at which a patch of 512 px had hardly been seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.examples import IGNORE
from layerscope.core.results import BoolArray
from layerscope.experiments.wse2_arms import PUBLISHED_PX, Trained, scale_of
from layerscope.models.tiling import resized
from layerscope.ops.channels import FloatImage
from layerscope.ops.normalisation import as_unit, normalise
from layerscope.tasks.coverage.learned import tile_mean
from layerscope.training.coverage_patches import scaled_picture

_PUBLISHED_SIDE_PX = 512
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Said:
    """Coverage of a whole picture and, of a segmenter, which pixels (H, W) are film."""

    fraction: float
    film: BoolArray | None = None


def ask_network(trained: Trained, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Numbers (N, 1) or logits (N, 1, H, W) of a normalised batch (N, C, H, W)."""
    import torch

    found = []
    with torch.no_grad():
        for i in range(0, len(batch), _BATCH):
            x = torch.from_numpy(np.ascontiguousarray(batch[i : i + _BATCH]))
            found.append(trained.network(x).numpy())
    return np.concatenate(found)


def ask_whole(trained: Trained, image: npt.NDArray[Any], labels: npt.NDArray[np.uint8]) -> Said:
    """Ask about the labelled pixels of a whole picture, each counted once."""
    model = trained.model
    copy, mask = scaled_picture(image, labels, scale_of(labels.shape, model), model)
    seen = normalise(model.normalisation, as_unit(copy))
    if model.gives == "number":
        mean = tile_mean(lambda tiles: ask_network(trained, tiles), seen, model.size_px)
        return Said(float(mean[mask != IGNORE].mean()))
    rows, columns = mask.shape
    stride = int(trained.network.stride)
    grown = np.pad(seen, ((0, -rows % stride), (0, -columns % stride), (0, 0)), mode="symmetric")
    logits = ask_network(trained, grown.transpose(2, 0, 1)[None])[0, 0, :rows, :columns]
    shape = (labels.shape[0], labels.shape[1])
    film = resized(np.ascontiguousarray(logits)[:, :, None], shape)[:, :, 0] > 0
    return Said(float(film[labels != IGNORE].mean()), film)


def ask_as_published(
    trained: Trained, image: npt.NDArray[Any], labels: npt.NDArray[np.uint8]
) -> Said:
    """Ask about a whole picture as the study's code did."""
    model, patch = trained.model, trained.model.size_px
    size = COVERED_PX[model.gives]
    side = round(patch * _PUBLISHED_SIDE_PX / size)
    copy, _ = scaled_picture(image, labels, side / min(labels.shape), model)
    seen = normalise(model.normalisation, as_unit(copy))
    stride = patch // 2
    canvas = _padded(seen, stride // 2, patch)
    starts = [range(0, n - patch + 1, stride) for n in canvas.shape[:2]]
    tiles = np.stack(
        [
            canvas[y : y + patch, x : x + patch].transpose(2, 0, 1)
            for y in starts[0]
            for x in starts[1]
        ]
    )
    answers = ask_network(trained, tiles)
    if model.gives == "number":
        return Said(float(np.clip(answers[:, 0], 0, 1).mean()))
    film = _stitched(answers[:, 0] > 0, (len(starts[0]), len(starts[1])), copy.shape[:2])
    found = cv2.resize(film, labels.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return Said(float(film.mean()), found)


COVERED_PX = {"number": PUBLISHED_PX, "maps": _PUBLISHED_SIDE_PX}
"""Side of a patch in the study, by what a model gives."""


def _padded(seen: FloatImage, border: int, patch: int) -> FloatImage:
    around = np.pad(seen, ((border, border), (border, border), (0, 0)), mode="reflect")
    rows, columns = around.shape[:2]
    return np.pad(around, ((0, -rows % patch), (0, -columns % patch), (0, 0)))


def _stitched(
    film: BoolArray, grid: tuple[int, int], shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Middles of the tiles, side by side, without the mirrored border."""
    stride = film.shape[1] // 2
    inner = film[:, stride // 2 : stride // 2 + stride, stride // 2 : stride // 2 + stride]
    rows = inner.reshape(*grid, stride, stride).transpose(0, 2, 1, 3)
    whole = rows.reshape(grid[0] * stride, grid[1] * stride)
    return whole[: shape[0], : shape[1]].astype(np.uint8)
