"""Camera tone curves, and contrast in linear light.

Levels are fractions of the white level. Many microscope cameras store 8-bit values that are
proportional to light; consumer cameras and most exported JPEG files follow sRGB. Which one it is
changes layer numbers (decoding linear data as sRGB doubles the ladder), so the curve is a
hypothesis that calibration weighs, never a silent default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, RegionSignal
from layerscope.errors import InputError, UnknownName


@dataclass(frozen=True)
class ToneCurve:
    """Level on the file's scale -> light, both 0 to 1, monotonic.

    Attributes
    ----------
    name : str
        ``linear``, ``srgb``, ``gamma:2.2`` or ``table:...``.
    decode : callable
        Array of levels -> array of light of the same shape.
    """

    name: str
    decode: Callable[[npt.ArrayLike], FloatArray]

    def slope(self, level: FloatArray) -> FloatArray:
        """Differentiate light with respect to level, by central differences."""
        step = 1e-4
        low, high = np.clip(level - step, 0, 1), np.clip(level + step, 0, 1)
        return (self.decode(high) - self.decode(low)) / np.maximum(high - low, 1e-9)


def _linear(level: npt.ArrayLike) -> FloatArray:
    return np.asarray(level, float)


def _srgb(level: npt.ArrayLike) -> FloatArray:
    """IEC 61966-2-1 (1999), decoding."""
    v = np.asarray(level, float)
    return np.where(v <= 0.04045, v / 12.92, ((np.maximum(v, 0) + 0.055) / 1.055) ** 2.4)


def tone_curve(name: str, table: Sequence[tuple[float, float]] | None = None) -> ToneCurve:
    """Tone curve by name.

    Parameters
    ----------
    name : str
        ``linear``, ``srgb``, ``gamma:G`` (light = level ** G) or ``table``.
    table : sequence of (level, light), optional
        Measured points of the curve, both rising from 0 to 1; needed for ``table``.

    Raises
    ------
    UnknownName
        If the name is none of these.
    InputError
        If G is not within 0.2 to 5, or the table does not rise.
    """
    if name == "linear":
        return ToneCurve(name, _linear)
    if name == "srgb":
        return ToneCurve(name, _srgb)
    if name.startswith("gamma:"):
        return _gamma_curve(name)
    if name == "table":
        if table is None:
            raise InputError("tone curve 'table' needs its points: give --tone curve.csv again")
        return _table_curve(table)
    raise UnknownName.of("tone curve", name, ["linear", "srgb", "gamma:2.2", "table"])


def _gamma_curve(name: str) -> ToneCurve:
    try:
        exponent = float(name.removeprefix("gamma:"))
    except ValueError:
        raise InputError(f"{name!r}: expected a number after 'gamma:', e.g. gamma:2.2") from None
    if not 0.2 <= exponent <= 5:
        raise InputError(f"gamma {exponent} is outside 0.2 to 5: light = level ** gamma")
    return ToneCurve(name, lambda level: np.maximum(np.asarray(level, float), 0) ** exponent)


def _table_curve(table: Sequence[tuple[float, float]]) -> ToneCurve:
    level, light = np.asarray(table, float).reshape(-1, 2).T
    if len(level) < 2 or np.any(np.diff(level) <= 0) or np.any(np.diff(light) <= 0):
        raise InputError("tone table: expected at least two (level, light) pairs, both rising")
    return ToneCurve("table", lambda v: np.interp(np.asarray(v, float), level, light))


def contrast(signal: RegionSignal, tone: ToneCurve) -> tuple[FloatArray, FloatArray]:
    """Contrast of each region against its local substrate, in linear light.

    Parameters
    ----------
    signal : RegionSignal
    tone : ToneCurve

    Returns
    -------
    contrast, contrast_se : ndarray, (n, 3)
        C = I / I_substrate - 1 (Blake et al., Appl. Phys. Lett. 91, 063124 (2007), eq. 3, with
        the sign that makes absorbing flakes negative) and its standard error by propagation.
    """
    light, bare = tone.decode(signal.level), np.maximum(tone.decode(signal.background), 1e-6)
    light_se = tone.slope(signal.level) * signal.level_se
    bare_se = tone.slope(signal.background) * signal.background_se
    ratio = light / bare
    return ratio - 1, np.hypot(light_se, ratio * bare_se) / bare
