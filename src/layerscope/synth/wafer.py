"""A scan of one large synthetic chip: overlapping images with stage positions, and the truth.

The camera is turned and mirrored against the stage, the stage misses its targets, the light is
uneven and dust in front of the sensor stays in place from image to image.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import CropMasks, FloatArray, IntArray
from layerscope.core.stage import StageAffine, StagePosition
from layerscope.errors import InputError
from layerscope.io.atomic import write_bytes
from layerscope.synth.camera import FloatImage
from layerscope.synth.clutter import Clutter, strew
from layerscope.synth.geometry import LayerMap
from layerscope.synth.illumination import Illumination
from layerscope.synth.optical import photograph_scene
from layerscope.synth.scene import find_terraces, place_flakes
from layerscope.synth.signals import draw_layers
from layerscope.synth.truth import SynthImage

POSITION_COLUMNS = ("image", "x_um", "y_um")
SITE_TRUTH_COLUMNS = (
    "region_id", "flake_id", "n_layers", "area_um2", "stage_x_um", "stage_y_um", "complete",
)  # fmt: skip
_ORIGIN_UM = (12000.0, -3400.0)
_MARGIN_PX = 24


@dataclass(frozen=True)
class Raster:
    """Where the images of a scan lie.

    Attributes
    ----------
    grid : tuple of int
        Rows and columns of images.
    shape : tuple of int
        Height and width of an image in px.
    overlap : float
        Share of an image that its neighbour repeats; 0 abuts, negative leaves gaps.
    pixel_size_nm : float
    rotation_deg : float
        Of the camera on the stage, counter-clockwise.
    flip : bool
        Whether stage y runs against the image's rows.
    misaligned_deg : float
        Angle between the rows of the scan and the rows of the camera.
    error_um : float
        Standard deviation of where the stage stops, per axis.
    """

    grid: tuple[int, int] = (3, 4)
    shape: tuple[int, int] = (480, 640)
    overlap: float = 0.1
    pixel_size_nm: float = 384.4
    rotation_deg: float = 0.0
    flip: bool = False
    misaligned_deg: float = 0.0
    error_um: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a scan without images or without progress."""
        if min(self.grid) < 1 or min(self.shape) < 64 or not -0.5 <= self.overlap <= 0.8:
            raise InputError(
                f"{self.grid} images of {self.shape} px, overlap {self.overlap}: expected 1 or "
                "more of 64 px or more a side, overlap -0.5 to 0.8"
            )
        if self.pixel_size_nm <= 0 or self.error_um < 0:
            raise InputError("expected a positive pixel size and a stage error of 0 or more")

    @property
    def affine(self) -> StageAffine:
        """The true one."""
        turn = np.deg2rad(self.rotation_deg)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        mirror = np.diag([1.0, -1.0 if self.flip else 1.0])
        return StageAffine(rotation @ mirror * self.pixel_size_nm * 1e-3, "synthetic")

    def centres_px(self) -> FloatArray:
        """Where the images were meant to be: centres (n, 2) x, y in camera pixels, as a snake."""
        rows, columns = self.grid
        pitch = np.array([self.shape[1], self.shape[0]]) * (1 - self.overlap)
        steps = [
            (c if r % 2 == 0 else columns - 1 - c, r) for r in range(rows) for c in range(columns)
        ]
        turn = np.deg2rad(self.misaligned_deg)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.asarray((np.array(steps, float) * pitch) @ rotation.T)


