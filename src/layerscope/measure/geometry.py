"""Size and shape of a region. Each function is one column of the table."""

from __future__ import annotations

import numpy as np

from layerscope.measure.declare import measurement
from layerscope.measure.region import Region


@measurement(unit="um", dimension=1, rotation_invariant=False)
def centroid_y(region: Region) -> float:
    """Centre of mass, downwards from the centre of the image's first pixel."""
    return region.centroid[0]


@measurement(unit="um", dimension=1, rotation_invariant=False)
def centroid_x(region: Region) -> float:
    """Centre of mass, to the right from the centre of the image's first pixel."""
    return region.centroid[1]


@measurement(unit="um2", dimension=2)
def area(region: Region) -> float:
    """Area of the region without its holes: number of pixels times the area of one."""
    return region.area


@measurement(unit="um", dimension=1)
def perimeter(region: Region) -> float:
    """Length of the outer outline, staircases of pixels straightened; holes do not count."""
    return region.perimeter


@measurement(unit="um", dimension=1)
def feret_max(region: Region) -> float:
    """Largest extent: the distance between the two corners that are farthest apart."""
    return region.feret[0]


@measurement(unit="um", dimension=1)
def feret_min(region: Region) -> float:
    """Smallest extent: the narrowest gap between parallel jaws that the region passes through."""
    return region.feret[1]


@measurement(unit="deg", dimension=0, rotation_invariant=False)
def orientation(region: Region) -> float:
    """Direction of the long axis, counter-clockwise from the image's x axis, -90 to 90."""
    return region.axes[2]


@measurement(unit="", dimension=0)
def circularity(region: Region) -> float:
    """4 pi area / perimeter^2 with holes filled: 1 for a disc, less for anything else."""
    ratio = 4 * np.pi * (region.area + region.hole_area) / region.perimeter**2
    return float(min(ratio, 1.0))


@measurement(unit="", dimension=0)
def solidity(region: Region) -> float:
    """Area divided by the area of the convex hull: 1 for a convex region without holes."""
    return min(region.area / region.hull_area, 1.0)


@measurement(unit="", dimension=0)
def aspect_ratio(region: Region) -> float:
    """Long axis divided by short axis of the ellipse with the same second moments, from 1 up."""
    major, minor, _ = region.axes
    return major / minor


@measurement(unit="um", dimension=1)
def equivalent_diameter(region: Region) -> float:
    """Diameter of the disc of equal area."""
    return float(np.sqrt(4 * region.area / np.pi))


@measurement(unit="um", dimension=1)
def inscribed_circle_diameter(region: Region) -> float:
    """Diameter of the largest circle that fits inside; the image border counts as an edge."""
    return 2 * region.inscribed_circle[0]


@measurement(unit="um", dimension=1, rotation_invariant=False)
def inscribed_circle_y(region: Region) -> float:
    """Centre of the largest inscribed circle, downwards from the image's first pixel."""
    return region.inscribed_circle[1]


@measurement(unit="um", dimension=1, rotation_invariant=False)
def inscribed_circle_x(region: Region) -> float:
    """Centre of the largest inscribed circle, to the right from the image's first pixel."""
    return region.inscribed_circle[2]


@measurement(unit="um", dimension=1)
def inscribed_rectangle_length(region: Region) -> float:
    """Long side of the largest rectangle that fits inside at any angle: room for a device."""
    return region.inscribed_rectangle.length


@measurement(unit="um", dimension=1)
def inscribed_rectangle_width(region: Region) -> float:
    """Short side of the largest rectangle that fits inside at any angle."""
    return region.inscribed_rectangle.width


@measurement(unit="deg", dimension=0, rotation_invariant=False)
def inscribed_rectangle_angle(region: Region) -> float:
    """Direction of that rectangle's long side, counter-clockwise from x, -90 to 90."""
    return region.inscribed_rectangle.angle_deg


@measurement(unit="um", dimension=1, rotation_invariant=False)
def inscribed_rectangle_y(region: Region) -> float:
    """Centre of the largest inscribed rectangle, downwards from the image's first pixel."""
    return region.inscribed_rectangle.y


@measurement(unit="um", dimension=1, rotation_invariant=False)
def inscribed_rectangle_x(region: Region) -> float:
    """Centre of the largest inscribed rectangle, to the right from the image's first pixel."""
    return region.inscribed_rectangle.x


@measurement(unit="", dimension=0, integer=True)
def hole_count(region: Region) -> float:
    """How many holes the region encloses."""
    return len(region.rings[1])


@measurement(unit="um", dimension=1)
def nearest_flake_distance(region: Region) -> float:
    """Gap from the edge of the region's flake to the edge of the nearest other flake."""
    return float(region.scene.nearest_flake[region.index])
