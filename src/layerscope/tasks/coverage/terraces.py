"""Coverage and layer steps of a levelled height map.

The levels of the film come from the steps across its rims, not from the histogram, so that neither
what levelling left behind nor the substrate's own steps become layers. See `ops.terrace_steps`.
"""

from __future__ import annotations

import cv2
import numpy as np

from layerscope.core.coverage import Coverage, LabelMap, Terrace
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.ops.terrace_steps import StepHeights, Values
from layerscope.tasks.coverage.field import Field
from layerscope.tasks.coverage.ladder import Ladder, LayerRule, find_ladder
from layerscope.tasks.coverage.request import Request

LEAST_LAYER_NM = 0.28
"""Least step taken for a layer where none is told: sapphire's own is 0.22, graphene's 0.34."""
TIP_RADIUS_NM = 10.0
"""Of a usual probe; it widens each crystal by sqrt(radius * height) at half height."""
_LEAST_OF_LAYER = 0.55
_Z95 = 1.96


def find_terraces(field: Field, request: Request) -> Coverage:
    """Coverage, levels and step heights of levelled heights.

    Steps of less than about half of ``request.layer_nm`` are no layers; without a pixel size the
    widening by the tip is not in the interval.

    Raises
    ------
    InputError
        If the values are no heights.
    """
    if not field.is_height:
        raise InputError("terraces need heights in nm; this is a picture: use edges or threshold")
    layer_nm = request.layer_nm
    least = LEAST_LAYER_NM if layer_nm is None else _LEAST_OF_LAYER * layer_nm
    heights = _calm(field, least)
    ladder = find_ladder(heights, field.valid, LayerRule(layer_nm, least, request.max_layers))
    if ladder is None:
        return _nothing(field, least)
    return _answer(field, ladder, request)


def _calm(field: Field, least_nm: float) -> Values:
    """Heights with the noise well below a layer, finite everywhere, rims where they were."""
    typical = np.float32(np.median(field.values[field.valid]))
    heights = np.where(field.valid, field.values, typical).astype(np.float32)
    bend = heights[:, 2:] - 2 * heights[:, 1:-1] + heights[:, :-2]
    noise = 1.4826 * float(np.median(np.abs(bend))) / np.sqrt(6)
    calm = cv2.medianBlur(heights, 3 if noise < _QUIET * least_nm else 5)
    return cv2.GaussianBlur(calm, (0, 0), 1.0) if noise > _LOUD * least_nm else calm


_QUIET = 0.1
_LOUD = 0.4


def _answer(field: Field, ladder: Ladder, request: Request) -> Coverage:
    layer_nm = request.layer_nm
    numbers, doubts = _layer_numbers(ladder.above_nm, layer_nm)
    valid = field.valid & (ladder.relative < _too_high(ladder.above_nm))
    names = ("substrate", *(f"{k} layer{'s' if k > 1 else ''}" for k in numbers[1:]))
    film = LabelMap(ladder.level, names, valid)
    shares = film.fractions()
    fraction = float(1 - shares[0])
    low, high = _interval(ladder, valid, fraction, request.pixel_size)
    step = _layer_step(ladder.steps, numbers, layer_nm)
    if not np.isfinite(step[0]):
        doubts += ("no step could be measured: the rims are too short",)
    if ladder.weak_rim > _WEAK:
        doubts += (
            f"{ladder.weak_rim:.0%} of the rims have no step across them: what levelling left may "
            "be taken for film; compare the mask with the scan, or level it otherwise",
        )
    if high - low > _WIDE:
        doubts += (f"the interval is {high - low:.2f} wide: noise reaches half a layer",)
    return Coverage(
        fraction,
        low,
        high,
        "terraces",
        film,
        terraces=_terraces(ladder, numbers, shares),
        step_nm=step[0],
        step_low_nm=step[1],
        step_high_nm=step[2],
        doubts=doubts,
        provenance={
            "layer_nm": layer_nm,
            "rim_px": ladder.steps.rim_px.tolist(),
            "rim_without_step": ladder.weak_rim,
        },
    )


_WIDE = 0.15
_WEAK = 0.08


def _too_high(above_nm: FloatArray) -> float:
    """Height over which a pixel is dust, whose ground nobody knows: counted in nothing."""
    return float(above_nm[-1] + 1.5 * np.diff(above_nm).max())


