"""How many layers, and how many nanometres: the posterior of each region."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

import numpy as np

from layerscope.core.calibration import Calibration, SetupCalibration
from layerscope.core.results import (
    THICK,
    UNKNOWN,
    FloatArray,
    IntArray,
    LayerPosterior,
    RegionSignal,
)
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics.ladder import MAX_THICKNESS_NM, LadderModel
from layerscope.physics.materials import load
from layerscope.physics.mixture import Colours, Occupancy, Rungs, is_bulk, outlier_density
from layerscope.physics.thin_film import Stack

ANSWER_FROM = 0.7
"""Probability from which a layer number is given; below, the answer is unknown."""

_WRONG_REGION = 0.03  # a region that is no single terrace looks like a perfect one of other colour
_CREDIBLE = 0.95
_GATE = 6.0
"""Standard deviations beyond which a colour is no layer's: of labelled flakes farther away than
5 to 8 a half was wrong, beyond 8 three quarters."""

_BEYOND_GATE = 1e-6
_NO_LIMITS = (np.nan, np.nan)

Branch = tuple[float, float, float]


def count_layers(
    signal: RegionSignal,
    calibration: Calibration,
    setup: int,
    *,
    tone: ToneCurve | None = None,
) -> LayerPosterior:
    """Posterior over layer number and thickness of each region of one setup.

    Parameters
    ----------
    signal : RegionSignal
    calibration : Calibration
    setup : int
        Index into `calibration.setups`.
    tone : ToneCurve, optional
        Needed only where the calibration's tone is a table.

    Returns
    -------
    LayerPosterior
        Averaged over the calibration's draws. The answer is a number where its probability is at
        least `ANSWER_FROM` and the setup's status is ``ok``, else unknown.
    """
    fitted, model = calibration.setups[setup], _model(calibration, setup)
    node = _node_posterior(Colours.of(signal), _draws(calibration, setup, tone), fitted, model)
    return _answer(node, model, fitted)


@lru_cache(maxsize=16)  # the thin-film table costs 10 ms, as much as finding the flakes' layers
def _model(calibration: Calibration, setup: int) -> LadderModel:
    oxide = calibration.setups[setup].draws[:, 0]
    return LadderModel(
        load(calibration.material),
        Stack.parse(calibration.substrate),
        (float(oxide.min()), float(oxide.max())),
        max_layers=int(calibration.provenance["max_layers"]),
        na=float(calibration.provenance["na"]),
    )


@lru_cache(maxsize=64)  # the same for all images of a setup: 2 ms each
def _draws(
    calibration: Calibration, setup: int, tone: ToneCurve | None
) -> tuple[tuple[Rungs, FloatArray], ...]:
    """Node colours of each draw, and the prior weight (K + 1,) of its nodes and of outliers."""
    fitted, model = calibration.setups[setup], _model(calibration, setup)
    d = fitted.diagnostics
    occupancy = Occupancy(**{f.name: d[f"occupancy_{f.name}"] for f in fields(Occupancy)})
    share = np.exp(occupancy.log_weights(model.nodes))
    curve = tone or tone_curve(calibration.tone)
    nodes = model.encoded(fitted.draws, curve, fitted.background)
    return tuple(
        (Rungs(node, model.nodes, d["noise_scale"]), weight * share)
        for node, weight in zip(nodes, fitted.weights, strict=True)
    )


def _node_posterior(
    colours: Colours,
    draws: tuple[tuple[Rungs, FloatArray], ...],
    fitted: SetupCalibration,
    model: LadderModel,
) -> FloatArray:
    """Probability (n, K + 1) of each thickness node, and of unknown."""
    thin, total = model.nodes.kinds[0], np.zeros((len(colours), model.nodes.count + 1))
    for rungs, weight in draws:
        density, distance2 = rungs.density(colours)
        density[:, thin][distance2[:, thin] > _GATE**2] *= _BEYOND_GATE
        total[:, :-1] += weight[:-1] * density
    total[:, -1] = sum(weight[-1] for _, weight in draws) * outlier_density(colours)
    total /= total.sum(axis=1, keepdims=True)
    return total if model.is_transparent else _bulk_is_thick(total, colours, model)


def _bulk_is_thick(node: FloatArray, colours: Colours, model: LadderModel) -> FloatArray:
    """Count residue and outliers that are brighter than the substrate everywhere as thick.

    Graphite and thick TMDs are mirrors, and how bright exactly depends on flare and saturation
    beyond what the fit knows. Residue that bright exists, but on a chip a hundred times rarer.
    """
    bright = is_bulk(colours)[:, None]
    _, thick, residue = model.nodes.kinds
    other = np.where(bright, node[:, residue.start :], 0.0)
    out = node.copy()
    out[:, residue.start :] -= other
    out[:, thick] += other.sum(axis=1, keepdims=True) / model.nodes.thick
    return out


def _answer(node: FloatArray, model: LadderModel, fitted: SetupCalibration) -> LayerPosterior:
    thin, thick, residue = model.nodes.kinds
    thick_share, other = node[:, thick].sum(axis=1), node[:, thick.stop :].sum(axis=1)
    probability = np.column_stack([node[:, thin], thick_share, other])
    probability = (1 - _WRONG_REGION) * probability + _WRONG_REGION * _wrong_region(probability)
    if fitted.status != "ok":
        probability = _withheld(probability, keep_thick=fitted.status == "relative")
    answer = most_probable(probability)
    certain = fitted.status == "ok"
    branches = _branches(node[:, : thick.stop], model) if certain else ((),) * len(node)
    known = [b if a != UNKNOWN else () for a, b in zip(answer, branches, strict=True)]
    limits = [(min(r[0] for r in b), max(r[1] for r in b)) if b else _NO_LIMITS for b in known]
    low, high = np.array(limits, float).reshape(-1, 2).T
    thickness = _most_probable_nm(node[:, : thick.stop], model, known)
    reason = "" if certain else "; ".join(fitted.reasons)
    return LayerPosterior(
        probability,
        answer,
        thickness,
        low,
        high,
        branches,
        (reason,) * len(node),
        node[:, residue].sum(axis=1),
    )


def most_probable(probability: FloatArray) -> IntArray:
    """Answer per row of `probability` (n, N + 2): a number, `THICK`, or `UNKNOWN` if unsure."""
    layers = probability.shape[1] - 2
    best = probability.argmax(axis=1)
    answer = np.where(best < layers, best + 1, np.where(best == layers, THICK, UNKNOWN))
    return np.where(probability.max(axis=1, initial=0) < ANSWER_FROM, UNKNOWN, answer)


def _withheld(probability: FloatArray, *, keep_thick: bool) -> FloatArray:
    """Move to unknown what a calibration in doubt cannot say, (n, N + 2).

    What outshines the substrate is thick whatever the tone curve is.
    """
    out = np.zeros_like(probability)
    if keep_thick:
        out[:, -2] = probability[:, -2]
    out[:, -1] = 1 - out[:, -2]
    return out


def _wrong_region(probability: FloatArray) -> FloatArray:
    """Spread the chance that a region is no single terrace, (n, N + 2).

    Next to a thin terrace another thin one may have been measured; a mirror is no monolayer.
    """
    layers = probability.shape[1] - 2
    thin = probability[:, :layers].sum(axis=1) > 0.5
    out = np.zeros_like(probability)
    out[:, -1] = np.where(thin, 0.5, 1.0)
    out[:, :layers] = np.where(thin, 0.5 / layers, 0.0)[:, None]
    return out


def _branches(node: FloatArray, model: LadderModel) -> tuple[tuple[Branch, ...], ...]:
    """Find the runs of nodes that together hold 95 % of each row, most probable first."""
    p = node / np.maximum(node.sum(axis=1, keepdims=True), 1e-300)
    order = np.argsort(-p, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(p, order, 1), axis=1) < _CREDIBLE
    inside = np.zeros((len(p), p.shape[1] + 2), bool)
    chosen = np.arange(p.shape[1]) <= before.sum(axis=1)[:, None]
    np.put_along_axis(inside, order + 1, chosen & (p.max(axis=1, initial=0) > 0)[:, None], 1)
    row, edge = np.nonzero(inside[:, 1:] != inside[:, :-1])
    row, first, after = row[::2], edge[::2], edge[1::2]
    ends = np.stack([first, after], axis=1) + row[:, None] * (p.shape[1] + 1)
    weight = np.add.reduceat(np.pad(p, ((0, 0), (0, 1))).ravel(), ends.ravel())[::2]
    low_nm, high_nm = _node_limits(model)
    low, high = low_nm[first], high_nm[after - 1]
    ranked = np.lexsort((low, -weight, row))
    found: list[list[Branch]] = [[] for _ in p]
    runs = zip(*(c[ranked].tolist() for c in (row, low, high, weight)), strict=True)
    for i, *run in runs:
        found[i].append((run[0], run[1], run[2]))
    return tuple(tuple(f) for f in found)


def _node_limits(model: LadderModel) -> tuple[FloatArray, FloatArray]:
    """Range of thickness that each node stands for; a layer number stands for itself."""
    d = model.thickness_nm
    low, high = d.copy(), d.copy()
    thick = d[model.max_layers :]
    between = np.sqrt(thick[1:] * thick[:-1])
    low[model.max_layers :] = np.concatenate([[thick[0]], between])
    high[model.max_layers :] = np.concatenate([between, [MAX_THICKNESS_NM]])
    return low, high


def _most_probable_nm(
    node: FloatArray, model: LadderModel, branches: list[tuple[Branch, ...]]
) -> FloatArray:
    """Mean thickness within the most probable branch; NaN without branches."""
    first = np.array([b[0][:2] if b else _NO_LIMITS for b in branches], float).reshape(-1, 2)
    low, high = first[:, :1], first[:, 1:]
    d = model.thickness_nm
    weight = node * ((d >= low - 1e-9) & (d <= high + 1e-9))
    total = weight.sum(axis=1)
    mean = np.where(total > 0, (weight * d).sum(axis=1) / np.maximum(total, 1e-300), low[:, 0])
    return np.clip(mean, low[:, 0], high[:, 0])  # rounding must not leave the branch
