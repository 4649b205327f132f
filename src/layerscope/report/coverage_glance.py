"""What the report keeps of an image after its pixels are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.core.coverage import SurfaceResult, Terrace
from layerscope.core.micrograph import Step
from layerscope.report.columns import figures_of, percent_text
from layerscope.report.coverage_figures import Histogram, count_values
from layerscope.report.coverage_pictures import draw_plain_and_outlined
from layerscope.report.panels import Rgb

_PICTURE_PX = 560


@dataclass(frozen=True, eq=False)
class Glance:
    """One image of the gallery.

    Attributes
    ----------
    name : str
    coverage : str
        With its interval.
    method : str
    by_method : mapping of str to float
    doubts : tuple of str
    terraces : tuple of Terrace
    plain, outlined : ndarray of uint8, (H, W, 3)
    histogram : Histogram or None
    unit : str
        Of the values.
    """

    name: str
    coverage: str
    method: str
    by_method: Mapping[str, float]
    doubts: tuple[str, ...]
    terraces: tuple[Terrace, ...]
    plain: Rgb
    outlined: Rgb
    histogram: Histogram | None
    unit: str


def glance_at(result: SurfaceResult) -> Glance:
    """Keep pictures and histogram of one image."""
    coverage = result.coverage
    return Glance(
        result.name,
        percent_text(coverage.fraction, coverage.low, coverage.high),
        coverage.method,
        dict(coverage.by_method),
        coverage.doubts,
        coverage.terraces,
        *draw_plain_and_outlined(result, longest_px=_PICTURE_PX),
        count_values(result),
        result.micrograph.value_unit,
    )


def step_text(step: Step) -> str:
    """One processing step in words: ``level: method auto, chosen rows by differences``."""
    told = [f"{_words(name)} {_value(v)}" for name, v in step.parameters.items()]
    return f"{_words(step.name)}: {', '.join(told)}" if told else _words(step.name)


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{_words(k)} {_value(v)}" for k, v in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return " / ".join(_value(v) for v in value) or "none"
    if isinstance(value, (float, np.floating)):
        return figures_of(float(value), 4)
    return "not given" if value is None else str(value)
