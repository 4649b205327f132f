"""Colour of a region against its substrate. Each function is one column of the table."""

from __future__ import annotations

from layerscope.measure.declare import measurement
from layerscope.measure.region import Region


@measurement(unit="", dimension=0, needs=("signal",))
def uniformity(region: Region) -> float:
    """Share of the region that has the colour of its core, 0 to 1."""
    return float(region.scene.detections.signal.uniformity[region.index])


@measurement(unit="", dimension=0, needs=("mask", "signal"))
def cleanliness(region: Region) -> float:
    """Share of the outlined area that is flake of the core's colour: not hole, fold or residue."""
    filled = region.area + region.hole_area
    return float(region.scene.detections.signal.uniformity[region.index]) * region.area / filled


@measurement(unit="", dimension=0, needs=("signal",))
def saturated_share(region: Region) -> float:
    """Share of the region's pixels at the camera's limit in any channel, 0 to 1."""
    return float(region.scene.detections.signal.saturated[region.index])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_r(region: Region) -> float:
    """Contrast I / I_substrate - 1 of the red channel, in linear light."""
    return float(region.scene.contrast[0][region.index, 0])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_g(region: Region) -> float:
    """Contrast I / I_substrate - 1 of the green channel, in linear light."""
    return float(region.scene.contrast[0][region.index, 1])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_b(region: Region) -> float:
    """Contrast I / I_substrate - 1 of the blue channel, in linear light."""
    return float(region.scene.contrast[0][region.index, 2])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_r_se(region: Region) -> float:
    """Combine flake and substrate noise: standard error of the red contrast."""
    return float(region.scene.contrast[1][region.index, 0])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_g_se(region: Region) -> float:
    """Combine flake and substrate noise: standard error of the green contrast."""
    return float(region.scene.contrast[1][region.index, 1])


@measurement(unit="", dimension=0, needs=("signal",))
def contrast_b_se(region: Region) -> float:
    """Combine flake and substrate noise: standard error of the blue contrast."""
    return float(region.scene.contrast[1][region.index, 2])
