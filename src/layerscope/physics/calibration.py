"""Find the microscope's parameters from the colours of unlabelled flakes.

Per setup, an EM fit from several starting oxides under each hypothesis on the tone curve; the
camera's parameters are then shared between setups. The answer is a set of weighted posterior
draws, or a refusal with its reason. The recipe was measured on graphene and WSe2 without labels
(0.91 and 0.93 right); its one danger, the doubled ladder, is excluded by rival hypotheses and
by smooth occupancy, and where neither decides, absolute numbers are withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from layerscope import __version__
from layerscope.core.calibration import Calibration, SetupCalibration, Status
from layerscope.core.results import FloatArray, IntArray, RegionSignal
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.physics.ladder import NAMES, LadderModel, Prior
from layerscope.physics.materials import Material, load
from layerscope.physics.mixture import (
    Colours,
    Occupancy,
    Rungs,
    joint_log_density,
    log_sum,
)
from layerscope.physics.thin_film import Stack

OXIDE_SD_NM = 10.0
"""Assumed for an oxide that the user names: the fitted, effective value was 73 to 105 nm on
wafers sold as 90 nm."""

_MAX_REGIONS = 160
_TEMPER = 120  # regions: beyond, more data does not shrink systematic error
_COMPARE = 60  # regions that two hypotheses are compared on
_RIVAL_OXIDES_NM = (90.0, 285.0)
_WRONG_OXIDE_NATS = 5.0  # prior odds that a user names a wrong oxide: 1 in 150
_RIVAL_SHARE = 0.02
_NOISE = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8])
_STEP = np.array([1.0, 1.0, 1.0, 1.0, 0.02, 0.02, 0.005, 0.02, 0.005])
_CAMERA_COLUMNS = (1, 2, 3, 4, 5, 7)
_DRAWS = 12
_WRONG_MATERIAL_NATS = 8.0  # twice that where both materials give the same numbers
_MIN_REGIONS_FOR_MATERIAL = 8
_COMMON_MATERIALS = ("graphene", "hBN", "MoS2", "WS2", "MoSe2", "WSe2")
_MIN_LOG_PRIOR = -10.0
_MAX_NOISE = 1.9
_MAX_OUTLIERS = 0.35
_SCREENED = 256
_STARTS = 4


@dataclass(frozen=True, eq=False)
class _Fit:
    """One mode: a local optimum under one hypothesis."""

    theta: FloatArray
    covariance: FloatArray
    occupancy: Occupancy
    noise: float
    log_posterior: float  # tempered to _COMPARE regions
    log_prior: float
    layers: IntArray  # most probable node per region; -1 outlier
    told_oxide: bool

    @property
    def log_evidence(self) -> float:
        """Laplace approximation up to a constant common to all modes."""
        return self.log_posterior + 0.5 * float(np.linalg.slogdet(self.covariance)[1])


@dataclass(frozen=True, eq=False)
class _Problem:
    """The colours of one setup under one model, prior and tone curve."""

    colours: Colours
    background: FloatArray
    model: LadderModel
    prior: Prior
    tone: ToneCurve

    def rungs(self, theta: FloatArray, noise: float) -> Rungs:
        node = self.model.encoded(theta[None], self.tone, self.background)[0]
        return Rungs(node, self.model.max_layers, noise)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """Differentiate the node colours, (K * 3, P), by forward differences in one batch."""
        batch = theta + np.vstack([np.zeros(len(theta)), np.diag(_STEP)])
        node = self.model.encoded(batch, self.tone, self.background).reshape(len(batch), -1)
        return (node[1:] - node[0]).T / _STEP

    def objective(self, theta: FloatArray, noise: float, occupancy: Occupancy, cap: int) -> float:
        """Log posterior, the data tempered as if there were at most `cap` regions."""
        density = joint_log_density(self.colours, self.rungs(theta, noise), occupancy)
        temper = min(1.0, cap / max(len(self.colours), 1))
        data = temper * float(np.sum(log_sum(density)))
        return data + float(self.prior.log_density(theta)) - 2 * float(np.log(noise)) ** 2


def calibrate(
    signals: Sequence[RegionSignal],
    backgrounds: Sequence[FloatArray],
    material: Material,
    stack: Stack,
    *,
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
    chosen = [_choose(Colours.of(s)) for s in signals]
    data = list(zip(chosen, backgrounds, strict=True))
    found = [[_explore(c, b, models, t) for t in tones] for c, b in data]
    found = _share_camera(found, data, models, tones)
    totals = [sum(_best(per_tone[i]) for per_tone in found) for i in range(len(tones))]
    best = int(np.argmax(totals))
    setups = tuple(
        _conclude(per_tone, best, c, b, models, tones)
        for per_tone, (c, b) in zip(found, data, strict=True)
    )
    provenance = {
        "version": __version__,
        "max_layers": max_layers,
        "na": na,
        "oxide_sd_nm": oxide_sd_nm,
        "tone_given": tone is not None,
    }
    return Calibration(material.name, str(stack), tones[best].name, NAMES, setups, provenance)


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    """A ladder model with its prior; the oxide is the one told, or a rival."""

    model: LadderModel
    prior: Prior
    told: bool


def _models(
    material: Material, stack: Stack, oxide_sd_nm: float, max_layers: int, na: float
) -> list[_Hypothesis]:
    """List the oxide as told, and the two common ones where they are far from it."""
    told = stack.oxide_nm
    if told is None:
        model = LadderModel(material, stack, (1, 1), max_layers=max_layers, na=na)
        return [_Hypothesis(model, Prior.default(oxide_nm=1.0, oxide_sd_nm=1e-3), told=True)]
    oxides = [(told, oxide_sd_nm)]
    on_silicon = stack.base.name == "Si" and len(stack.films) == 1
    if on_silicon:
        oxides += [(o, OXIDE_SD_NM) for o in _RIVAL_OXIDES_NM if abs(o - told) > 40]
    out = []
    for i, (oxide, sd) in enumerate(oxides):
        prior = Prior.default(oxide_nm=oxide, oxide_sd_nm=sd)
        span = (float(prior.low[0]), float(prior.high[0]))
        model = LadderModel(material, stack, span, max_layers=max_layers, na=na)
        out.append(_Hypothesis(model, prior, told=i == 0))
    return out


def _choose(colours: Colours) -> Colours:
    """At most `_MAX_REGIONS` rows, the same whatever the order of the input."""
    usable = np.flatnonzero(~colours.saturated.all(axis=1))
    order = usable[np.lexsort(colours.contrast[usable].T)]
    if len(order) > _MAX_REGIONS:
        order = order[np.linspace(0, len(order) - 1, _MAX_REGIONS).round().astype(int)]
    return colours.take(order)


def _explore(
    colours: Colours, background: FloatArray, hypotheses: list[_Hypothesis], tone: ToneCurve
) -> list[_Fit]:
    """Distinct optima of every hypothesis, best first."""
    fits = []
    for h in hypotheses:
        problem = _Problem(colours, background, h.model, h.prior, tone)
        fits += [_climb(problem, theta, h.told) for theta in _starts(problem)]
    return _distinct(fits)


def _starts(problem: _Problem) -> list[FloatArray]:
    """Pick the prior mean and the best of many prior draws: the posterior has several modes."""
    prior = problem.prior
    if len(problem.colours) == 0:
        return [prior.mean]
    z = np.random.default_rng(0).standard_normal((_SCREENED, len(prior.mean)))
    draws = np.clip(prior.mean + z * prior.sd, prior.low, prior.high)
    every = max(1, len(problem.colours) // 40)
    few = problem.colours.take(np.arange(0, len(problem.colours), every))
    nodes = problem.model.encoded(draws, problem.tone, problem.background)
    occupancy, layers = Occupancy(), problem.model.max_layers
    fit = [
        float(np.sum(log_sum(joint_log_density(few, Rungs(node, layers, 1.4), occupancy))))
        for node in nodes
    ]
    best = np.argsort(-(np.array(fit) + prior.log_density(draws)), kind="stable")[:_STARTS]
    return [prior.mean, *draws[best]]


def _other_materials(
    colours: Colours, background: FloatArray, told: _Hypothesis, tone: ToneCurve
) -> dict[str, _Fit]:
    """Fit the common materials other than the one that was told, on the same stack."""
    if len(colours) < _MIN_REGIONS_FOR_MATERIAL:
        return {}
    out = {}
    for name in _COMMON_MATERIALS:
        if name != told.model.material.name:
            model = told.model.of_material(load(name))
            found = _explore(colours, background, [replace(told, model=model)], tone)
            out[name] = found[0]
    return out


def _distinct(fits: list[_Fit]) -> list[_Fit]:
    kept: list[_Fit] = []
    for fit in sorted(fits, key=lambda f: -f.log_evidence):
        if all(
            fit.told_oxide != k.told_oxide
            or np.max(np.abs(fit.theta - k.theta) / (0.2 * np.abs(k.theta) + 0.05)) > 0.2
            for k in kept
        ):
            kept.append(fit)
    return kept


def _climb(problem: _Problem, theta: FloatArray, told: bool) -> _Fit:
    """EM with Gauss-Newton steps from `theta` to a local optimum."""
    occupancy, noise = Occupancy(), 1.0
    for widened in (2.5, 1.0):
        noise *= widened
        theta, occupancy, noise = _ascend(problem, theta, occupancy, noise, fix_noise=widened > 1)
        noise = noise / widened if widened > 1 else noise
    hessian, _ = _normal_equations(problem, theta, occupancy, noise)
    density = joint_log_density(problem.colours, problem.rungs(theta, noise), occupancy)
    node = density.argmax(axis=1)
    return _Fit(
        theta=theta,
        covariance=np.asarray(np.linalg.inv(hessian), float),
        occupancy=occupancy,
        noise=noise,
        log_posterior=problem.objective(theta, noise, occupancy, _COMPARE),
        log_prior=float(problem.prior.log_density(theta)),
        layers=np.where(node < density.shape[1] - 1, node, -1),
        told_oxide=told,
    )


def _ascend(
    problem: _Problem, theta: FloatArray, occupancy: Occupancy, noise: float, *, fix_noise: bool
) -> tuple[FloatArray, Occupancy, float]:
    value = problem.objective(theta, noise, occupancy, _TEMPER)
    for _ in range(12 if fix_noise else 30):
        before = value
        density = joint_log_density(problem.colours, problem.rungs(theta, noise), occupancy)
        responsibility = np.exp(density - log_sum(density)[:, None])
        occupancy = occupancy.updated(responsibility, problem.model.max_layers)
        if not fix_noise:
            scores = [problem.objective(theta, k, occupancy, _TEMPER) for k in _NOISE]
            noise = float(_NOISE[int(np.argmax(scores))])
        value = problem.objective(theta, noise, occupancy, _TEMPER)
        hessian, gradient = _normal_equations(problem, theta, occupancy, noise)
        theta, value = _line_search(
            problem,
            theta,
            np.asarray(np.linalg.solve(hessian, gradient), float),
            value,
            noise,
            occupancy,
        )
        if abs(value - before) < 0.01:
            break
    return theta, occupancy, noise


def _line_search(
    problem: _Problem,
    theta: FloatArray,
    step: FloatArray,
    value: float,
    noise: float,
    occupancy: Occupancy,
) -> tuple[FloatArray, float]:
    for scale in (1.0, 0.5, 0.2, 0.05):
        trial = np.clip(theta + scale * step, problem.prior.low, problem.prior.high)
        trial_value = problem.objective(trial, noise, occupancy, _TEMPER)
        if trial_value > value:
            return trial, trial_value
    return theta, value


def _normal_equations(
    problem: _Problem, theta: FloatArray, occupancy: Occupancy, noise: float
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Newton Hessian and gradient of the expected log posterior."""
    rungs = problem.rungs(theta, noise)
    density = joint_log_density(problem.colours, rungs, occupancy)
    responsibility = np.exp(density - log_sum(density)[:, None])[:, :-1, None]
    weight = responsibility * rungs.t_weight(problem.colours)
    temper = min(1.0, _TEMPER / max(len(problem.colours), 1))
    curvature = temper * weight.sum(axis=0).ravel()
    pull = temper * (weight * rungs.residual(problem.colours)).sum(axis=0).ravel()
    jacobian = problem.jacobian(theta)
    precision = 1 / problem.prior.sd**2
    hessian = (jacobian.T * curvature) @ jacobian + np.diag(precision)
    return hessian, jacobian.T @ pull - precision * (theta - problem.prior.mean)