@dataclass(frozen=True, eq=False)
class SynthScan:
    """A chip, and the images that a scan took of it; each is rendered when asked for.

    Attributes
    ----------
    raster : Raster
    seed : int
    names : tuple of str
    positions : tuple of StagePosition
        What the stage reported.
    corners_px : ndarray, (n, 2)
        Rows, columns on the chip of each image's true corner; not whole numbers.
    layers, flakes : ndarray of int32
        The chip, in camera pixels; see `scene.place_flakes`.
    dirt : Clutter
    light : Illumination
    sensor_dust : ndarray of float32, (H, W)
    material, substrate, camera : str
    """

    raster: Raster
    seed: int
    names: tuple[str, ...]
    positions: tuple[StagePosition, ...]
    corners_px: FloatArray
    layers: LayerMap
    flakes: npt.NDArray[np.int32]
    dirt: Clutter
    light: Illumination
    sensor_dust: FloatImage
    material: str
    substrate: str
    camera: str

    def __len__(self) -> int:
        return len(self.names)

    def image(self, i: int) -> SynthImage:
        """Render image `i`; its masks are true to half a pixel."""
        rng = np.random.default_rng([self.seed, 2, i])
        where = self._field(i)
        dirt = Clutter(
            self.dirt.crumbs[where], self.dirt.polymer_nm[where], self.dirt.factor[where]
        )
        down, right = self.corners_px[i] - np.round(self.corners_px[i])
        return photograph_scene(
            rng, self.layers[where], self.flakes[where], dirt, self.light,
            material=self.material, substrate=self.substrate, camera=self.camera,
            oxide_error_nm=0.0, pixel_size_nm=self.raster.pixel_size_nm, na=0.45, noise=True,
            jpeg_quality=92, name=self.names[i], shift_px=(float(down), float(right)),
            sensor_dust=self.sensor_dust,
        )  # fmt: skip

    def regions(self, i: int) -> tuple[CropMasks, IntArray, IntArray]:
        """Give true masks, flake numbers and layer numbers on image `i`; renders nothing."""
        where = self._field(i)
        return find_terraces(self.layers[where], self.flakes[where])

    @cached_property
    def scanned(self) -> npt.NDArray[np.bool_]:
        """Which pixels of the chip some image shows; gaps where images should abut are filled."""
        seen = np.zeros(self.layers.shape, np.uint8)
        for i in range(len(self)):
            seen[self._field(i)] = 1
        error_px = self.raster.error_um * 1e3 / self.raster.pixel_size_nm
        if 0 <= self.raster.overlap * min(self.raster.shape) < 8 * error_px:
            width = 2 * int(np.ceil(4 * error_px)) + 3
            seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
        return seen.astype(bool)

    @cached_property
    def truth(self) -> tuple[CropMasks, IntArray, IntArray]:
        """Regions of the scanned part of the chip: masks, flake numbers and layer numbers."""
        return find_terraces(
            np.where(self.scanned, self.layers, 0), np.where(self.scanned, self.flakes, 0)
        )

    @cached_property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Whether the scan shows each region of `truth` whole."""
        masks = self.truth[0]
        rest = ~np.pad(self.scanned, 1)
        whole = []
        for (rows, columns), crop in masks:
            around = rest[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
            near = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
            whole.append(not bool((near & crop).any()))
        return np.array(whole, bool)

    def stage_um(self, xy_px: FloatArray) -> FloatArray:
        """Stage coordinates (n, 2) of points x, y of the chip in camera pixels."""
        offset = np.asarray(xy_px) - self._origin_px
        return np.asarray(offset @ self.raster.affine.matrix.T + _ORIGIN_UM)

    @property
    def _origin_px(self) -> FloatArray:
        """Where the scan begins on the chip: the first image's target."""
        reported = np.array([(p.x_um, p.y_um) for p in self.positions]) - _ORIGIN_UM
        meant = np.linalg.solve(self.raster.affine.matrix, reported.T).T
        centres = self.corners_px[:, ::-1] + np.array(self.raster.shape[::-1]) / 2
        return np.asarray((centres - meant).mean(axis=0))

    def _field(self, i: int) -> tuple[slice, slice]:
        top, left = (int(v) for v in np.round(self.corners_px[i]))
        height, width = self.raster.shape
        return slice(top, top + height), slice(left, left + width)


