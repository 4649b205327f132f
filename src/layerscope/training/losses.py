"""Losses by name: ``build_loss("bce+dice")(logits, target)``.

Every loss takes logits (N, C, H, W) and a target, either classes (N, H, W) of integers or one map
per output (N, C, H, W) of floats from 0 to 1. Pixels of value `IGNORE` (255) teach nothing, in
either. The mean is over the pixels that are known, and of the region losses over classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from layerscope.core.examples import IGNORE
from layerscope.errors import InputError
from layerscope.registry import Registry

_HERE = "layerscope.training.losses"

LOSSES = Registry(
    "loss",
    {
        "bce": f"{_HERE}:Bce",
        "dice": f"{_HERE}:Dice",
        "bce+dice": f"{_HERE}:BceDice",
        "focal": f"{_HERE}:Focal",
        "tversky": f"{_HERE}:Tversky",
        "cross-entropy": f"{_HERE}:CrossEntropy",
        "by-class": f"{_HERE}:ByClass",
        "mse": f"{_HERE}:MeanSquare",
        "l1": f"{_HERE}:MeanAbsolute",
    },
)

Loss = Callable[[Tensor, Tensor], Tensor]

SOFTMAX, SIGMOID = "softmax", "sigmoid"
"""How logits become probabilities: one class per pixel, or each output by itself."""


def build_loss(name: str, **parameters: Any) -> Loss:
    """Make the loss called `name`.

    Parameters
    ----------
    name : str
        One of `LOSSES`.
    **parameters
        Fields of its class.

    Raises
    ------
    UnknownName
        No such loss.
    InputError
        A parameter that it does not have, or out of range.
    """
    kind = LOSSES[name]
    try:
        loss: Loss = kind(**parameters)
    except TypeError:
        known = ", ".join(kind.__dataclass_fields__)
        raise InputError(f"loss {name!r} takes {known}; got {', '.join(parameters)}") from None
    return loss


@dataclass(frozen=True, eq=False)
class Compared:
    """An answer beside the truth, one row per class and one column per known pixel.

    Attributes
    ----------
    log_p, log_q : Tensor, (C, M)
        Logarithm of the probability that the pixel is of the class, and that it is not.
    target : Tensor, (C, M)
        0 to 1.
    known : Tensor, (C, M)
        1 where somebody labelled the pixel, else 0.
    """

    log_p: Tensor
    log_q: Tensor
    target: Tensor
    known: Tensor

    def mean(self, per_pixel: Tensor) -> Tensor:
        """Mean over known pixels, (C,)."""
        return (per_pixel * self.known).sum(1) / self.known.sum(1).clamp(min=1)


def compare(logits: Tensor, target: Tensor, activation: str) -> Compared:
    """Bring logits and target to one shape, in fp32 whatever the network computed in."""
    outputs = logits.shape[1]
    scores = logits.float().transpose(0, 1).reshape(outputs, -1)
    if target.dim() == logits.dim() - 1:
        truth, known = _one_hot(target.reshape(-1).long(), outputs)
    else:
        truth = target.float().transpose(0, 1).reshape(outputs, -1)
        known = truth != IGNORE
        truth = torch.where(known, truth, 0.0)
    if activation == SOFTMAX and outputs > 1:
        log_p = functional.log_softmax(scores, 0)
        log_q = torch.log1p(-log_p.exp().clamp(max=1 - 1e-7))
    else:
        log_p, log_q = functional.logsigmoid(scores), functional.logsigmoid(-scores)
    return Compared(log_p, log_q, truth, known.float())


def _one_hot(classes: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    known = classes != IGNORE
    found = torch.where(known, classes, 0)
    if outputs == 1:
        return (found > 0).float()[None], known[None]
    truth = functional.one_hot(found, outputs).T.float()
    return truth, known.expand(outputs, -1)


def _checked_activation(activation: str) -> None:
    if activation not in (SOFTMAX, SIGMOID):
        raise InputError(f"activation {activation!r}: expected 'softmax' or 'sigmoid'")


@dataclass(frozen=True)
class _PerClass:
    """A loss that is a mean over classes of one number each.

    Attributes
    ----------
    activation : str
        ``"softmax"`` for one class per pixel, ``"sigmoid"`` for independent maps.
    """

    activation: str = SOFTMAX

    def __post_init__(self) -> None:
        _checked_activation(self.activation)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over classes."""
        return self.per_class(compare(logits, target, self.activation)).mean()

    def per_class(self, seen: Compared) -> Tensor:
        """Loss of each class, (C,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Bce(_PerClass):
    """Binary cross-entropy of each class against the rest."""

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        return -seen.mean(seen.target * seen.log_p + (1 - seen.target) * seen.log_q)


@dataclass(frozen=True)
class Focal(_PerClass):
    """Cross-entropy weighted by (1 - p)^gamma, so that easy pixels count little.

    Lin et al., ICCV 2017 (arXiv 1708.02002), eq. 5; `alpha` weighs the class against the rest,
    None leaves both alike.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        own = -seen.log_p * (-seen.log_p.exp() + 1).clamp(min=0) ** self.gamma
        rest = -seen.log_q * (-seen.log_q.exp() + 1).clamp(min=0) ** self.gamma
        a = 0.5 if self.alpha is None else self.alpha
        scale = 2.0 if self.alpha is None else 1.0
        return seen.mean(scale * (a * seen.target * own + (1 - a) * (1 - seen.target) * rest))


