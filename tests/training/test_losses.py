"""Losses against their formulas, and the laws that all of them keep."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from layerscope.core.examples import IGNORE  # noqa: E402
from layerscope.errors import InputError, UnknownName  # noqa: E402
from layerscope.training.losses import (  # noqa: E402
    LOSSES,
    Bce,
    BceDice,
    ByClass,
    CrossEntropy,
    Dice,
    Focal,
    MeanAbsolute,
    MeanSquare,
    Tversky,
    build_loss,
)

torch.set_num_threads(1)
MAPS = ("mse", "l1")
CLASSES = [name for name in sorted(LOSSES) if name not in MAPS]


def example(seed=0, outputs=3, shape=(2, 8, 9)):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, (shape[0], outputs, *shape[1:])).astype(np.float32))
    return logits, torch.from_numpy(rng.integers(0, outputs, shape))


def one_hot(target, outputs):
    return torch.nn.functional.one_hot(target, outputs).movedim(-1, 1).float()


def test_bce_is_torchs():
    logits, target = example()
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, one_hot(target, 3))
    assert Bce("sigmoid")(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_cross_entropy_is_torchs():
    logits, target = example()
    weights = (0.2, 1.0, 3.0)
    wanted = torch.nn.functional.cross_entropy(logits, target, torch.tensor(weights))
    assert CrossEntropy(weights)(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)


def chances(logits, activation):
    """Probabilities (C, M) in double precision."""
    scores = logits.double().numpy().transpose(1, 0, 2, 3).reshape(logits.shape[1], -1)
    raised = np.exp(scores)
    return raised / raised.sum(0) if activation == "softmax" else raised / (1 + raised)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_regions_are_as_published(activation):
    """Written out in numpy; MONAI 1.6.1 agreed with both to 1e-5 when these were written."""
    logits, target = example()
    p, t = chances(logits, activation), np.stack([target.numpy().ravel() == c for c in range(3)])
    both, more, less = (p * t).sum(1), (p * ~t).sum(1), ((1 - p) * t).sum(1)
    dice = np.mean(1 - (2 * both + 1) / (2 * both + more + less + 1))
    assert Dice(activation)(logits, target).item() == pytest.approx(dice, rel=1e-5)
    tversky = np.mean(1 - (both + 0.5) / (both + 0.8 * more + 0.2 * less + 0.5))
    assert Tversky(activation, 0.8, 0.2)(logits, target).item() == pytest.approx(tversky, rel=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_is_as_published(alpha):
    """Eq. 5 of the paper; MONAI 1.6.1 agreed to 1e-4."""
    logits, target = example()
    p, t = chances(logits, "sigmoid"), np.stack([target.numpy().ravel() == c for c in range(3)])
    right = np.where(t, p, 1 - p)
    weight = 1.0 if alpha is None else np.where(t, alpha, 1 - alpha)
    wanted = np.mean(-weight * (1 - right) ** 2 * np.log(right))
    assert Focal("sigmoid", 2.0, alpha)(logits, target).item() == pytest.approx(wanted, rel=1e-4)


def test_tversky_in_closed_form():
    """Half the pixels sure and right, a quarter sure false positives, a quarter misses."""
    logits = torch.tensor([40.0, 40.0, 40.0, -40.0]).reshape(1, 1, 1, 4)
    target = torch.tensor([1, 1, 0, 1]).reshape(1, 1, 4)
    found = Tversky("sigmoid", 0.8, 0.2, 0.0)(logits, target)
    assert found.item() == pytest.approx(1 - 2 / (2 + 0.8 + 0.2), rel=1e-5)


def test_bce_dice_is_the_weighted_sum():
    logits, target = example()
    parts = 0.7 * Bce()(logits, target) + 0.3 * Dice()(logits, target)
    assert BceDice()(logits, target).item() == pytest.approx(parts.item(), rel=1e-5)


def test_another_loss_for_one_class():
    logits, target = example()
    mixed = ByClass("sigmoid", {1: Tversky(alpha=0.8, beta=0.2)}, BceDice(), {2: 2.0})
    one = [slice(None), slice(1, 2)], (target == 1).long()
    parts = [
        BceDice("sigmoid")(logits[:, :1], (target == 0).long()),
        Tversky("sigmoid", 0.8, 0.2)(logits[tuple(one[0])], one[1]),
        2 * BceDice("sigmoid")(logits[:, 2:], (target == 2).long()),
    ]
    assert mixed(logits, target).item() == pytest.approx(sum(parts).item() / 4, rel=1e-5)


def test_errors_of_maps():
    logits, target = torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2, 2), 3.0)
    target[0, 0] = IGNORE
    assert MeanSquare()(logits, target).item() == 9
    assert MeanAbsolute()(logits, target).item() == 3


@pytest.mark.parametrize("name", sorted(LOSSES))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_pixels_that_nobody_labelled_teach_nothing(name, seed, share):
    logits, target = example(seed)
    hidden = torch.from_numpy(np.random.default_rng(seed).random(target.shape) < share)
    if name in MAPS:
        target = one_hot(target, 3)
        hidden = hidden[:, None].expand_as(target)
    target = torch.where(hidden, IGNORE, target)
    loss = build_loss(name)
    where = hidden if name in MAPS else hidden[:, None].expand_as(logits)
    other = torch.where(where, logits + 5, logits)
    free = logits.clone().requires_grad_()
    value = loss(free, target)
    value.backward()
    assert math.isfinite(value.item())
    assert loss(other, target).item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6)
    assert not free.grad[where].any()
    assert torch.isfinite(free.grad).all()


@pytest.mark.parametrize("name", CLASSES)
def test_being_right_costs_less(name):
    _, target = example()
    loss = build_loss(name)
    right = 12 * one_hot(target, 3) - 6
    assert loss(right, target) < 0.05 < loss(-right, target)


@pytest.mark.parametrize("name", CLASSES)
def test_sure_and_wrong_still_has_a_gradient(name):
    _, target = example()
    wrong = (-60 * one_hot(target, 3)).requires_grad_()
    loss = build_loss(name)(wrong, target)
    loss.backward()
    assert math.isfinite(loss.item())
    assert wrong.grad.isfinite().all()
    if name not in ("dice", "tversky"):  # of those the gradient vanishes with the probability
        assert wrong.grad.abs().max() > 1e-5


def test_one_map_per_output_and_binary():
    logits, target = example(outputs=1)
    target = torch.from_numpy(np.random.default_rng(1).integers(0, 2, target.shape))
    for name in ("bce", "dice", "bce+dice", "focal", "tversky"):
        loss = build_loss(name, activation="sigmoid")
        maps = loss(logits, target[:, None].float())
        assert maps.item() == pytest.approx(loss(logits, target).item(), rel=1e-6)


def test_half_precision_is_computed_in_full():
    logits, target = example()
    for name in CLASSES:
        loss = build_loss(name)
        assert loss(logits.half(), target).dtype == torch.float32


def test_bad_parameters_are_refused():
    with pytest.raises(UnknownName, match="dice"):
        build_loss("dyce")
    with pytest.raises(InputError, match="takes activation, alpha"):
        build_loss("tversky", gamma=1)
    with pytest.raises(InputError, match="from 0"):
        build_loss("tversky", alpha=-1)
    with pytest.raises(InputError, match="softmax"):
        build_loss("bce", activation="relu")