def _best(fits: list[_Fit]) -> float:
    return max(f.log_evidence - (0.0 if f.told_oxide else _WRONG_OXIDE_NATS) for f in fits)


def _share_camera(
    found: list[list[list[_Fit]]],
    data: list[tuple[Colours, FloatArray]],
    hypotheses: list[_Hypothesis],
    tones: list[ToneCurve],
) -> list[list[list[_Fit]]]:
    """Refit each setup with the camera that the other setups found as its prior.

    A setup of few flakes alone was off by one layer and did not notice; the camera is the same
    in all setups, only lamp and exposure differ.
    """
    size = np.array([len(colours) for colours, _ in data], float)
    if np.count_nonzero(size >= 5) < 2:
        return found
    out = []
    for i, (colours, background) in enumerate(data):
        weight = np.where(np.arange(len(size)) == i, 0.0, np.minimum(size, _TEMPER))
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
            per_tone.append(_explore(colours, background, shared, tone))
        out.append(per_tone)
    return out


def _leader(fits: list[_Fit]) -> _Fit:
    """Pick the best fit with the oxide that was told."""
    return next(f for f in fits if f.told_oxide)


def _conclude(
    per_tone: list[list[_Fit]],
    best_tone: int,
    colours: Colours,
    background: FloatArray,
    hypotheses: list[_Hypothesis],
    tones: list[ToneCurve],
) -> SetupCalibration:
    told = [f for f in per_tone[best_tone] if f.told_oxide]
    leader = told[0]
    others = _other_materials(colours, background, hypotheses[0], tones[best_tone])
    reasons, refused = _doubts(per_tone, best_tone, hypotheses[0], tones, others)
    kept = [f for f in told if f.log_evidence > leader.log_evidence - 5][:3]
    share = np.exp([f.log_evidence - leader.log_evidence for f in kept])
    draws, weights = _draw(kept, share / share.sum(), hypotheses[0].prior)
    ladders = hypotheses[0].model.measured(draws, tones[best_tone], background)
    ladders = ladders[:, : hypotheses[0].model.max_layers]
    mean = np.tensordot(weights, ladders, axes=1)
    sd = np.sqrt(np.tensordot(weights, (ladders - mean) ** 2, axes=1))
    status: Status = "refused" if refused else "relative" if reasons else "ok"
    diagnostics = {
        "log_evidence": leader.log_evidence,
        "log_prior": leader.log_prior,
        "noise_scale": leader.noise,
        **{f"occupancy_{key}": value for key, value in asdict(leader.occupancy).items()},
    }
    n = len(colours)
    return SetupCalibration(
        background, mean, sd, draws, weights, status, tuple(reasons), n, diagnostics
    )


