"""Pixel features of one image, computed where they are asked for and kept for the next scribble."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from layerscope.core.results import IntArray
from layerscope.ops.channels import FloatImage
from layerscope.ops.pixel_features import feature_names, pixel_features
from layerscope.ops.tiles import Window

Planes = npt.NDArray[np.float32]

TILE_PX = 256
HALO_PX = {"scales": 64, "wide": 160}
"""Beyond the reach of the features, and a multiple of 32: OpenCV's vector loops then meet every
pixel in the same lane, and a feature has the same bits in whatever rectangle it is computed."""

_MOST_AT_ONCE = 4  # tiles along a side of a rectangle: its halo takes a quarter of the time
_KEPT_BYTES = 400_000_000  # 1,400 x 1,400 px of a grey image


class FeatureCache:
    """Features of the pixels of one image, in tiles.

    Parameters
    ----------
    image : ndarray of float32, (H, W, C)
        Normalised.
    features : str
        One of `ops.pixel_features.FEATURE_SETS`.
    kept_bytes : int
        The tiles that were not asked for longest are forgotten above it.
    """

    def __init__(self, image: FloatImage, features: str, kept_bytes: int = _KEPT_BYTES):
        self._image, self._features = image, features
        self.shape = (image.shape[0], image.shape[1])
        self.count = len(feature_names(image.shape[2], features))
        self._tiles: OrderedDict[tuple[int, int], Planes] = OrderedDict()
        self._most = max(kept_bytes // (4 * self.count * TILE_PX**2), 2 * _MOST_AT_ONCE**2)

    def forget(self) -> None:
        """Keep no tile; features are computed again when they are asked for."""
        self._tiles.clear()

    def tiles(self, window: Window) -> Iterator[tuple[Window, Planes]]:
        """Yield the tiles that a window meets, with their features (F, h, w).

        Parameters
        ----------
        window : Window
            Inside of the image.
        """
        rows = range(window.top // TILE_PX, -(-window.bottom // TILE_PX))
        columns = range(window.left // TILE_PX, -(-window.right // TILE_PX))
        for top in range(rows.start, rows.stop, _MOST_AT_ONCE):
            for left in range(columns.start, columns.stop, _MOST_AT_ONCE):
                some = [
                    (r, c)
                    for r in range(top, min(top + _MOST_AT_ONCE, rows.stop))
                    for c in range(left, min(left + _MOST_AT_ONCE, columns.stop))
                ]
                self._need(some)
                for place in some:
                    yield self._window(place), self._tiles[place]

    def rows(self, index: IntArray) -> Planes:
        """Features (n, F) of the pixels at flat positions."""
        place = index // self.shape[1] // TILE_PX * 10**6 + index % self.shape[1] // TILE_PX
        out = np.empty((len(index), self.count), np.float32)
        wanted = np.unique(place)
        for row in np.unique(wanted // 10**6).tolist():
            here = [(row, int(w % 10**6)) for w in wanted[wanted // 10**6 == row]]
            for first in range(0, len(here), _MOST_AT_ONCE):
                self._need(here[first : first + _MOST_AT_ONCE])
                for tile in here[first : first + _MOST_AT_ONCE]:
                    inside = place == tile[0] * 10**6 + tile[1]
                    y, x = np.divmod(index[inside], self.shape[1])
                    top, left = tile[0] * TILE_PX, tile[1] * TILE_PX
                    out[inside] = self._tiles[tile][:, y - top, x - left].T
        return out

    def _window(self, place: tuple[int, int]) -> Window:
        top, left = place[0] * TILE_PX, place[1] * TILE_PX
        return Window(
            top, left, min(top + TILE_PX, self.shape[0]), min(left + TILE_PX, self.shape[1])
        )

    def _need(self, places: list[tuple[int, int]]) -> None:
        """Have these tiles, computing those that are not known in one rectangle."""
        missing = [p for p in places if p not in self._tiles]
        for place in places:
            if place in self._tiles:
                self._tiles.move_to_end(place)
        if not missing:
            return
        windows = [self._window(p) for p in missing]
        whole = Window(
            min(w.top for w in windows), min(w.left for w in windows),
            max(w.bottom for w in windows), max(w.right for w in windows),
        )  # fmt: skip
        halo = HALO_PX[self._features]
        seen = whole.grown(halo, halo, self.shape)
        part = np.ascontiguousarray(self._image[seen.top : seen.bottom, seen.left : seen.right])
        planes = pixel_features(part, self._features)
        for place, window in zip(missing, windows, strict=True):
            rows = slice(window.top - seen.top, window.bottom - seen.top)
            columns = slice(window.left - seen.left, window.right - seen.left)
            self._tiles[place] = np.ascontiguousarray(planes[:, rows, columns])
        while len(self._tiles) > self._most:
            self._tiles.popitem(last=False)
