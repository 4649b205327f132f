"""Images through a forest over pixel features, window by window, the same as at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.models.bit_forest import BitForest, suits
from layerscope.models.session import open_session
from layerscope.models.trees import Trees
from layerscope.models.trees_file import INPUT_NAMES, forest_graph
from layerscope.ops.channels import FloatImage
from layerscope.ops.pixel_features import REACH_PX, pixel_features
from layerscope.ops.tiles import plan_tiles

_WINDOW_VALUES = 50_000_000  # features held at once: 200 MB
_SMALLEST_WINDOW_PX = 64
_STEP = 8  # wide features are computed on every eighth pixel: windows start at one


class PixelForest:
    """A forest ready to be asked, in the way that is quickest for its trees.

    Parameters
    ----------
    trees : Trees
    block_px : int, optional
        Pixels that are asked about at once, where there are never more.

    Notes
    -----
    It holds buffers: every thread needs its own.
    """

    def __init__(self, trees: Trees, block_px: int | None = None):
        self.trees = trees
        self._bits = BitForest(trees, block_px) if suits(trees) else None
        self._session: Any = None if self._bits else open_session(forest_graph([trees]))

    def probabilities(self, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Ask about pixels.

        Parameters
        ----------
        planes : ndarray of float32, (F, n)

        Returns
        -------
        ndarray of float32, (n, K)
        """
        if self._bits is not None:
            return self._bits.votes(planes).T * np.float32(1 / len(self.trees))
        rows = np.ascontiguousarray(planes.T)
        answer: npt.NDArray[np.float32] = self._session.run(None, {INPUT_NAMES[0]: rows})[0]
        return answer


def forest_maps(image: FloatImage, stages: Sequence[PixelForest], features: str) -> FloatImage:
    """Probabilities (H, W, K) of a normalised image (H, W, C).

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
    stages : sequence of PixelForest
        The second sees, beside the image, the answers of the first as further channels.
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.
    """
    maps = _one_stage(image, stages[0], features)
    for stage in stages[1:]:
        maps = _one_stage(np.concatenate([image, maps], axis=2), stage, features)
    return maps


def _one_stage(image: FloatImage, forest: PixelForest, features: str) -> FloatImage:
    halo = -(-REACH_PX[features] // _STEP) * _STEP
    side = int((_WINDOW_VALUES / forest.trees.features) ** 0.5) - 2 * halo
    side = max(side // _SMALLEST_WINDOW_PX, 1) * _SMALLEST_WINDOW_PX
    out = np.empty((*image.shape[:2], forest.trees.classes), np.float32)
    for tile in plan_tiles(image.shape[:2], side, halo):
        seen, core = tile.seen, tile.core
        window = np.ascontiguousarray(image[seen.top : seen.bottom, seen.left : seen.right])
        planes = pixel_features(window, features)
        rows = slice(core.top - seen.top, core.bottom - seen.top)
        columns = slice(core.left - seen.left, core.right - seen.left)
        kept = planes[:, rows, columns]
        answer = forest.probabilities(kept.reshape(len(kept), -1))
        out[core.top : core.bottom, core.left : core.right] = answer.reshape(*kept.shape[1:], -1)
    return out