def _draw(fits: list[_Fit], share: FloatArray, prior: Prior) -> tuple[FloatArray, FloatArray]:
    """Weighted posterior draws; each mode's own optimum is among them."""
    rng = np.random.default_rng(0)
    draws, weights = [], []
    for fit, weight in zip(fits, share, strict=True):
        root = np.linalg.cholesky(fit.covariance)
        half = rng.standard_normal((_DRAWS // 2, len(fit.theta)))
        z = np.concatenate([half, -half])  # antithetic: the mean stays at the optimum
        draws.append(np.clip(fit.theta + z @ root.T, prior.low, prior.high))
        weights.append(np.full(len(z), weight / len(z)))
    return np.concatenate(draws), np.concatenate(weights)


def _doubts(
    per_tone: list[list[_Fit]],
    best_tone: int,
    told: _Hypothesis,
    tones: list[ToneCurve],
    others: dict[str, _Fit],
) -> tuple[list[str], bool]:
    """Say why absolute layer numbers cannot be given, and whether the fit is plainly wrong."""
    leader = _leader(per_tone[best_tone])
    if len(leader.layers) == 0:
        return [], False
    layers = told.model.max_layers
    rivals = _rival_doubts(per_tone, leader, layers, tones)
    grave = _misfit_doubts(leader, others, layers)
    grave += [text for text, wrong_oxide in rivals if wrong_oxide]
    doubts = [text for text, wrong_oxide in rivals if not wrong_oxide]
    doubts += _occupancy_doubts(leader, layers, tone_known=len(tones) == 1)
    return grave + doubts, bool(grave)


def _rival_doubts(
    per_tone: list[list[_Fit]], leader: _Fit, max_layers: int, tones: list[ToneCurve]
) -> list[tuple[str, bool]]:
    """Find other oxides or tone curves that number the flakes differently and fit no worse."""
    found = []
    for tone, fits in zip(tones, per_tone, strict=True):
        worst: dict[bool, tuple[float, _Fit]] = {}
        for f in fits:
            odds = f.log_evidence - leader.log_evidence - (0 if f.told_oxide else _WRONG_OXIDE_NATS)
            if odds > np.log(_RIVAL_SHARE) and _differ(leader, f, max_layers):
                worst[f.told_oxide] = max(worst.get(f.told_oxide, (odds, f)), (odds, f), key=_first)
        for odds, f in worst.values():
            what = f"a {tone.name} tone curve with a film of {f.theta[0]:.0f} nm"
            how = "better" if odds > 0 else "about as well"
            text = f"{what} explains the colours {how} and gives other layer numbers"
            found.append((text, odds > 0 and not f.told_oxide))
    return found


def _first(pair: tuple[float, _Fit]) -> float:
    return pair[0]


def _misfit_doubts(leader: _Fit, others: dict[str, _Fit], max_layers: int) -> list[str]:
    found = []
    seen = np.bincount(leader.layers[leader.layers >= 0])
    varied = np.count_nonzero(seen >= 2) >= 3  # one colour alone fits some layer of anything
    for name, fit in others.items():
        other_numbers = _differ(leader, fit, max_layers)
        needed = _WRONG_MATERIAL_NATS if other_numbers else 2 * _WRONG_MATERIAL_NATS
        if varied and fit.log_evidence - leader.log_evidence > needed:
            found.append(f"the colours fit {name} better: check the material")
    if leader.log_prior < _MIN_LOG_PRIOR:
        found.append("only a very unusual camera, lamp or film would show these colours")
    if leader.noise > _MAX_NOISE:
        found.append("the colours scatter too much around any ladder of this material")
    outliers = float(np.mean(leader.layers < 0))
    if outliers > _MAX_OUTLIERS:
        found.append(f"{outliers:.0%} of the regions have colours off this material's ladder")
    return found


def _occupancy_doubts(leader: _Fit, max_layers: int, *, tone_known: bool) -> list[str]:
    """Refuse what the ladder's occupation cannot decide: doubled and halved ladders."""
    count = np.bincount(leader.layers[leader.layers >= 0], minlength=max_layers)[:max_layers]
    odd, even = count[0::2].sum(), count[1::2].sum()
    found = []
    if even >= 10 and odd < 0.1 * even and np.count_nonzero(count[1::2] >= 2) > 1:
        found.append("only even layer numbers: the ladder may be doubled")
    consecutive = np.any((count[:-1] >= 2) & (count[1:] >= 2))
    decided = consecutive and np.count_nonzero(count >= max(1, 0.08 * count.sum())) >= 3
    if not tone_known and count.sum() > 0 and not decided:
        found.append(
            "the camera's tone curve is unknown and too few layer numbers are seen to tell it: "
            "give --tone linear or --tone srgb"
        )
    return found


def _differ(one: _Fit, other: _Fit, max_layers: int) -> bool:
    """Whether two fits number the thin regions differently."""
    thin = (one.layers >= 0) & (one.layers < max_layers)
    if not thin.any():
        return False
    return float(np.mean(one.layers[thin] != other.layers[thin])) > 0.2
