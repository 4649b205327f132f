"""The small residual network of the AMM head: training and inference in numpy.

3 contrasts -> 16 -> four residual blocks h + ELU(W h + b) -> 16-d embedding (-> class scores while
training). Each weight matrix is held at a spectral norm of at most 0.5, so that no block stretches
or folds space by more than 0.5 to 1.5: what is far in colour stays far in the embedding, and a
distance there can say "unknown" (Mukhoti et al., CVPR 2023, arXiv 2102.11582; Uslu et al.,
Digital Discovery 4, 3744 (2025)).

There is one trainer, without torch: the network has 1.2 thousand parameters, its gradient is 30
lines, and the tests check it against finite differences and against torch. Measured on one core:
600 steps of 256 samples take 0.2 s here and 0.8 s in torch 2.13, 100 steps of the published
10 000 samples 0.9 and 0.8 s. More or larger steps than 600 x 256 gained nothing (held-out accuracy
within 0.001 up to 1500 x 512, and less with 6 % wrong labels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerscope.core.results import FloatArray, IntArray

WIDTH = 16
N_BLOCKS = 4
_POWER_STEPS = 5

Single = npt.NDArray[np.float32]
Pull = Callable[[npt.NDArray[Any]], Single]
Draw = Callable[[np.random.Generator], tuple[FloatArray, IntArray]]


@dataclass(frozen=True)
class Network:
    """Weights as used: already divided by their spectral norm.

    Attributes
    ----------
    centre, scale : ndarray, (3,)
        Contrast is standardised with them first.
    first, first_bias : ndarray, (16, 3) and (16,)
    blocks, block_biases : ndarray, (B, 16, 16) and (B, 16)
    """

    centre: FloatArray
    scale: FloatArray
    first: FloatArray
    first_bias: FloatArray
    blocks: FloatArray
    block_biases: FloatArray

    def embed(self, contrast: FloatArray) -> FloatArray:
        """Embedding (n, 16) of `contrast` (n, 3)."""
        h = (contrast - self.centre) / self.scale @ self.first.T + self.first_bias
        for weight, bias in zip(self.blocks, self.block_biases, strict=True):
            h = h + _elu(h @ weight.T + bias)
        return np.asarray(h, float)

    def slope(self, contrast: FloatArray) -> FloatArray:
        """Return the exact derivative (n, 16, 3) of the embedding with respect to contrast."""
        h = (contrast - self.centre) / self.scale @ self.first.T + self.first_bias
        tangent = np.broadcast_to(self.first / self.scale, (len(h), WIDTH, 3))
        for weight, bias in zip(self.blocks, self.block_biases, strict=True):
            a = h @ weight.T + bias
            steep = np.where(a > 0, 1.0, np.exp(np.minimum(a, 0)))
            tangent = tangent + steep[:, :, None] * (weight @ tangent)
            h = h + _elu(a)
        return np.asarray(tangent, float)


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Attributes
    ----------
    steps, batch : int
        Adam steps and samples per step, equally many of each class.
    learning_rate : float
        Falls to zero along a half cosine.
    dropout : float
        Share of each residual that is dropped.
    spectral_norm : float or None
        Upper bound of each weight's spectral norm; None leaves weights free.
    """

    steps: int = 600
    batch: int = 256
    learning_rate: float = 0.01
    dropout: float = 0.1
    spectral_norm: float | None = 0.5


def train_network(
    draw: Draw,
    n_classes: int,
    centre: FloatArray,
    scale: FloatArray,
    *,
    schedule: Schedule,
    rng: np.random.Generator,
) -> Network:
    """Train with cross-entropy and Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1).

    Parameters
    ----------
    draw : callable
        ``draw(rng)`` -> contrast (b, 3) and class index (b,): one balanced batch.
    n_classes : int
    centre, scale : ndarray, (3,)
        Standardise the contrast.
    schedule : Schedule
    rng : numpy.random.Generator
        All randomness of the training.
    """
    weights = _Weights.start(n_classes, rng)
    first, second = np.zeros_like(weights.flat), np.zeros_like(weights.flat)
    for step in range(1, schedule.steps + 1):
        contrast, index = draw(rng)
        x = ((contrast - centre) / scale).astype(np.float32)
        keep = _dropout_mask(len(x), schedule.dropout, rng)
        gradient = weights.gradient(x, index, keep, schedule.spectral_norm)
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        rate = schedule.learning_rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / schedule.steps))
        unbiased = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        weights.flat -= np.float32(rate / (1 - 0.9**step)) * first / unbiased
    return weights.frozen(centre, scale, schedule.spectral_norm)


