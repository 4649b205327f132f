"""Where the images of a scan lie on its map, and their outlines as few large paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.report.scan_facts import Scan

_MM = 2000.0  # maps wider than 2 mm are drawn in mm


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the fields are drawn.

    Attributes
    ----------
    corners : ndarray, (n, 4, 2)
        Corners of each image in drawn units, NaN where it has no place.
    centres : ndarray, (n, 2)
    factor : float
        Drawn units per micrometre; 0 for a grid without positions.
    unit : str
        ``mm``, ``µm`` or "".
    flips : tuple of bool
        Whether the x and the y axis run backwards, so that the map looks as the images do.
    assumed : str
        What had to be assumed for it, in a sentence, or "".
    """

    corners: FloatArray
    centres: FloatArray
    factor: float
    unit: str
    flips: tuple[bool, bool]
    assumed: str

    @classmethod
    def of(cls, scan: Scan) -> Frame:
        """Stage coordinates where there are any, else a grid of images in their order."""
        return cls._on_stage(scan) if scan.placed else cls._grid(len(scan.images))

    @classmethod
    def _on_stage(cls, scan: Scan) -> Frame:
        turn = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
        matrix, half, assumed = np.eye(2), scan.half_px, ""
        if scan.affine is None or not np.isfinite(half).all():
            half = np.full((len(scan.images), 2), 0.45 * _pitch(scan.positions))
            assumed = "The size of the fields is unknown; they are drawn as large as their spacing."
        else:
            matrix = scan.affine.matrix
        offset = (half[:, None, :] * turn) @ matrix.T
        span = np.nanmax(scan.positions, axis=0) - np.nanmin(scan.positions, axis=0)
        wide = float(max(span.max(), np.abs(offset).max()))
        factor, unit = (1e-3, "mm") if wide > _MM else (1.0, "µm")
        centres = scan.positions * factor
        corners = centres[:, None, :] + offset * factor
        return cls(corners, centres, factor, unit, _flips(matrix), assumed)

    @classmethod
    def _grid(cls, n: int) -> Frame:
        columns = max(1, int(np.ceil(np.sqrt(1.6 * n))))
        centres = np.column_stack([np.arange(n) % columns, np.arange(n) // columns]).astype(float)
        turn = 0.46 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
        assumed = (
            "The images have no stage position: they are laid out in the order of their names, "
            "row by row, and the picture says nothing about where they lie."
        )
        return cls(centres[:, None] + turn, centres, 0.0, "", (False, True), assumed)

    @property
    def placed(self) -> BoolArray:
        """Which images have a place (n,)."""
        return np.asarray(np.isfinite(self.corners).all(axis=(1, 2)), bool)

    @property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends (2,) of what is drawn, with a margin."""
        flat = self.corners[self.placed].reshape(-1, 2)
        if not len(flat):
            return np.zeros(2), np.ones(2)
        low, high = flat.min(axis=0), flat.max(axis=0)
        room = 0.03 * float((high - low).max())
        return low - room, high + room


def _pitch(positions: FloatArray) -> float:
    """Median distance to the nearest other place; 100 where there is one place only."""
    from scipy.spatial import cKDTree

    located = np.asarray(np.isfinite(positions).all(axis=1), bool)
    known = np.unique(positions[located], axis=0)
    if len(known) < 2:
        return 100.0
    return float(np.median(cKDTree(known).query(known, k=2)[0][:, 1]))


def _flips(matrix: FloatArray) -> tuple[bool, bool]:
    """Stage axes whose direction must be turned for the map to look as through the eyepiece."""
    if abs(matrix[0, 0]) < abs(matrix[0, 1]):  # the camera is turned by about 90 degrees
        return False, False
    return bool(matrix[0, 0] < 0), bool(matrix[1, 1] > 0)


def compound(corners: FloatArray) -> Any:
    """One path of many closed polygons (n, k, 2): a file of one path is small and quick to draw."""
    from matplotlib.path import Path

    n, k, _ = corners.shape
    vertices = np.concatenate([corners, corners[:, :1]], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, *[Path.LINETO] * (k - 1), Path.CLOSEPOLY], n)
    return Path(vertices, codes)


def hatching(corners: FloatArray, lines: int = 2) -> Any:
    """Parallel diagonals in each tile (n, 4, 2) as one path, `lines` on each side of the middle."""
    from matplotlib.path import Path

    a, b, c, d = (corners[:, i] for i in range(4))
    ends = []
    for s in np.linspace(0, 1, lines, endpoint=False):
        ends += [(a + s * (b - a), b + (1 - s) * (c - b)), (a + s * (d - a), d + (1 - s) * (c - d))]
    vertices = np.concatenate([np.stack(pair, axis=1).reshape(-1, 2) for pair in ends])
    return Path(vertices, np.tile([Path.MOVETO, Path.LINETO], len(vertices) // 2))
