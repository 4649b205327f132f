"""How flat a levelled map is."""

from __future__ import annotations

import numpy as np

from layerscope.core.results import BoolArray, FloatArray
from layerscope.ops.surface_fit import bridge, row_medians, spread
from layerscope.ops.surface_terraces import Terraces, find_terraces

_NOISE_LAG_PX = 8
_JUMP_LAGS = (1, 2, 4, 8)
_MANY_ROWS = 256


def flatness_of(flat: FloatArray, use: BoolArray, terraces: Terraces | None = None) -> float:
    """Score 0 to 1: what the local roughness allows over what the terraces are wide.

    ``roughness / sqrt(width^2 + jumps^2)``. Roughness is the spread of differences of two pixels of
    a row, 8 px apart: no row offset and no smooth background is in it. Width is the mean spread of
    the terraces' heights. Jumps are the root mean square of the typical difference between rows 1
    to 8 apart: a picture whose rows were shifted until its islands vanished has narrow terraces,
    but the bare substrate beside the islands jumps. Every second row of a map of many will do.

    `terraces` are those of the map, where they are known.
    """
    allowed = _roughness(flat, use)
    terraces = find_terraces(flat, use) if terraces is None else terraces
    if allowed == 0 or len(terraces) == 0:
        return 1.0 if allowed == 0 and len(terraces) and terraces.widths_nm.max() == 0 else 0.0
    width = float(np.average(terraces.widths_nm, weights=terraces.shares))
    return float(min(1.0, allowed / np.hypot(width, _jump(flat, use))))


def _roughness(flat: FloatArray, use: BoolArray) -> float:
    lag = min(_NOISE_LAG_PX, flat.shape[1] - 1)
    some = _some_rows(len(flat))
    flat, use = flat[some], use[some]
    steps = (flat[:, lag:] - flat[:, :-lag])[use[:, lag:] & use[:, :-lag]]
    return spread(steps) / 2**0.5


def _jump(flat: FloatArray, use: BoolArray) -> float:
    squares = []
    for lag in _JUMP_LAGS:
        if lag < len(flat):
            some = _some_rows(len(flat) - lag)
            both = use[lag:][some] & use[:-lag][some]
            jumps = bridge(row_medians(flat[lag:][some] - flat[:-lag][some], both))
            squares.append(float(np.mean(jumps**2)))
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _some_rows(n: int) -> slice:
    return slice(None, None, 1 if n < _MANY_ROWS else 2)