def synth_scan(
    seed: int,
    raster: Raster | None = None,
    *,
    n_flakes: int | None = None,
    material: str = "graphene",
    substrate: str = "SiO2(90nm)/Si",
    camera: str = "ccd_linear",
    max_layers: int = 10,
    thick_share: float = 0.3,
    clutter: float = 0.5,
    vignetting: float = 0.04,
) -> SynthScan:
    """Draw a chip and scan it.

    Parameters
    ----------
    seed : int
    raster : Raster, optional
    n_flakes : int, optional
        On the whole chip; default about 10 per 480 x 640 px.
    material, substrate, camera, max_layers, thick_share, clutter
        See `synth_flakes`.
    vignetting : float
        Loss of light at the corners of each image.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    raster = raster or Raster()
    rng = np.random.default_rng([seed, 1])
    corners, shape = _lay_out(rng, raster)
    count = round(shape[0] * shape[1] / 30000) if n_flakes is None else n_flakes
    numbers = draw_layers(rng, count, max_layers=max_layers, thick_share=thick_share)
    layers, flakes = place_flakes(rng, shape, numbers, max_layers)
    dirt = strew(rng, layers, clutter, max_layers=max_layers)
    blank = np.zeros(raster.shape, np.int32)
    dust = strew(rng, blank, 1.0, crumbs=False).factor
    tilt = rng.normal(0, 0.008, 2)
    light = Illumination(vignetting, tilt=((float(tilt[0]), float(tilt[1])),) * 3, defocus_px=0.4)
    places = raster.centres_px() @ raster.affine.matrix.T + _ORIGIN_UM
    positions = tuple(StagePosition(float(x), float(y)) for x, y in np.round(places, 3))
    names = tuple(f"field_{i:04d}" for i in range(len(positions)))
    return SynthScan(
        raster, seed, names, positions, corners, layers, flakes, dirt, light, dust,
        material, substrate, camera,
    )  # fmt: skip


def _lay_out(rng: np.random.Generator, raster: Raster) -> tuple[FloatArray, tuple[int, int]]:
    """Corners (n, 2) row, column of the images on the chip, and the chip's shape."""
    error_px = raster.error_um * 1e3 / raster.pixel_size_nm
    centres = raster.centres_px()
    centres = centres + rng.normal(0, 1, centres.shape) * error_px
    corners = centres[:, ::-1] - np.array(raster.shape) / 2
    corners = corners - corners.min(axis=0) + _MARGIN_PX
    height, width = np.ceil(corners.max(axis=0)).astype(int) + raster.shape + _MARGIN_PX
    return corners, (int(height), int(width))


def write_scan(scan: SynthScan, directory: str | os.PathLike[str]) -> list[Path]:
    """Write the images, ``positions.csv`` (what the stage said) and ``sites_truth.csv``.

    Returns
    -------
    list of Path
        The image files, in the order of the scan.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, name in enumerate(scan.names):
        path = root / f"{name}.jpg"
        write_bytes(path, scan.image(i).encoded)
        paths.append(path)
    places = [(p.name, s.x_um, s.y_um) for p, s in zip(paths, scan.positions, strict=True)]
    _write_table(root / "positions.csv", [POSITION_COLUMNS, *places])
    _write_table(root / "sites_truth.csv", [SITE_TRUTH_COLUMNS, *_truth_rows(scan)])
    return paths


def _truth_rows(scan: SynthScan) -> list[tuple[object, ...]]:
    masks, flake_id, number = scan.truth
    centres = np.array(
        [np.argwhere(c).mean(axis=0) + (w[0].start, w[1].start) + 0.5 for w, c in masks]
    ).reshape(-1, 2)
    places = np.round(scan.stage_um(centres[:, ::-1]), 2).tolist()
    area_um2 = np.round(masks.area_px * (scan.raster.pixel_size_nm * 1e-3) ** 2, 3).tolist()
    whole = scan.complete.tolist()
    return [
        (i + 1, int(flake_id[i]), int(number[i]), area_um2[i], *places[i], whole[i])
        for i in range(len(masks))
    ]


def _write_table(path: Path, rows: list[tuple[object, ...]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_bytes(path, table.getvalue().encode())
