"""Fit the microscope to the colours of one setup, under one hypothesis at a time.

EM over which region is which node, with Gauss-Newton steps on the parameters; several starts,
because the posterior has several modes. One fit of 160 regions takes about 50 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerscope.core.results import BoolArray, FloatArray, IntArray
from layerscope.ops.tone import ToneCurve
from layerscope.physics.ladder import LadderModel, Prior
from layerscope.physics.mixture import (
    Colours,
    Nodes,
    Occupancy,
    Rungs,
    is_bulk,
    joint_log_density,
    log_sum,
)

TEMPER = 120
"""Regions beyond which more data does not shrink systematic error."""

_COMPARE = 60  # regions that two hypotheses are compared on
_NOISE = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8])
_STEP = np.array([1.0, 1.0, 1.0, 1.0, 0.02, 0.02, 0.005, 0.02, 0.005])
_SCREENED = 256
_STARTS = 4
_REACH_DRAWS = 48
_REACH_NATS = 1.0  # log density per unit contrast cubed, that of an outlier is 0


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A ladder model with its prior; the oxide is the one told, or a rival."""

    model: LadderModel
    prior: Prior
    told: bool


@dataclass(frozen=True, eq=False)
class Fit:
    """One mode: a local optimum under one hypothesis.

    Attributes
    ----------
    theta, covariance : ndarray, (P,), (P, P)
    occupancy : Occupancy
    noise : float
    log_posterior : float
        Tempered to `_COMPARE` regions, so that fits to many regions can be compared.
    log_prior : float
    node : ndarray of int, (n,)
        Most probable node per region; -1 for residue, -2 for an outlier.
    told_oxide : bool
        Whether the prior is around the oxide that the user named.
    """

    theta: FloatArray
    covariance: FloatArray
    occupancy: Occupancy
    noise: float
    log_posterior: float
    log_prior: float
    node: IntArray
    told_oxide: bool

    @property
    def log_evidence(self) -> float:
        """Laplace approximation up to a constant common to all modes."""
        return self.log_posterior + 0.5 * float(np.linalg.slogdet(self.covariance)[1])


@dataclass(frozen=True, eq=False)
class Problem:
    """The colours of one setup under one model, prior and tone curve."""

    colours: Colours
    background: FloatArray
    model: LadderModel
    prior: Prior
    tone: ToneCurve

    def rungs(self, theta: FloatArray, noise: float) -> Rungs:
        """Colours of the nodes for parameters `theta` (P,)."""
        node = self.model.encoded(theta[None], self.tone, self.background)[0]
        return Rungs(node, self.model.nodes, noise)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """Differentiate the node colours, (K * 3, P), by forward differences in one batch."""
        batch = theta + np.vstack([np.zeros(len(theta)), np.diag(_STEP)])
        node = self.model.encoded(batch, self.tone, self.background)
        node[:, self.model.nodes.kinds[2]] = 0.0  # residue must not bend the camera
        flat = node.reshape(len(batch), -1)
        return (flat[1:] - flat[0]).T / _STEP

    def occupancy(self, theta: FloatArray, noise: float, start: Occupancy) -> Occupancy:
        """How often each node occurs among the colours, for parameters that stay as they are."""
        found = start
        for _ in range(8):
            density = joint_log_density(self.colours, self.rungs(theta, noise), found)
            share = np.exp(density - log_sum(density)[:, None])
            found = found.updated(share, self.model.nodes)
        return found

    def objective(self, theta: FloatArray, noise: float, occupancy: Occupancy, cap: int) -> float:
        """Log posterior, the data tempered as if there were at most `cap` regions."""
        density = joint_log_density(self.colours, self.rungs(theta, noise), occupancy)
        temper = min(1.0, cap / max(len(self.colours), 1))
        data = temper * float(np.sum(log_sum(density)))
        return data + float(self.prior.log_density(theta)) - 2 * float(np.log(noise)) ** 2


def explore(
    colours: Colours, background: FloatArray, hypotheses: list[Hypothesis], tone: ToneCurve
) -> list[Fit]:
    """Distinct optima of every hypothesis, best first."""
    fits = []
    for h in hypotheses:
        problem = Problem(colours, background, h.model, h.prior, tone)
        fits += [_climb(problem, theta, h.told) for theta in _starts(problem)]
    return _distinct(fits)


def in_reach(
    colours: Colours,
    background: FloatArray,
    hypotheses: Sequence[Hypothesis],
    tones: Sequence[ToneCurve],
) -> BoolArray:
    """Which colours some plausible camera would see on 1..N layers, (n,).

    Bulk crystals teach little of the camera, and their colours are known worst: graphite fitted
    to a few per cent stretched the ladder of real flakes from 2 layers to 3, and bulk WS2 was read
    as 5 layers. Whatever is brighter than the substrate in every channel counts as bulk here.
    Transparent crystals keep it: interference colours are the ruler there.
    """
    if hypotheses[0].model.is_transparent:
        return np.ones(len(colours), bool)
    near = np.zeros(len(colours), bool)
    for h in hypotheses:
        theta = np.concatenate([h.prior.mean[None], _prior_draws(h.prior, _REACH_DRAWS)])
        for tone in tones:
            node = h.model.encoded(theta, tone, background)[:, h.model.nodes.kinds[0]]
            rungs = Rungs(node.reshape(-1, 3), Nodes(node.shape[0] * node.shape[1], 0, 0), 1.0)
            near |= rungs.log_likelihood(colours).max(axis=1, initial=-np.inf) > _REACH_NATS
    return (near & ~is_bulk(colours)) | (colours.known > 0)


