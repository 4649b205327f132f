"""Level height maps of an atomic force microscope, and say what was done.

>>> flat = level(micrograph)  # doctest: +SKIP
>>> flat.history[-1].parameters["chosen"]  # doctest: +SKIP
'terraces with row offsets'
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.micrograph import Micrograph
from layerscope.core.results import BoolArray, FloatArray
from layerscope.errors import InputError
from layerscope.ops.surface_fit import Levelled
from layerscope.ops.surface_flatness import flatness_of
from layerscope.registry import Registry

_OPS = "layerscope.ops"
LEVELLERS = Registry(
    "leveller",
    {
        "auto": f"{_OPS}.surface_auto:level_auto",
        "plane": f"{_OPS}.surface_plane:level_plane",
        "polynomial": f"{_OPS}.surface_plane:level_polynomial",
        "facet": f"{_OPS}.surface_plane:level_facet",
        "flatten-base": f"{_OPS}.surface_plane:level_base",
        "rows-median": f"{_OPS}.surface_rows:align_median",
        "rows-differences": f"{_OPS}.surface_rows:align_differences",
        "rows-matching": f"{_OPS}.surface_rows:align_matching",
        "rows-trimmed": f"{_OPS}.surface_rows:align_trimmed",
        "rows-polynomial": f"{_OPS}.surface_rows:align_polynomial",
        "terraces": f"{_OPS}.surface_terraces:level_terraces",
        "scars": f"{_OPS}.surface_scars:remove_scars",
        "drift": f"{_OPS}.surface_rows:remove_drift",
    },
)
"""Name to function of heights (float64, finite, scaled about 0), used pixels and parameters."""

_FEWEST = 16


def level(
    micrograph: Micrograph,
    method: str = "auto",
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    **parameters: Any,
) -> Micrograph:
    """Take the background, or one part of it, out of a height map.

    Parameters
    ----------
    micrograph : Micrograph
        Heights (H, W), NaN where unknown. Any unit; the answer has the same.
    method : str
        A name of `LEVELLERS`.
    mask : ndarray of bool, (H, W), optional
        True where pixels are left out of every fit, as are excluded ones and NaN. They are levelled
        like the rest.
    **parameters
        Of the method.

    Returns
    -------
    Micrograph
        Float32. The last step of its history has the method, its parameters, the share of pixels
        that were left out, and what the method says about its choice.

    Raises
    ------
    InputError
        If the picture is in colour, the mask does not fit, too little is left to fit, or a
        parameter is not one of the method's; UnknownName for an unknown method.
    """
    function = LEVELLERS[method]
    _check_parameters(method, function, parameters)
    heights, use = _prepare(micrograph, mask)
    known = np.isfinite(heights)
    centre = float(np.median(heights[use]))
    found: Levelled = function(_without_nan(heights - centre, known), use, **parameters)
    data = np.where(known, found.heights_nm, np.nan).astype(np.float32)
    told = {
        "method": method,
        **_told(function, parameters),
        "left_out": round(1 - float(use.mean()), 6),
        **found.facts,
    }
    return micrograph.after("level", told, data=data)


def flatness(micrograph: Micrograph, mask: npt.NDArray[np.bool_] | None = None) -> float:
    """Score from 0 to 1 of how flat the terraces are; 1 is as flat as local roughness allows.

    See `layerscope.ops.surface_flatness.flatness_of` for the formula.

    Raises
    ------
    InputError
        As `level`.
    """
    heights, use = _prepare(micrograph, mask)
    centred = heights - float(np.median(heights[use]))
    return flatness_of(_without_nan(centred, np.isfinite(heights)), use)


def _prepare(
    micrograph: Micrograph, mask: npt.NDArray[np.bool_] | None
) -> tuple[FloatArray, BoolArray]:
    if micrograph.data.ndim != 2 or min(micrograph.shape) < 4:
        raise InputError(
            f"{micrograph.name}: levelling needs heights (H, W) of 4 x 4 pixels or more, got "
            f"{micrograph.data.shape}"
        )
    if mask is not None and mask.shape != micrograph.shape:
        raise InputError(f"{micrograph.name}: mask {mask.shape} on a scan of {micrograph.shape}")
    heights = micrograph.data.astype(float)
    use = np.isfinite(heights)
    for out in (mask, micrograph.excluded):
        if out is not None:
            use &= ~out.astype(bool)
    if np.count_nonzero(use) < _FEWEST:
        raise InputError(
            f"{micrograph.name}: {np.count_nonzero(use)} pixels are left to fit, at least "
            f"{_FEWEST} are needed: mask less"
        )
    return heights, use


def _without_nan(heights: FloatArray, known: BoolArray) -> FloatArray:
    return heights if known.all() else np.where(known, heights, 0.0)


def _check_parameters(method: str, function: Any, parameters: dict[str, Any]) -> None:
    known = [
        n for n, p in inspect.signature(function).parameters.items() if p.kind == p.KEYWORD_ONLY
    ]
    strange = sorted(set(parameters) - set(known))
    if strange:
        raise InputError(
            f"{method} has no {', '.join(strange)}; it has {', '.join(known) or 'none'}"
        )


def _told(function: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        n: p.default
        for n, p in inspect.signature(function).parameters.items()
        if p.kind == p.KEYWORD_ONLY
    }
    return defaults | parameters
