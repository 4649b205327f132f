"""The residual network: gradients by finite differences and by torch, bounds, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest

from layerscope.models.network import (
    N_BLOCKS,
    WIDTH,
    Schedule,
    _dropout_mask,
    _Weights,
    train_network,
)

CENTRES = np.array([[0, 0, 0], [-0.1, -0.2, 0.1], [-0.3, -0.3, 0.2]])


def _weights(seed=0, n_classes=3, grown=2.0):
    weights = _Weights.start(n_classes, np.random.default_rng(seed))
    weights.flat[:] = weights.flat.astype(np.float32) * grown
    return weights


def _batch(n=40, seed=1):
    rng = np.random.default_rng(seed)
    index = np.arange(n) % 3
    return (rng.standard_normal((n, 3)) + index[:, None]).astype(np.float32), index


def _loss(flat, x, index, bound, keep=None):
    """Cross-entropy in double precision with exact spectral norms, written out plainly."""
    sizes = [(WIDTH, 3), (WIDTH,), (N_BLOCKS, WIDTH, WIDTH), (N_BLOCKS, WIDTH), (3, WIDTH), (3,)]
    parts = np.split(flat, np.cumsum([np.prod(s) for s in sizes])[:-1])
    first, b, blocks, bb, last, lb = (p.reshape(s) for p, s in zip(parts, sizes, strict=True))

    def held(w):
        return w if bound is None else w / max(1.0, np.linalg.norm(w, 2) / bound)

    h = x @ held(first).T + b
    for i in range(N_BLOCKS):
        a = h @ held(blocks[i]).T + bb[i]
        h = h + np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1) * (1 if keep is None else keep[i])
    score = h @ last.T + lb
    return np.mean(np.log(np.exp(score).sum(1)) - score[np.arange(len(x)), index])


@pytest.mark.parametrize("bound", [None, 0.5, 3.0])
@pytest.mark.parametrize("dropped", [False, True])
def test_gradient_equals_finite_differences(bound, dropped):
    weights = _weights()
    x, index = _batch()
    keep = None
    if dropped:
        rng = np.random.default_rng(2)
        keep = (rng.random((N_BLOCKS, len(x), WIDTH)) > 0.1).astype(np.float32) / np.float32(0.9)
    for _ in range(200):  # lets power iteration settle on the first singular vectors
        got = weights.gradient(x, index, keep, bound)
    flat = weights.flat.astype(float)
    for at in np.random.default_rng(3).choice(len(flat), 60, replace=False):
        step = np.zeros_like(flat)
        step[at] = 1e-5
        high = _loss(flat + step, x.astype(float), index, bound, keep)
        low = _loss(flat - step, x.astype(float), index, bound, keep)
        assert got[at] == pytest.approx((high - low) / 2e-5, abs=2e-5, rel=2e-3)


def test_slope_of_the_embedding_equals_finite_differences():
    network = _weights(4).frozen(np.array([0.1, 0, 0]), np.array([0.1, 0.2, 0.3]), 0.5)
    x = np.random.default_rng(5).normal(0, 0.3, (20, 3))
    slope = network.slope(x)
    assert slope.shape == (20, WIDTH, 3)
    for c in range(3):
        step = np.eye(3)[c] * 1e-6
        numeric = (network.embed(x + step) - network.embed(x - step)) / 2e-6
        np.testing.assert_allclose(slope[:, :, c], numeric, atol=1e-6)


@pytest.mark.parametrize("bound", [0.5, 0.9])
def test_spectral_norms_hold_and_distances_are_kept(bound):
    """|f(a) - f(b)| is within (1 - c)^4 and (1 + c)^4 of the first layer's distance."""
    network = _weights(6, grown=5).frozen(np.zeros(3), np.ones(3), bound)
    for w in [network.first, *network.blocks]:
        assert np.linalg.norm(w, 2) <= bound * (1 + 1e-9)
    a, b = np.random.default_rng(7).normal(0, 2, (2, 300, 3))
    start = np.linalg.norm((a - b) @ network.first.T, axis=1)
    end = np.linalg.norm(network.embed(a) - network.embed(b), axis=1)
    assert np.all(end <= start * (1 + bound) ** N_BLOCKS + 1e-9)
    assert np.all(end >= start * (1 - bound) ** N_BLOCKS - 1e-9)


def _train(seed, **changes):
    index = np.resize(np.arange(3), 120)

    def draw(rng):
        return CENTRES[index] + rng.normal(0, 0.02, (120, 3)), index

    rng = np.random.default_rng(seed)
    plan = Schedule(steps=80, batch=120, **changes)
    return train_network(draw, 3, CENTRES.mean(0), np.full(3, 0.15), schedule=plan, rng=rng)


def test_training_separates_and_repeats_itself():
    one, two, other = _train(1), _train(1), _train(2)
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(two, name))
    assert not np.array_equal(one.blocks, other.blocks)
    rng = np.random.default_rng(3)
    clouds = [one.embed(c + rng.normal(0, 0.02, (200, 3))) for c in CENTRES]
    centres = np.array([c.mean(0) for c in clouds])
    for k, cloud in enumerate(clouds):
        nearest = np.linalg.norm(cloud[:, None] - centres, axis=2).argmin(1)
        assert np.mean(nearest == k) > 0.99


def test_dropout_keeps_the_mean_and_can_be_switched_off():
    mask = _dropout_mask(2000, 0.1, np.random.default_rng(0))
    assert mask.mean() == pytest.approx(1, abs=0.01)
    assert np.mean(mask == 0) == pytest.approx(0.1, abs=0.01)
    assert _dropout_mask(10, 0, np.random.default_rng(0)) is None
    assert not np.array_equal(_train(1).blocks, _train(1, dropout=0.0).blocks)


def test_spectral_norm_can_be_switched_off():
    free = _train(1, spectral_norm=None)
    held = _train(1)
    assert max(np.linalg.norm(w, 2) for w in free.blocks) > 0.6
    assert max(np.linalg.norm(w, 2) for w in held.blocks) <= 0.5 + 1e-9


def test_embedding_and_gradient_equal_torch():
    torch = pytest.importorskip("torch")
    weights = _weights(8)
    network = weights.frozen(np.zeros(3), np.ones(3), 0.5)
    x, index = _batch(64, 9)

    def embed(points, first, first_bias, blocks, biases):
        h = points @ first.T + first_bias
        for w, b in zip(blocks, biases, strict=True):
            h = h + torch.nn.functional.elu(h @ w.T + b)
        return h

    frozen = [torch.tensor(v) for v in list(vars(network).values())[2:]]
    theirs = embed(torch.tensor(x.astype(float)), *frozen).numpy()
    np.testing.assert_allclose(network.embed(x.astype(float)), theirs, atol=1e-5)

    raw = [torch.tensor(v.astype(float), requires_grad=True) for v in weights._views(weights.flat)]
    first, first_bias, blocks, biases, last, last_bias = raw
    held = [w / torch.clamp(torch.linalg.matrix_norm(w, 2) / 0.5, min=1) for w in [first, *blocks]]
    h = embed(torch.tensor(x.astype(float)), held[0], first_bias, held[1:], biases)
    torch.nn.functional.cross_entropy(h @ last.T + last_bias, torch.tensor(index)).backward()
    for _ in range(200):
        got = weights.gradient(x, index, None, 0.5)
    expected = np.concatenate([p.grad.numpy().ravel() for p in raw])
    np.testing.assert_allclose(got, expected, atol=1e-5)
