"""Find the microscope's parameters from the colours of unlabelled flakes.

Per setup, an EM fit from several starting oxides under each hypothesis on the tone curve; the
camera's parameters are then shared between setups. The answer is a set of weighted posterior
draws, or a refusal with its reason. The recipe was measured on graphene and WSe2 without labels
(0.91 and 0.93 right); its one danger, the doubled ladder, is excluded by rival hypotheses and
by smooth occupancy, and where neither decides, absolute numbers are withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from layerscope import __version__
from layerscope.core.calibration import Calibration, SetupCalibration, Status
from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics import doubts
from layerscope.physics.fitting import TEMPER, Fit, Hypothesis, Problem, explore, in_reach
from layerscope.physics.ladder import NAMES, LadderModel, Prior
from layerscope.physics.materials import Material
from layerscope.physics.mixture import Colours
from layerscope.physics.thin_film import Stack

OXIDE_SD_NM = 10.0
"""Assumed for an oxide that the user names: the fitted, effective value was 73 to 105 nm on
wafers sold as 90 nm."""

_MAX_REGIONS = 160
_CELL = 0.04  # contrast; several times the scatter of one layer number
_PER_CELL = 12
_RIVAL_OXIDES_NM = (90.0, 285.0)
_CAMERA_COLUMNS = (1, 2, 3, 4, 5, 7)
_DRAWS = 12


def calibrate(
    signals: Sequence[RegionSignal],
    backgrounds: Sequence[FloatArray],
    material: Material,
    stack: Stack,
    *,
    labels: Sequence[IntArray] | None = None,
    tone: ToneCurve | None = None,
    oxide_sd_nm: float = OXIDE_SD_NM,
    max_layers: int = 10,
    na: float = 0.45,
) -> Calibration:
    """Calibrate each setup from the colours of its regions.

    Parameters
    ----------
    signals : sequence of RegionSignal
        One per setup: its regions, thick ones included. May be empty.
    backgrounds : sequence of ndarray, (3,)
        Level of the bare substrate of each setup.
    material, stack
        As the user named them.
    labels : sequence of ndarray of int, optional
        Per setup and region: the layer number that a person gave, 0 for none. Two labelled
        flakes anchor the ladder.
    tone : ToneCurve, optional
        If the camera's curve is known; otherwise linear and sRGB compete.
    oxide_sd_nm : float
        Uncertainty of the named thickness of the stack's tunable film.
    max_layers : int
        N, the longest ladder step with a number of its own.
    na : float
        Numerical aperture of the objective.

    Returns
    -------
    Calibration
        A setup that cannot be trusted has a `status` other than ``ok``, and reasons.
    """
    tones = [tone] if tone is not None else [tone_curve("linear"), tone_curve("srgb")]
    models = _models(material, stack, oxide_sd_nm, max_layers, na)
    known = labels if labels is not None else [None] * len(signals)
    chosen = [_choose(Colours.of(s, k)) for s, k in zip(signals, known, strict=True)]
    everything = chosen
    chosen = [
        c.take(np.flatnonzero(in_reach(c, b, models, tones)))
        for c, b in zip(chosen, backgrounds, strict=True)
    ]
    data = list(zip(chosen, backgrounds, strict=True))
    found = [[explore(c, b, models, t) for t in tones] for c, b in data]
    found = _share_camera(found, data, models, tones)
    best, tone_doubts = _choose_tone(found, chosen, tones, models[0].model)
    setups = tuple(
        _conclude(per_tone[best], c, b, models, tones[best], tone_doubts, every)
        for per_tone, (c, b), every in zip(found, data, everything, strict=True)
    )
    provenance = {
        "version": __version__,
        "max_layers": max_layers,
        "na": na,
        "oxide_sd_nm": oxide_sd_nm,
        "tone_given": tone is not None,
    }
    return Calibration(material.name, str(stack), tones[best].name, NAMES, setups, provenance)


def _models(
    material: Material, stack: Stack, oxide_sd_nm: float, max_layers: int, na: float
) -> list[Hypothesis]:
    """List the oxide as told, and the two common ones where they are far from it."""
    told = stack.oxide_nm
    if told is None:
        model = LadderModel(material, stack, (1, 1), max_layers=max_layers, na=na)
        return [Hypothesis(model, Prior.default(oxide_nm=1.0, oxide_sd_nm=1e-3), told=True)]
    oxides = [(told, oxide_sd_nm)]
    on_silicon = stack.base.name == "Si" and len(stack.films) == 1
    if on_silicon:
        oxides += [(o, OXIDE_SD_NM) for o in _RIVAL_OXIDES_NM if abs(o - told) > 40]
    out = []
    for i, (oxide, sd) in enumerate(oxides):
        prior = Prior.default(oxide_nm=oxide, oxide_sd_nm=sd)
        span = (float(prior.low[0]), float(prior.high[0]))
        model = LadderModel(material, stack, span, max_layers=max_layers, na=na)
        out.append(Hypothesis(model, prior, told=i == 0))
    return out


def _choose(colours: Colours) -> Colours:
    """At most `_MAX_REGIONS` rows and `_PER_CELL` of a colour, whatever the order of the input.

    Sixty pieces of one bulk crystal are one observation, not sixty: unthinned, they bent the
    film thickness until some layer number had their colour.
    """
    usable = np.flatnonzero(~colours.saturated.all(axis=1))
    order = usable[np.lexsort(colours.contrast[usable].T)]
    labelled, free = order[colours.known[order] > 0], order[colours.known[order] == 0]
    cell = np.floor(colours.contrast[free] / _CELL).astype(np.int64)
    _, number = np.unique(cell, axis=0, return_inverse=True)
    rank = _rank_within(number.reshape(-1))
    free = free[rank < _PER_CELL]
    if len(free) > _MAX_REGIONS:
        free = free[np.linspace(0, len(free) - 1, _MAX_REGIONS).round().astype(int)]
    return colours.take(np.concatenate([labelled, free]))


def _rank_within(group: IntArray) -> IntArray:
    """Count, for each entry, the earlier entries of the same group."""
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], group[order])
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - start
    return rank


def _share_camera(
    found: list[list[list[Fit]]],
    data: list[tuple[Colours, FloatArray]],
    hypotheses: list[Hypothesis],
    tones: list[ToneCurve],
) -> list[list[list[Fit]]]:
    """Refit each setup with the camera that the other setups found as its prior.

    A setup of few flakes alone was off by one layer and did not notice; the camera is the same
    in all setups, only lamp and exposure differ.
    """
    size = np.array([len(colours) for colours, _ in data], float)
    if np.count_nonzero(size >= 5) < 2:
        return found
    out = []
    for i, (colours, background) in enumerate(data):
        weight = np.where(np.arange(len(size)) == i, 0.0, np.minimum(size, TEMPER))
        per_tone = []
        for t, tone in enumerate(tones):
            cameras = np.array([_leader(fits[t]).theta for fits in found])
            others = weight.sum()
            if others < 20 or size[i] > 2 * others:
                per_tone.append(found[i][t])
                continue
            centre = weight @ cameras / others
            shared = [
                replace(h, prior=h.prior.around(centre, 0.4, _CAMERA_COLUMNS)) for h in hypotheses
            ]
            per_tone.append(explore(colours, background, shared, tone))
        out.append(per_tone)
    return out


def _choose_tone(
    found: list[list[list[Fit]]], chosen: list[Colours], tones: list[ToneCurve], model: LadderModel
) -> tuple[int, list[str]]:
    """Pick the tone curve that all setups together prefer: they share one camera."""
    totals = [sum(_evidence(per_tone[t]) for per_tone in found) for t in range(len(tones))]
    best = int(np.argmax(totals))
    if len(tones) == 1 or any(doubts.is_anchored(c) for c in chosen):
        return best, []
    leaders = [_leader(per_tone[best]) for per_tone in found]
    max_layers = model.max_layers
    counts = [_occupied(f, max_layers) for f in leaders]
    reasons = doubts.undecided_tone(counts, transparent=model.is_transparent)
    for t, tone in enumerate(tones):
        rivals = [_leader(per_tone[t]) for per_tone in found]
        close = totals[t] - totals[best] > np.log(doubts.RIVAL_TONE_SHARE)
        other = any(doubts.differ(a, b, max_layers) for a, b in zip(leaders, rivals, strict=True))
        if t != best and close and other and not reasons:
            reasons.append(
                f"a {tone.name} tone curve explains the colours about as well, with other layer "
                "numbers: give --tone linear or --tone srgb"
            )
    return best, reasons


def _occupied(fit: Fit, max_layers: int) -> IntArray:
    """Count regions per layer number."""
    return np.bincount(fit.node[fit.node >= 0], minlength=max_layers)[:max_layers]


def _evidence(fits: list[Fit]) -> float:
    return max(f.log_evidence - (0.0 if f.told_oxide else doubts.WRONG_OXIDE_NATS) for f in fits)


def _leader(fits: list[Fit]) -> Fit:
    """Pick the best fit with the oxide that was told."""
    return next(f for f in fits if f.told_oxide)


def _conclude(
    fits: list[Fit],
    colours: Colours,
    background: FloatArray,
    hypotheses: list[Hypothesis],
    tone: ToneCurve,
    tone_doubts: list[str],
    everything: Colours,
) -> SetupCalibration:
    leader, told = _leader(fits), hypotheses[0]
    layers = told.model.max_layers
    grave = doubts.misfits(leader)
    relative = list(tone_doubts) if _occupied(leader, layers).any() else []
    if not doubts.is_anchored(colours):
        better, alike = doubts.wrong_oxide(fits, leader, layers)
        grave += better + doubts.wrong_material(colours, background, told, tone, leader)
        relative += alike + doubts.doubled(_occupied(leader, layers))
    status: Status = "refused" if grave else "relative" if relative else "ok"
    draws, weights = _draw([f for f in fits if f.told_oxide], told.prior)
    ladders = told.model.measured(draws, tone, background)[:, :layers]
    mean = np.tensordot(weights, ladders, axes=1)
    sd = np.sqrt(np.tensordot(weights, (ladders - mean) ** 2, axes=1))
    problem = Problem(everything, background, told.model, told.prior, tone)
    occupancy = problem.occupancy(leader.theta, leader.noise, leader.occupancy)
    diagnostics = {
        "log_evidence": leader.log_evidence,
        "log_prior": leader.log_prior,
        "noise_scale": leader.noise,
        **{f"occupancy_{key}": value for key, value in asdict(occupancy).items()},
    }
    return SetupCalibration(
        background,
        mean,
        sd,
        draws,
        weights,
        status,
        tuple(grave + relative),
        len(colours),
        diagnostics,
    )


def _draw(fits: list[Fit], prior: Prior) -> tuple[FloatArray, FloatArray]:
    """Draw from the modes within 5 nats of the best, by their evidence."""
    kept = [f for f in fits if f.log_evidence > fits[0].log_evidence - 5][:3]
    share = np.exp([f.log_evidence - fits[0].log_evidence for f in kept])
    rng = np.random.default_rng(0)
    draws, weights = [], []
    for fit, weight in zip(kept, share / share.sum(), strict=True):
        root = np.linalg.cholesky(fit.covariance)
        half = rng.standard_normal((_DRAWS // 2, len(fit.theta)))
        z = np.concatenate([half, -half])  # antithetic: the mean stays at the optimum
        draws.append(np.clip(fit.theta + z @ root.T, prior.low, prior.high))
        weights.append(np.full(len(z), weight / len(z)))
    return np.concatenate(draws), np.concatenate(weights)