def _prior_draws(prior: Prior, count: int) -> FloatArray:
    z = np.random.default_rng(0).standard_normal((count, len(prior.mean)))
    return np.clip(prior.mean + z * prior.sd, prior.low, prior.high)


def _starts(problem: Problem) -> list[FloatArray]:
    """Pick the prior mean and the best of many prior draws: the posterior has several modes."""
    prior = problem.prior
    if len(problem.colours) == 0:
        return [prior.mean]
    draws = _prior_draws(prior, _SCREENED)
    every = max(1, len(problem.colours) // 40)
    few = problem.colours.take(np.arange(0, len(problem.colours), every))
    nodes = problem.model.encoded(draws, problem.tone, problem.background)
    occupancy, kinds = Occupancy(), problem.model.nodes
    fit = [
        float(np.sum(log_sum(joint_log_density(few, Rungs(node, kinds, 1.4), occupancy))))
        for node in nodes
    ]
    best = np.argsort(-(np.array(fit) + prior.log_density(draws)), kind="stable")[:_STARTS]
    return [prior.mean, *draws[best]]


def _distinct(fits: list[Fit]) -> list[Fit]:
    kept: list[Fit] = []
    for fit in sorted(fits, key=lambda f: -f.log_evidence):
        if all(
            fit.told_oxide != k.told_oxide
            or np.max(np.abs(fit.theta - k.theta) / (0.2 * np.abs(k.theta) + 0.05)) > 0.2
            for k in kept
        ):
            kept.append(fit)
    return kept


def _climb(problem: Problem, theta: FloatArray, told: bool) -> Fit:
    """EM with Gauss-Newton steps from `theta` to a local optimum."""
    occupancy, noise = Occupancy(), 1.0
    for widened in (2.5, 1.0):
        noise *= widened
        theta, occupancy, noise = _ascend(problem, theta, occupancy, noise, fix_noise=widened > 1)
        noise = noise / widened if widened > 1 else noise
    hessian, _ = _normal_equations(problem, theta, occupancy, noise)
    density = joint_log_density(problem.colours, problem.rungs(theta, noise), occupancy)
    node = density.argmax(axis=1)
    residue = problem.model.nodes.kinds[2]
    node = np.where(node >= residue.stop, -2, np.where(node >= residue.start, -1, node))
    return Fit(
        theta=theta,
        covariance=np.asarray(np.linalg.inv(hessian), float),
        occupancy=occupancy,
        noise=noise,
        log_posterior=problem.objective(theta, noise, occupancy, _COMPARE),
        log_prior=float(problem.prior.log_density(theta)),
        node=node,
        told_oxide=told,
    )


def _ascend(
    problem: Problem, theta: FloatArray, occupancy: Occupancy, noise: float, *, fix_noise: bool
) -> tuple[FloatArray, Occupancy, float]:
    value = problem.objective(theta, noise, occupancy, TEMPER)
    for _ in range(12 if fix_noise else 30):
        before = value
        density = joint_log_density(problem.colours, problem.rungs(theta, noise), occupancy)
        responsibility = np.exp(density - log_sum(density)[:, None])
        occupancy = occupancy.updated(responsibility, problem.model.nodes)
        if not fix_noise:
            scores = [problem.objective(theta, k, occupancy, TEMPER) for k in _NOISE]
            noise = float(_NOISE[int(np.argmax(scores))])
        value = problem.objective(theta, noise, occupancy, TEMPER)
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
    problem: Problem,
    theta: FloatArray,
    step: FloatArray,
    value: float,
    noise: float,
    occupancy: Occupancy,
) -> tuple[FloatArray, float]:
    for scale in (1.0, 0.5, 0.2, 0.05):
        trial = np.clip(theta + scale * step, problem.prior.low, problem.prior.high)
        trial_value = problem.objective(trial, noise, occupancy, TEMPER)
        if trial_value > value:
            return trial, trial_value
    return theta, value


def _normal_equations(
    problem: Problem, theta: FloatArray, occupancy: Occupancy, noise: float
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Newton Hessian and gradient of the expected log posterior."""
    rungs = problem.rungs(theta, noise)
    density = joint_log_density(problem.colours, rungs, occupancy)
    responsibility = np.exp(density - log_sum(density)[:, None])[:, :-1]
    weight = responsibility * rungs.t_weight(problem.colours)
    temper = min(1.0, TEMPER / max(len(problem.colours), 1))
    curvature = temper * weight.sum(axis=1).T.ravel()
    pull = temper * (weight * rungs.residual(problem.colours)).sum(axis=1).T.ravel()
    jacobian = problem.jacobian(theta)
    precision = 1 / problem.prior.sd**2
    hessian = (jacobian.T * curvature) @ jacobian + np.diag(precision)
    return hessian, jacobian.T @ pull - precision * (theta - problem.prior.mean)