def _layer_numbers(
    above_nm: FloatArray, layer_nm: float | None
) -> tuple[list[int], tuple[str, ...]]:
    """Count the layers of each level: a rim of two layers at once is counted as two."""
    steps: list[float] = np.diff(above_nm).tolist()
    unit = layer_nm or min(steps)
    numbers = [0]
    for k, step in enumerate(steps):
        offset = _FIRST_OFFSET * unit if k == 0 else 0.0
        numbers.append(numbers[-1] + max(1, round((step - offset) / unit)))
    doubts: tuple[str, ...] = ()
    if layer_nm is not None and above_nm[1] > (1.5 + _FIRST_OFFSET) * layer_nm:
        doubts = (
            f"the lowest level stands {above_nm[1]:.2f} nm above the substrate, more than a layer "
            f"of {layer_nm:.2f} nm: {numbers[1]} layers are counted; the lowest may be hidden",
        )
    return numbers, doubts


_FIRST_OFFSET = 0.25  # of a layer


def _layer_step(
    steps: StepHeights, numbers: list[int], layer_nm: float | None
) -> tuple[float, float, float]:
    """Height of one layer with its 95 % interval, from all that is known of it.

    Each further step measures it; the first only to within the offset that adhesion and water add,
    0 to 0.4 nm; the material's thickness is known to 3 %. The mean is weighted by precision.
    """
    layers = np.diff(np.array(numbers, float))
    value, error = steps.heights_nm / layers, np.hypot(steps.se_nm, _LEAST_ERROR_NM) / layers
    first = np.arange(len(value)) == 0
    value, error = (
        value - first * _OFFSET_NM / layers,
        np.hypot(error, first * _OFFSET_SD_NM / layers),
    )
    if layer_nm is not None:
        value, error = np.append(value, layer_nm), np.append(error, _LAYER_SHARE * layer_nm)
    known = np.isfinite(value)
    if not known.any():
        return (float("nan"),) * 3
    weight = 1 / error[known] ** 2
    mean, half = (value[known] * weight).sum() / weight.sum(), _Z95 / np.sqrt(weight.sum())
    return float(mean), float(mean - half), float(mean + half)


_LEAST_ERROR_NM = 0.015
_OFFSET_NM, _OFFSET_SD_NM = 0.2, 0.12  # mean and standard deviation of 0 to 0.4 nm
_LAYER_SHARE = 0.03


def _terraces(ladder: Ladder, numbers: list[int], shares: FloatArray) -> tuple[Terrace, ...]:
    variance = np.concatenate([[0.0], np.nan_to_num(ladder.steps.se_nm, nan=np.inf) ** 2])
    half = _Z95 * np.sqrt(np.cumsum(variance))
    return tuple(
        Terrace(n, float(h), float(h - w), float(h + w), float(share))
        for n, h, w, share in zip(numbers, ladder.above_nm, half, shares, strict=True)
    )


def _interval(
    ladder: Ladder, valid: BoolArray, fraction: float, pixel_size: PixelSize | None
) -> tuple[float, float]:
    """From rims drawn lower and higher, the width that the tip adds, and all starts tried."""
    relative, first = ladder.relative[valid], float(ladder.above_nm[1])
    outer, inner = (float(np.mean(relative > share * first)) for share in _RIM_SHARES)
    film = valid & (ladder.level > 0)
    grown = cv2.dilate(film.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rim = float(np.mean((grown & ~film)[valid])) if valid.any() else 0.0
    tip_px = 0.0 if pixel_size is None else np.sqrt(TIP_RADIUS_NM * first) / (1e3 * pixel_size.um)
    low = min(inner, fraction, *ladder.films) - (_RIM_PX + tip_px) * rim
    high = max(outer, fraction, *ladder.films) + _RIM_PX * rim
    return max(0.0, float(low)), min(1.0, float(high))


_RIM_SHARES = (0.4, 0.6)  # of the first step: the rim is drawn between these
_RIM_PX = 0.25


def _nothing(field: Field, least_nm: float) -> Coverage:
    labels = np.zeros(field.values.shape, np.uint8)
    doubt = (
        f"no rim with a step of {least_nm:.2f} nm or more: bare or wholly covered cannot be told "
        "from these heights alone; 0 is given"
    )
    film = LabelMap(labels, ("substrate", "1 layer"), field.valid)
    return Coverage(0.0, 0.0, 1.0, "terraces", film, doubts=(doubt,))