def _elu(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(a > 0, a, np.expm1(np.minimum(a, 0)))


def _dropout_mask(n: int, share: float, rng: np.random.Generator) -> Single | None:
    if share <= 0:
        return None
    kept = rng.random((N_BLOCKS, n, WIDTH), np.float32) >= share
    return kept.astype(np.float32) / np.float32(1 - share)


class _Weights:
    """Raw weights as views of one flat vector, so that Adam is one line."""

    def __init__(self, flat: Single, n_classes: int, u: list[Single]):
        self.flat = flat
        self.n_classes = n_classes
        self.u = u  # left singular vectors, kept from step to step: power iteration starts warm
        self.first, self.first_bias, self.blocks, self.block_biases, self.last, self.last_bias = (
            self._views(flat)
        )

    @classmethod
    def start(cls, n_classes: int, rng: np.random.Generator) -> _Weights:
        """Uniform within 1/sqrt(fan in), weights and biases alike."""
        size = WIDTH * 4 + N_BLOCKS * WIDTH * (WIDTH + 1) + n_classes * (WIDTH + 1)
        u = [rng.standard_normal(WIDTH).astype(np.float32) for _ in range(N_BLOCKS + 1)]
        new = cls(rng.uniform(-1, 1, size).astype(np.float32), n_classes, u)
        new.flat[: WIDTH * 4] /= np.sqrt(3)
        new.flat[WIDTH * 4 :] /= np.sqrt(WIDTH)
        return new

    def _views(self, flat: Single) -> list[Single]:
        shapes = [(WIDTH, 3), (WIDTH,), (N_BLOCKS, WIDTH, WIDTH), (N_BLOCKS, WIDTH)]
        shapes += [(self.n_classes, WIDTH), (self.n_classes,)]
        ends = np.cumsum([int(np.prod(s)) for s in shapes])
        return [p.reshape(s) for p, s in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

    def frozen(self, centre: FloatArray, scale: FloatArray, bound: float | None) -> Network:
        """Weights divided by their exact spectral norm where it is over `bound`."""

        def within(raw: Single) -> FloatArray:
            weight = raw.astype(float)
            norm = float(np.linalg.svd(weight, compute_uv=False)[0])
            return weight if bound is None else weight / max(1.0, norm / bound)

        blocks = np.array([within(b) for b in self.blocks])
        first_bias, block_biases = self.first_bias.astype(float), self.block_biases.astype(float)
        return Network(centre, scale, within(self.first), first_bias, blocks, block_biases)

    def gradient(
        self, x: Single, index: IntArray, keep: Single | None, bound: float | None
    ) -> Single:
        """Gradient of the mean cross-entropy of batch `x` (b, 3) with classes `index` (b,)."""
        scaled = [self._normalise(i, w, bound) for i, w in enumerate([self.first, *self.blocks])]
        h, passed = x @ scaled[0][0].T + self.first_bias, []
        for i in range(N_BLOCKS):
            a = h @ scaled[i + 1][0].T + self.block_biases[i]
            e = _elu(a)
            m: Single = np.ones_like(a) if keep is None else keep[i]
            steep: Single = np.where(a > 0, np.float32(1), e + np.float32(1)) * m
            passed.append((h, steep))
            h = h + e * m
        score = h @ self.last.T + self.last_bias
        score = np.exp(score - score.max(axis=1, keepdims=True))
        score /= score.sum(axis=1, keepdims=True)
        score[np.arange(len(x)), index] -= 1
        score /= np.float32(len(x))
        return self._backward(x, h, score, passed, scaled)

    def _backward(
        self,
        x: Single,
        h: Single,
        error: Single,
        passed: list[tuple[Single, Single]],
        scaled: list[tuple[Single, Pull]],
    ) -> Single:
        out = np.empty_like(self.flat)
        first, first_bias, blocks, block_biases, last, last_bias = self._views(out)
        last[:], last_bias[:] = error.T @ h, error.sum(axis=0)
        back: Single = error @ self.last
        for i in reversed(range(N_BLOCKS)):
            before, steep = passed[i]
            inner: Single = back * steep
            blocks[i] = scaled[i + 1][1](inner.T @ before)
            block_biases[i] = inner.sum(axis=0)
            back = back + inner @ scaled[i + 1][0]
        first[:], first_bias[:] = scaled[0][1](back.T @ x), back.sum(axis=0)
        return out

    def _normalise(self, i: int, weight: Single, bound: float | None) -> tuple[Single, Pull]:
        """Weight within `bound`, and the map of its gradient to that of the raw weight.

        Miyato et al., ICLR 2018 (arXiv 1802.05957), eq. 12, with a bound other than one.
        """
        if bound is None:
            return weight, lambda g: g
        u = self.u[i]
        for _ in range(_POWER_STEPS):
            v = weight.T @ u
            v /= np.sqrt(v @ v) + np.float32(1e-12)
            u = weight @ v
            norm = np.sqrt(u @ u)
            u = u / (norm + np.float32(1e-12))
        self.u[i] = u
        if norm <= bound:
            return weight, lambda g: g
        shrink = np.float32(bound / norm)
        direction = np.outer(u, v)
        return weight * shrink, lambda g: shrink * (g - np.vdot(g, weight) / norm * direction)
