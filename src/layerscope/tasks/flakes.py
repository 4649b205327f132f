"""Flakes of an optical micrograph: every terrace at full resolution, touching ones grouped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import layerscope
from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, CropMasks, Detections, Flag, FloatArray, IntArray
from layerscope.errors import InputError
from layerscope.ops.channels import FloatImage
from layerscope.ops.labels import Labels, core_labels, group_touching
from layerscope.ops.optical import (
    LEVELS,
    Background,
    FlatField,
    background_of,
    binned_levels,
    binning_of,
    usable_pixels,
)
from layerscope.ops.region_features import RegionFeatures, describe
from layerscope.ops.region_masks import crop_masks, full_resolution
from layerscope.ops.region_signal import Light, measure_signal
from layerscope.ops.regions import (
    Terraces,
    Thresholds,
    anything_differs,
    find_terraces,
    keep_labels,
)


@dataclass(frozen=True)
class Rules:
    """When a region is no crystal. Lengths are full-resolution pixels, the rest are ratios.

    Attributes
    ----------
    min_radius_px : float
        Narrower regions are scratches, cracks or rims: below the resolution of the optics. Weak
        ones must be 1.4 times wider: glue leaves faint lines 5 to 7 px wide.
    min_uniformity : float
        Smallest share of the region that has its core's colour; half of it where outline and
        contrast are a crystal's, which is then flagged as mixed.
    min_sharpness : float
        Smallest step at the border, as a fraction of the region's level: a threshold that cuts
        through a halo, a smear or a shadow leaves no step there. Up to 0.3 more is asked of weak
        regions, whose border noise alone makes a step.
    min_compactness : float
        Smallest 16 area / perimeter**2 (1 for a square) of a weak region: glue and solvent leave
        long ragged stains, crystals of little contrast have straight sides.
    rim_radius_px : float
        A region narrower than this, along a stronger one with a colour mixed from it and the
        substrate, is that one's blurred rim.
    doubt : float
        Up to this many times the limits above a region is kept but flagged, with a low score. At
        1.4 the flags, which leave a region out of a run, fell on one marked flake in ten.
    rim_doubt : float
        The same for rims: a strip of mixed colour along a thick flake is hardly ever a crystal.
    """

    min_radius_px: float = 2.5
    min_uniformity: float = 0.45
    min_sharpness: float = 0.3
    min_compactness: float = 0.2
    rim_radius_px: float = 5.0
    doubt: float = 1.1
    rim_doubt: float = 1.12


def find_flakes(
    micrograph: Micrograph,
    *,
    substrate_level: npt.ArrayLike | None = None,
    flat_field: FlatField | None = None,
    min_area_px: int = 200,
    binning: int | None = None,
    rules: Rules | None = None,
) -> tuple[Detections, Background]:
    """Find flakes and the bare substrate that they lie on.

    Parameters
    ----------
    micrograph : Micrograph
        Optical; grey or RGB, any bit depth. `Micrograph.excluded` is left out.
    substrate_level : array_like, (3,), optional
        Level of the bare substrate, fraction of white, RGB, where it is known from other images.
    flat_field : FlatField, optional
        Divides the image; without it the background is fitted to the image itself.
    min_area_px : int
        Smallest region, in full-resolution pixels.
    binning : int, optional
        Regions are found on ``binning x binning`` averages and their borders refined at full
        resolution; by default the largest power of two that leaves half a million pixels.
    rules : Rules, optional

    Returns
    -------
    Detections
        One row per terrace in raster order; touching terraces share `flake_id`. No layers yet.
    Background

    Raises
    ------
    InputError
        If a parameter is out of range.
    """
    if min_area_px < 1 or (binning is not None and binning < 1):
        raise InputError(f"min_area_px and binning must be 1 or more, got {min_area_px}, {binning}")
    rules = rules or Rules()
    b = min(binning or binning_of(micrograph.shape), *micrograph.shape)
    usable = usable_pixels(micrograph, b)
    levels = binned_levels(micrograph, b, flat_field)
    background = background_of(levels, usable, substrate_level)
    bare = background.at(levels.shape[:2])
    bare *= np.float32(LEVELS)
    view = View(levels, bare, background, usable, b, flat_field)
    return find_in_view(micrograph, view, min_area_px, rules), background


@dataclass(frozen=True, eq=False)
class View:
    """A micrograph at the analysis resolution, and the bare substrate it is compared with.

    Attributes
    ----------
    levels : ndarray of uint8 or float32, (h, w, 3)
        Working levels of the image.
    bare : ndarray of float32, (h, w, 3)
        Those of the substrate.
    background : Background
        Of the whole image or, for a window of a mosaic, of the mosaic.
    usable : ndarray of uint8, (h, w), or None
        0 where no region may be.
    binning : int
    flat_field : FlatField or None
    limits : Thresholds or None
        Those of the mosaic; None measures them on `levels`.
    """

    levels: npt.NDArray[np.uint8] | FloatImage
    bare: FloatImage
    background: Background
    usable: npt.NDArray[np.uint8] | None
    binning: int
    flat_field: FlatField | None = None
    limits: Thresholds | None = None


Search = Callable[[View, int], Terraces | None]
"""Finds the terraces of a view of a smallest area, px at its resolution; None: there is none."""


def find_in_view(
    micrograph: Micrograph,
    view: View,
    min_area_px: int,
    rules: Rules,
    search: Search | None = None,
) -> Detections:
    """`find_flakes` once the substrate is known.

    Parameters
    ----------
    micrograph : Micrograph
    view : View
        Of that micrograph.
    min_area_px, rules
        As in `find_flakes`.
    search : Search, optional
        Default: by flatness.
    """
    background, b = view.background, view.binning
    provenance = provenance_of(
        micrograph.sha256, background, b, min_area_px, view.flat_field, rules
    )
    nothing = Detections.empty(micrograph.shape, provenance)
    found = (search or search_by_flatness)(view, max(4, min_area_px // (b * b)))
    if found is None:
        return nothing
    features = describe(found)
    keep, flags, score = _judge(features, found.flat, background.surface_se * LEVELS, rules, b)
    if not keep.any():
        return nothing
    gain = None if view.flat_field is None else view.flat_field.at(view.levels.shape[:2])
    light = Light(micrograph.white_level, gain, view.bare, background.surface_se)
    chosen = _Chosen(flags[keep], score[keep], features.uniformity[keep])
    kept = keep_labels(found, keep)
    return _assemble(micrograph, kept, chosen, light, min_area_px, nothing)


def search_by_flatness(view: View, min_area_px: int) -> Terraces | None:
    """Terraces as connected sets of flat pixels; see `ops.regions.find_terraces`."""
    noise, drift = view.background.noise * LEVELS, view.background.surface_se * LEVELS
    levels, bare, usable = view.levels, view.bare, view.usable
    if view.limits is None and not anything_differs(levels, bare, noise, usable):
        return None
    found = find_terraces(levels, bare, noise, drift, min_area_px, usable, view.limits)
    return found if len(found) else None


@dataclass(frozen=True)
class _Chosen:
    """What was judged of the regions kept."""

    flags: IntArray
    score: FloatArray
    uniformity: FloatArray


def provenance_of(
    sha256: str,
    background: Background,
    binning: int,
    min_area_px: int,
    flat_field: FlatField | None,
    rules: Rules,
) -> dict[str, Any]:
    """Return `Detections.provenance` of a search for flakes; parameters as in `find_flakes`."""
    return {
        "task": "flakes",
        "software": f"layerscope {layerscope.__version__}",
        "input_sha256": sha256,
        "binning": binning,
        "min_area_px": min_area_px,
        "flat_field": flat_field.source if flat_field else "fitted to the image",
        "substrate_level": [round(float(v), 5) for v in background.level],
        "substrate_confident": background.confident,
        **asdict(rules),
    }


def _judge(
    features: RegionFeatures, flat: FloatArray, drift: FloatArray, rules: Rules, binning: int
) -> tuple[BoolArray, IntArray, FloatArray]:
    """Which regions to keep, with which flags and which score."""
    strength = np.abs(features.level / flat).max(axis=1)
    margins = _margins(features, strength, rules, binning)
    worst = np.min(list(margins.values()), axis=0)
    flags = np.zeros(len(worst), np.int64)
    for flag, margin in margins.items():
        doubt = rules.rim_doubt if flag == Flag.EDGE_STRIP else rules.doubt
        flags |= np.where(margin < doubt, int(flag), 0)
    # A region's level cannot be surer than the substrate around it is even.
    sure = np.abs(features.level / np.maximum(drift, 0.25)).max(axis=1)
    flags |= np.where(sure < 6, int(Flag.LOW_CONTRAST), 0)
    flags |= np.where(features.uniformity < 0.75, int(Flag.MIXED_LAYERS), 0)
    flags |= np.where(features.cut, int(Flag.TOUCHES_BORDER), 0)
    score = _ramp(worst, 0.8, 1.6) * _ramp(features.uniformity, 0.2, 0.9) * _ramp(sure, 3, 9)
    score *= 1 - np.exp(-features.area_px * binning * binning / 150)
    return worst >= 1, flags, np.clip(score, 0, 0.99)


def _margins(
    features: RegionFeatures, strength: FloatArray, rules: Rules, binning: int
) -> dict[Flag, FloatArray]:
    """How far inside the rules each region is, per reason to reject it; below 1 breaks one."""
    radius = features.radius_px * binning
    sharp = np.where(np.isnan(features.sharpness), 1.0, features.sharpness)
    steep = features.spread.max(axis=1) > 0.12 * np.abs(features.level).max(axis=1)
    rim = (features.rim_share > 0.3) & (steep | (features.radius_px <= 1.5))
    compactness = 16 * features.area_px / np.maximum(features.edge_px, 1) ** 2
    # Many colours inside a strong and sharp outline are terraces too small to part.
    crystal = (strength > 12) & (sharp > 0.6) & (radius > 2 * rules.min_radius_px)
    even = np.where(crystal, 0.5, 1.0) * rules.min_uniformity
    narrow = rules.min_radius_px * (1 + 0.4 * _ramp(strength, 10, 5))
    residue = np.minimum(radius / narrow, features.uniformity / even)
    weak = strength < 4
    residue = np.where(weak, np.minimum(residue, compactness / rules.min_compactness), residue)
    return {
        Flag.EDGE_STRIP: np.where(rim, radius / rules.rim_radius_px, np.inf),
        Flag.RESIDUE: residue,
        Flag.OUT_OF_FOCUS: sharp / (rules.min_sharpness + 0.3 * _ramp(strength, 4.0, 1.5)),
    }


def _ramp(value: FloatArray, low: float, high: float) -> FloatArray:
    return np.clip((value - low) / (high - low), 0, 1)


def _assemble(
    micrograph: Micrograph,
    found: Terraces,
    chosen: _Chosen,
    light: Light,
    min_area_px: int,
    nothing: Detections,
) -> Detections:
    """Full-resolution masks, signal and flags of the regions kept, in raster order."""
    binning = nothing.provenance["binning"]
    data = three_channels(micrograph.data)
    substrate = light.substrate if light.gain is None else light.substrate * light.gain
    full = full_resolution(found, data, LEVELS / light.white_level, substrate, binning)
    masks, source = crop_masks(full, found.labels, binning)
    signal = measure_signal(
        data,
        _cores(found.labels, len(found), binning),
        len(found),
        light,
        binning,
        chosen.uniformity,
    )
    group = group_touching(found.labels, len(found), max(1, 4 // binning))
    flags = chosen.flags | np.where(signal.saturated > 0.05, int(Flag.SATURATED), 0)
    if not nothing.provenance["substrate_confident"]:
        flags = flags | int(Flag.SUBSTRATE_UNCERTAIN)
    if micrograph.excluded is not None:
        flags = flags | _touching_excluded(masks, source, micrograph.excluded, len(found))
    order = np.array(
        [s for s, m in zip(source, masks.area_px, strict=True) if m >= min_area_px], int
    )
    rows = np.flatnonzero(masks.area_px >= min_area_px)
    return Detections(
        masks=masks.take(rows),
        score=chosen.score[order],
        flags=flags[order],
        flake_id=_numbered(group[order]),
        signal=signal.take(order),
        provenance=nothing.provenance,
    )


def three_channels(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Finite camera values (H, W, 3) of a grey or colour image."""
    if data.dtype not in (np.uint8, np.uint16, np.float32):
        data = data.astype(np.float32)
    if data.dtype.kind == "f":
        data = np.nan_to_num(data, posinf=0, neginf=0)
    return cv2.merge([data] * 3) if data.ndim == 2 else data


def _cores(labels: Labels, count: int, binning: int) -> Labels:
    """Region number 3 or more full-resolution pixels inside it, less in small regions."""
    core = core_labels(labels, max(1, -(-3 // binning)))
    for reach, need_px in ((1, 30), (0, 5)):
        number = np.bincount(np.take(core, np.flatnonzero(core > 0)), minlength=count + 1)
        short = number * binning * binning < need_px
        short[0] = False
        if short.any():
            wider = core_labels(labels, reach) if reach else labels
            where = np.flatnonzero(wider > 0)
            where = where[short[np.take(wider, where)]]
            core.ravel()[where] = np.take(wider, where)
    return core


def _touching_excluded(
    masks: CropMasks, source: IntArray, excluded: BoolArray, count: int
) -> IntArray:
    near = cv2.dilate(excluded.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    out = np.zeros(count, np.int64)
    for index, (where, crop) in zip(source, masks, strict=True):
        if (near[where] & crop).any():
            out[index] = int(Flag.TOUCHES_EXCLUDED)
    return out


def _numbered(group: IntArray) -> IntArray:
    """Renumber groups from 1 in the order in which they first appear."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(1, len(first) + 1)
    return rank[inverse]
