"""Where an image lies on the microscope's stage, and how its pixels map to micrometres there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import PixelSize
from layerscope.core.results import FloatArray
from layerscope.errors import InputError


@dataclass(frozen=True)
class StagePosition:
    """Stage coordinates of an image's centre.

    Attributes
    ----------
    x_um, y_um : float
    z_um : float or None
        Focus; None when the file has none.
    label : str
        Name of the position in its list, or "".
    """

    x_um: float
    y_um: float
    z_um: float | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.x_um) and np.isfinite(self.y_um)):
            raise InputError(f"stage position {self.label!r}: x and y must be finite numbers")


@dataclass(frozen=True, eq=False)
class StageAffine:
    """How an image lies on the stage: ``stage = position + matrix @ (x - x_c, y - y_c)``.

    ``x, y`` are pixel-edge coordinates (column, row; the image spans 0 to W and 0 to H) and
    ``x_c, y_c`` = W / 2, H / 2.

    Attributes
    ----------
    matrix : ndarray, (2, 2)
        Micrometres on the stage per pixel: scale, rotation, flip and shear in one.
    source : str
        Where it came from: ``"pixel size, axes assumed"``, ``"412 overlaps"`` or ``"told"``.
    rms_um : float or None
        Root mean square residual of the fit; None where nothing was fitted.
    n_pairs : int
        Overlaps that the fit used.
    notes : tuple of str
        What the user should know, one line each.
    """

    matrix: FloatArray
    source: str
    rms_um: float | None = None
    n_pairs: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.matrix.shape != (2, 2) or not abs(np.linalg.det(self.matrix)) > 0:
            raise InputError("a stage affine is an invertible 2 x 2 matrix, um per pixel")

    @classmethod
    def from_pixel_size(cls, size: PixelSize) -> StageAffine:
        """Columns along +x and rows along +y, without rotation: what is assumed when untold."""
        return cls(np.diag([size.x_nm, size.y_nm]) * 1e-3, "pixel size, axes assumed")

    @property
    def pixel_size_um(self) -> float:
        """Side of the square pixel of equal area."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    @property
    def rotation_deg(self) -> float:
        """Direction of the image's rows on the stage, counter-clockwise from +x, -180 to 180."""
        return float(np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def mirrored(self) -> bool:
        """Whether image and stage have opposite handedness."""
        return bool(np.linalg.det(self.matrix) < 0)

    def to_stage_um(
        self, xy_px: npt.ArrayLike, position: StagePosition, shape: tuple[int, int]
    ) -> FloatArray:
        """Stage coordinates (n, 2) of the pixel-edge coordinates `xy_px` (n, 2) of one image."""
        offset = np.atleast_2d(np.asarray(xy_px, float)) - self._centre(shape)
        return np.asarray(offset @ self.matrix.T + (position.x_um, position.y_um))

    def to_pixels(
        self, xy_um: npt.ArrayLike, position: StagePosition, shape: tuple[int, int]
    ) -> FloatArray:
        """Pixel-edge coordinates (n, 2) in one image of the stage coordinates `xy_um` (n, 2)."""
        offset = np.atleast_2d(np.asarray(xy_um, float)) - (position.x_um, position.y_um)
        return np.asarray(np.linalg.solve(self.matrix, offset.T).T + self._centre(shape))

    @staticmethod
    def _centre(shape: tuple[int, int]) -> tuple[float, float]:
        return shape[1] / 2, shape[0] / 2
