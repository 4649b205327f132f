"""What measurements look at: one region, its outline, hull, moments and distance field.

Everything is in the region's own unit of length: pixels when ``spacing`` is (1, 1), micrometres
when it is the pixel's size in micrometres, so that pixels which are not square are exact.
Positions have their origin at the centre of the image's first pixel; x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from layerscope.core.results import Detections, FloatArray
from layerscope.measure.circle import inscribed_circles
from layerscope.measure.hexagon import Hexagon, corner_hull, hexagon_around
from layerscope.measure.hull import feret_diameters
from layerscope.measure.neighbours import nearest_flake_gap
from layerscope.measure.rectangle import InscribedRectangle, inscribed_rectangles
from layerscope.ops.tone import ToneCurve, contrast

Points = npt.NDArray[Any]

_OUTLINE_TOLERANCE_PX = 0.9
_FIELD_PX = 1 << 18


@dataclass(frozen=True)
class Field:
    """Mask of one region on square pixels, with a rim of one background pixel.

    Attributes
    ----------
    distance : ndarray of float32
        Distance of each pixel's centre to the nearest background centre, in field pixels.
    unit : float
        Length of one field pixel. Field index i lies at ``(i - 0.5) * unit`` from the crop's edge.
    """

    distance: npt.NDArray[np.float32]
    unit: float


class Scene:
    """The regions of one image, and what needs all of them at once.

    Parameters
    ----------
    detections : Detections
    spacing : tuple of float
        Height and width of a pixel in the unit of length wanted.
    tone : ToneCurve
    """

    def __init__(self, detections: Detections, spacing: tuple[float, float], tone: ToneCurve):
        self.detections = detections
        self.spacing = spacing
        self.tone = tone
        self.regions = tuple(Region(self, i) for i in range(len(detections)))

    @cached_property
    def contrast(self) -> tuple[FloatArray, FloatArray]:
        """Contrast (n, 3) in linear light and its standard error."""
        return contrast(self.detections.signal, self.tone)

    @cached_property
    def ferets(self) -> FloatArray:
        """Largest and smallest distance (n, 2) between parallel tangents of each region."""
        return feret_diameters([r.hull for r in self.regions])

    @cached_property
    def circles(self) -> FloatArray:
        """Radius, x and y (n, 3) of the largest circle in each region, from its crop's corner."""
        scale = np.array(self.spacing[::-1])
        outlines = [
            [(ring[:, 0] + 0.5) * scale for ring in r.rings[0] + r.rings[1]] for r in self.regions
        ]
        tops = np.array([r.summit for r in self.regions]).reshape(-1, 4)
        return inscribed_circles(outlines, tops[:, :2], tops[:, 2:].max(axis=1), self.spacing)

    @cached_property
    def rectangles(self) -> list[InscribedRectangle]:
        """Largest rectangle inside each region, in field pixels."""
        fields = [r.field.distance for r in self.regions]
        return inscribed_rectangles(fields, [r.hull / r.field.unit for r in self.regions])

    @cached_property
    def nearest_flake(self) -> FloatArray:
        """Edge-to-edge distance (n,) from each region's flake to the nearest other flake."""
        outlines = [
            np.concatenate(r.rings[0] + r.rings[1])[:, 0] + r.origin[::-1] for r in self.regions
        ]
        return nearest_flake_gap(outlines, self.detections.flake_id, self.spacing)


