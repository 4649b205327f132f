"""Learning rate over a training, as a factor of the rate that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

from layerscope.errors import UnknownName


def constant(progress: float) -> float:
    """1 throughout; what `plateau` is before its first drop."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, arXiv 1608.03983, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "plateau": constant,
}
"""Factor by progress, 0 to 1. ``plateau`` is lowered by `Plateau` besides."""


def rate_factor(name: str, progress: float, step: int, warmup_steps: int) -> float:
    """Factor of the learning rate at a step.

    Parameters
    ----------
    name : str
        One of `SCHEDULES`.
    progress : float
        Share of the training that is done, 0 to 1.
    step, warmup_steps : int
        Over the first `warmup_steps` the rate rises linearly.

    Raises
    ------
    UnknownName
        No such schedule.
    """
    if name not in SCHEDULES:
        raise UnknownName.of("schedule", name, SCHEDULES)
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return warm * SCHEDULES[name](progress)