@dataclass(frozen=True)
class Tversky(_PerClass):
    """1 - (TP + s) / (TP + alpha FP + beta FN + s), counted over the batch.

    Salehi et al., MLMI 2017 (arXiv 1706.05721), eq. 3. `alpha` weighs false positives, `beta` false
    negatives: 0.8 and 0.2 make a class smaller than it is labelled, 0.2 and 0.8 larger.
    """

    alpha: float = 0.5
    beta: float = 0.5
    smooth: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.alpha, self.beta, self.smooth) < 0:
            raise InputError("tversky: alpha, beta and smooth from 0 expected")

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        p = seen.log_p.exp() * seen.known
        target = seen.target * seen.known
        both = (p * target).sum(1)
        more, less = p.sum(1) - both, target.sum(1) - both
        overlap = both + self.smooth
        return 1 - overlap / (overlap + self.alpha * more + self.beta * less)


@dataclass(frozen=True)
class Dice(_PerClass):
    """1 - (2 TP + s) / (2 TP + FP + FN + s), counted over the batch.

    Milletari et al., 3DV 2016 (arXiv 1606.04797), without the squares.
    """

    smooth: float = 1.0

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        return Tversky(self.activation, 0.5, 0.5, self.smooth / 2).per_class(seen)


@dataclass(frozen=True)
class BceDice(_PerClass):
    """`bce` times `Bce` plus `dice` times `Dice`."""

    bce: float = 0.7
    dice: float = 0.3
    smooth: float = 1.0

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        return self.bce * Bce(self.activation).per_class(seen) + self.dice * Dice(
            self.activation, self.smooth
        ).per_class(seen)


@dataclass(frozen=True)
class ByClass(_PerClass):
    """Another loss for some classes.

    Attributes
    ----------
    losses : mapping of int to loss
        By index of the class, from 0; for example ``{1: Tversky(alpha=0.8, beta=0.2)}``.
    otherwise : loss
        Of all other classes.
    weights : mapping of int to float
        Of each class in the mean; 1 where not given.
    """

    losses: Mapping[int, _PerClass] = field(default_factory=dict)
    otherwise: _PerClass = BceDice()
    weights: Mapping[int, float] = field(default_factory=dict)

    def per_class(self, seen: Compared) -> Tensor:
        """See the class."""
        found = []
        for i in range(len(seen.target)):
            one = slice(i, i + 1)
            part = Compared(seen.log_p[one], seen.log_q[one], seen.target[one], seen.known[one])
            found.append(self.losses.get(i, self.otherwise).per_class(part))
        weights = torch.tensor([self.weights.get(i, 1.0) for i in range(len(found))])
        scaled = torch.cat(found) * weights.to(seen.target)
        return scaled * (len(found) / weights.sum())


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of one class per pixel.

    Attributes
    ----------
    weights : tuple of float
        One per class; empty: all 1.
    smoothing : float
        Share of the target that is spread over all classes.
    """

    weights: tuple[float, ...] = ()
    smoothing: float = 0.0
    activation: str = field(default=SOFTMAX, init=False)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over known pixels; 0 where none is known."""
        weight = torch.tensor(self.weights).to(logits.device) if self.weights else None
        total = functional.cross_entropy(
            logits.float(), target.long(), weight, ignore_index=IGNORE,
            label_smoothing=self.smoothing, reduction="sum",
        )  # fmt: skip
        known = target[target != IGNORE].long()
        count = weight[known].sum() if weight is not None else known.numel()
        return total / max(count, 1)


@dataclass(frozen=True)
class MeanSquare:
    """Mean of the squared error of the logits themselves, for maps that are no probabilities."""

    activation: str = field(default="none", init=False)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over known pixels."""
        return _mean_known((logits.float() - target.float()) ** 2, target)


@dataclass(frozen=True)
class MeanAbsolute:
    """Mean absolute error of the logits themselves."""

    activation: str = field(default="none", init=False)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over known pixels."""
        return _mean_known((logits.float() - target.float()).abs(), target)


def _mean_known(error: Tensor, target: Tensor) -> Tensor:
    known = target != IGNORE
    return torch.where(known, error, 0.0).sum() / known.sum().clamp(min=1)