class Region:
    """One region of a `Scene`; each property is computed when first asked for."""

    def __init__(self, scene: Scene, index: int):
        self.scene = scene
        self.index = index
        self.spacing = scene.spacing
        self.origin = scene.detections.masks.boxes[index, :2].astype(float)

    @cached_property
    def crop(self) -> npt.NDArray[np.uint8]:
        """The mask (h, w), 0 or 1."""
        return self.scene.detections.masks.crops[self.index].view(np.uint8)

    @cached_property
    def rings(self) -> tuple[list[Points], list[Points]]:
        """Outer outlines and holes, chains (n, 1, 2) of pixel centres x, y in the crop."""
        # An outline of pixel centres starts half a pixel inside; findContours treats the crop's
        # edge as background, so no rim is needed.
        chains, tree = cv2.findContours(self.crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if tree is None:
            return [], []
        parents = tree.reshape(-1, 4)[:, 3]
        outer = [c for c, parent in zip(chains, parents, strict=True) if parent < 0]
        return outer, [c for c, parent in zip(chains, parents, strict=True) if parent >= 0]

    @cached_property
    def area(self) -> float:
        """Pixels times the area of one."""
        return float(self.scene.detections.masks.area_px[self.index]) * self._pixel

    @cached_property
    def hole_area(self) -> float:
        """Area enclosed by the outline but not part of the region."""
        outer, holes = self.rings
        if not holes:
            return 0.0
        filled = np.zeros_like(self.crop)
        cv2.drawContours(filled, outer, -1, 1, cv2.FILLED)
        return float(np.count_nonzero(filled)) * self._pixel - self.area

    @cached_property
    def perimeter(self) -> float:
        """Length of the outer outlines.

        Digital staircases are straightened to polygons that stay within 0.9 px of the pixel
        centres (Douglas and Peucker, Cartographica 10, 112 (1973)); half a pixel is then added all
        round, which lengthens each closed outline by the circumference of a pixel-wide disc
        (Steiner's formula). Against closed forms: discs and squares at any angle from 20 px on are
        right to 2 %.
        """
        height, width = self.spacing
        scale = np.array([width, height], np.float32)
        total = 0.0
        for chain in self.rings[0]:
            polygon = cv2.approxPolyDP(chain, _OUTLINE_TOLERANCE_PX, True) * scale
            total += cv2.arcLength(polygon.astype(np.float32), True) + np.pi * (height + width) / 2
        return float(total)

    @cached_property
    def hexagon(self) -> Hexagon:
        """Smallest hexagon with angles of 120 degrees around."""
        return hexagon_around(self.hull, self.spacing)

    @cached_property
    def hull(self) -> FloatArray:
        """Convex hull (n, 2) of the pixels' corners, x, y from the crop's corner."""
        outer = self.rings[0]
        if not outer:
            return np.zeros((1, 2))
        return np.asarray(corner_hull(outer) * np.array(self.spacing[::-1]))

    @cached_property
    def hull_area(self) -> float:
        """Area of the convex hull of the pixels' corners."""
        return float(cv2.contourArea(self.hull.astype(np.float32)))

    @cached_property
    def feret(self) -> tuple[float, float]:
        """Largest and smallest distance between parallel tangents."""
        widest, narrowest = self.scene.ferets[self.index].tolist()
        return widest, narrowest

    @cached_property
    def centroid(self) -> tuple[float, float]:
        """y, x of the centre of mass."""
        m = self._moments
        y, x = m["m01"] / m["m00"], m["m10"] / m["m00"]
        (top, left), (height, width) = self.origin, self.spacing
        return float((top + y) * height), float((left + x) * width)

    @cached_property
    def axes(self) -> tuple[float, float, float]:
        """Major and minor axis of the ellipse of equal second moments, and its angle in degrees.

        The angle is counter-clockwise from the image's x axis, in (-90, 90]; each pixel counts as
        a square, not a point (1/12 added), as in Hu, IRE Trans. Inf. Theory 8, 179 (1962).
        """
        m, (height, width) = self._moments, self.spacing
        yy = (m["mu02"] / m["m00"] + 1 / 12) * height**2
        xx = (m["mu20"] / m["m00"] + 1 / 12) * width**2
        xy = m["mu11"] / m["m00"] * height * width
        half, mean = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
        # y points down in the image, so a positive xy means falling to the right.
        angle = 0.5 * np.degrees(np.arctan2(-2 * xy, xx - yy))
        return (
            4 * float(np.sqrt(mean + half)),
            4 * float(np.sqrt(max(mean - half, 0.0))),
            90.0 if angle <= -90 else float(angle),
        )

    @cached_property
    def field(self) -> Field:
        """Distance field, reduced for huge regions but never to fewer than 16 px across."""
        unit = min(self.spacing)
        size = (
            self.crop.shape[1] * self.spacing[1] / unit,
            self.crop.shape[0] * self.spacing[0] / unit,
        )
        wide = 2 * self.area / max(self.perimeter, 1e-12) / unit
        coarse = min(np.ceil(np.sqrt(size[0] * size[1] / _FIELD_PX)), max(wide // 16, 1))
        mask = self.crop
        target = tuple(max(round(s / coarse), 1) for s in size)
        if target != mask.shape[::-1]:
            way = cv2.INTER_AREA if coarse > 1 else cv2.INTER_NEAREST
            # Only pixels wholly inside count, so that a crack stays open at any reduction.
            mask = (cv2.resize(mask * np.uint8(255), target, interpolation=way) == 255).view(
                np.uint8
            )
        rimmed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        # The 5 x 5 mask is within 2 % and three times as fast; the circle is refined afterwards.
        distance = cv2.distanceTransform(rimmed, cv2.DIST_L2, cv2.DIST_MASK_5)
        return Field(distance, unit * coarse)

    @cached_property
    def inscribed_circle(self) -> tuple[float, float, float]:
        """Radius, y and x of the largest circle inside; the image's border counts as an edge."""
        radius, x, y = self.scene.circles[self.index].tolist()
        (top, left), (height, width) = self.origin, self.spacing
        return radius, y + (top - 0.5) * height, x + (left - 0.5) * width

    @cached_property
    def summit(self) -> tuple[float, float, float, float]:
        """Highest point of the field, x, y from the crop's corner, and how far off it may be.

        By a pixel of the field, or by twice the error of its distances.
        """
        unit = self.field.unit
        _, highest, _, (column, row) = cv2.minMaxLoc(self.field.distance)
        return (column - 0.5) * unit, (row - 0.5) * unit, unit, 0.04 * highest * unit

    @cached_property
    def inscribed_rectangle(self) -> InscribedRectangle:
        """Largest rectangle inside, at any angle."""
        found, unit = self.scene.rectangles[self.index], self.field.unit
        radius, y, x = self.inscribed_circle
        # Where cells are too coarse, as in a film full of holes, the circle's square is larger.
        if found.length * found.width * unit**2 < 2 * radius**2:
            return InscribedRectangle(radius * np.sqrt(2), radius * np.sqrt(2), 0.0, y, x)
        (top, left), (height, width) = self.origin, self.spacing
        return InscribedRectangle(
            found.length * unit,
            found.width * unit,
            found.angle_deg,
            found.y * unit + (top - 0.5) * height,
            found.x * unit + (left - 0.5) * width,
        )

    @cached_property
    def _pixel(self) -> float:
        return self.spacing[0] * self.spacing[1]

    @cached_property
    def _moments(self) -> dict[str, float]:
        moments: dict[str, float] = cv2.moments(self.crop, True)
        return moments
