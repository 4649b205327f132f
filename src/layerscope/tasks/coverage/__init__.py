"""How much of a surface the film covers: one question, several methods, one honest answer.

>>> from layerscope.synth.surface import synth_surface
>>> from layerscope.tasks.coverage import find_coverage
>>> surface = synth_surface(3, coverage=0.4)          # doctest: +SKIP
>>> find_coverage(level(surface.micrograph)).fraction  # doctest: +SKIP
0.401
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from layerscope.core.coverage import Coverage
from layerscope.core.micrograph import Micrograph
from layerscope.errors import InputError
from layerscope.registry import Registry
from layerscope.tasks.coverage.field import Field, make_field
from layerscope.tasks.coverage.request import SHIPPED_MODEL, Request, is_model

METHODS = Registry(
    "coverage_method",
    {
        "edges": "layerscope.tasks.coverage.edges:find_edges",
        "terraces": "layerscope.tasks.coverage.terraces:find_terraces",
        "threshold": "layerscope.tasks.coverage.threshold:find_by_threshold",
    },
)
"""Name to ``function(Field, Request) -> Coverage``."""

AUTO = "auto"
_ROW_RIM = 0.35
"""Of the width. None of 50 right answers on synthetic scans of 256 px was above, 2 of 69 on crowded
scans of 128 px, and 9 of the 31 wrong ones there (seeds 13000 to 13149)."""
_LEAST_FLAT = 0.75
"""Score of `ops.surface_flatness`. On the same scans 1, 20 and 17 were below."""
_FAR = 0.05  # of the area: methods further apart than this, and than their intervals, disagree


def find_coverage(
    micrograph: Micrograph,
    *,
    method: str = AUTO,
    layer_nm: float | None = None,
    threshold: float | None = None,
    max_layers: int = 4,
    film: str | None = None,
) -> Coverage:
    """Share of the surface that the film covers, with an interval and doubts.

    Parameters
    ----------
    micrograph : Micrograph
        Levelled heights (nm), or a picture. NaN and excluded pixels are counted in nothing.
    method : str, optional
        A name in `METHODS`, ``film-n`` (the shipped model), the path of a model (``model.onnx``),
        or ``"auto"``: ``terraces`` for heights, ``edges`` for pictures, ``threshold`` where a
        threshold is given. Beside a model and under ``auto`` another method is asked too, and where
        it says something else this is a doubt. Heights whose histogram has no two humps are shown
        to ``film-n`` for that.
    layer_nm : float, optional
        Thickness of one layer.
    threshold : float, optional
        By hand, in the unit of the values (nm, or grey value as stored).
    max_layers : int, optional
        Levels above the substrate that are told apart.
    film : {"bright", "dark"}, optional
        Side of the substrate that the film lies on; see `field.make_field`.

    Returns
    -------
    Coverage

    Raises
    ------
    InputError
        If a value is out of range, no pixel has a value, or `method` cannot read such a micrograph;
        UnknownName for a method that is not known.
    """
    request = Request(layer_nm, threshold, max_layers, micrograph.pixel_size)
    if threshold is not None and method not in (AUTO, "threshold"):
        raise InputError(f"a threshold was given, but method {method} uses none: leave one of them")
    field = make_field(micrograph, film)
    if is_model(method):
        usual = _ask(_order(field, request)[0], field, request)
        return _agree(_ask(method, field, request), usual)
    if method != AUTO:
        return _ask(method, field, request)
    first, second = _order(field, request)
    answer = _ask(first, field, request)
    check = _ask(second, field, request)
    answer = _agree(answer, check)
    if check.doubts and field.is_height and field.film == "bright":
        answer = _agree(answer, _ask(SHIPPED_MODEL, field, request))
    return _doubt_levelling(_doubt_rows(answer), micrograph) if field.is_height else answer


def _ask(method: str, field: Field, request: Request) -> Coverage:
    answer: Coverage
    if is_model(method):
        from layerscope.tasks.coverage.learned import find_by_model

        answer = find_by_model(field, request, method)
    else:
        answer = METHODS[method](field, request)
    return replace(answer, by_method={**answer.by_method, answer.method: answer.fraction})


def _doubt_rows(answer: Coverage) -> Coverage:
    """Doubt a rim that runs along a scan row: islands have none, rows levelled apart do."""
    labels, valid = answer.film.labels, answer.film.valid
    step = (labels[1:] != labels[:-1]) & valid[1:] & valid[:-1]
    longest = float(step.mean(axis=1).max(initial=0.0))
    if longest < _ROW_RIM:
        return answer
    doubt = (
        f"a rim runs along one scan row over {longest:.0%} of the width: the rows on its two sides "
        "may be levelled apart by a layer; compare the mask with the picture"
    )
    return replace(answer, doubts=(*answer.doubts, doubt))


def _doubt_levelling(answer: Coverage, micrograph: Micrograph) -> Coverage:
    """Doubt what was read from heights that levelling itself scored low."""
    for step in reversed(micrograph.history):
        scores = step.parameters.get("flatness_by_candidate", {})
        flat = scores.get(step.parameters.get("chosen"), 1.0)
        if flat < _LEAST_FLAT:
            doubt = (
                f"levelling left {1 / max(flat, 0.01):.1f} times what the roughness explains: rows "
                "or a bow may be taken for layers; compare the mask with the scan"
            )
            return replace(answer, doubts=(*answer.doubts, doubt))
    return answer


def _order(field: Field, request: Request) -> tuple[str, str]:
    """Choose the method that answers, and the one that checks it."""
    if request.threshold is not None:
        return "threshold", "terraces" if field.is_height else "edges"
    return ("terraces" if field.is_height else "edges"), "threshold"


def _agree(answer: Coverage, other: Coverage) -> Coverage:
    """Add what the other method says, and a doubt where it is sure of something else."""
    by_method: dict[str, Any] = {**answer.by_method, **other.by_method}
    apart = max(answer.low - other.high, other.low - answer.high)
    doubts = answer.doubts
    trusted = not other.doubts
    if trusted and apart > 0 and abs(answer.fraction - other.fraction) > _FAR:
        doubts += (
            f"{other.method} says {other.fraction:.2f}, {answer.method} {answer.fraction:.2f}: "
            "look at the mask",
        )
    return replace(answer, by_method=by_method, doubts=doubts)
