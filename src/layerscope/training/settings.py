"""What a training is asked, what it tells on its way and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerscope.errors import InputError
from layerscope.training.schedules import SCHEDULES

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class FitSettings:
    """How to train.

    Attributes
    ----------
    steps : int
        At most.
    minutes : float
        Wall time, at most; 0: no limit. With it the result depends on the machine.
    learning_rate, weight_decay : float
    optimiser : str
        ``"adamw"`` or ``"adam"``.
    schedule : str
        One of `schedules.SCHEDULES`.
    warmup_steps : int
        Over which the rate rises.
    plateau_patience : int
        Validations without a gain before ``"plateau"`` multiplies the rate by 0.3.
    amp : str
        ``""``, ``"fp16"`` or ``"bf16"``: arithmetic on a GPU; a CPU computes in fp32.
    clip : float
        Largest norm of the gradient; 0: no limit.
    ema : float
        Decay of the running mean of the weights that is validated and returned; 0: none.
    metric : str
        Of `validate`, or ``"loss"``: decides which weights are best; ``""``: the last ones are.
    lower_is_better : bool
    validations : int
        How often `validate` is called over the training, evenly.
    patience : int
        Stop after so many validations without a gain; 0: never.
    goals : mapping of str to float
        Stop when every one of these figures is at most as high.
    seed : int
        Of whatever is random in the network itself (dropout).
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``.
    workers : int
        Threads that prepare batches ahead; no result depends on it.
    """

    steps: int = 1000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimiser: str = "adamw"
    schedule: str = "cosine"
    warmup_steps: int = 20
    plateau_patience: int = 3
    amp: str = ""
    clip: float = 1.0
    ema: float = 0.0
    metric: str = ""
    lower_is_better: bool = False
    validations: int = 10
    patience: int = 0
    goals: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    workers: int = 1

    def __post_init__(self) -> None:
        for name, known in (
            ("optimiser", ("adamw", "adam")),
            ("schedule", tuple(SCHEDULES)),
            ("amp", ("", "fp16", "bf16")),
            ("device", ("auto", "cpu", "cuda")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r}: expected {', '.join(known)}")
        if self.steps < 1 or self.learning_rate <= 0 or not 0 <= self.ema < 1:
            raise InputError("expected steps from 1, a positive learning_rate and ema from 0 to 1")
        if not self.metric and (self.patience or self.schedule == "plateau"):
            raise InputError("patience and the plateau schedule need the name of a metric")
        if min(self.minutes, self.clip, self.warmup_steps, self.validations, self.workers) < 0:
            raise InputError("minutes, clip, warmup_steps, validations, workers: expected from 0")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A finished training.

    Attributes
    ----------
    state : mapping of str to Tensor
        Weights of the best validation, or the last ones; already loaded into the network.
    history : pandas.DataFrame
        One row per validation: step, progress, learning_rate, loss, and the figures.
    steps : int
        Taken.
    best : float
        Figure of `state`; NaN without validation.
    seconds : float
        Wall time, that before a kill included.
    stopped : str
        Why it ended: ``"steps"``, ``"minutes"``, ``"patience"`` or ``"goals"``.
    """

    state: Mapping[str, Tensor]
    history: pd.DataFrame
    steps: int
    best: float
    seconds: float
    stopped: str


@dataclass(frozen=True)
class Progress:
    """What a progress callback is told after each step.

    Attributes
    ----------
    step : int
        Steps taken.
    share : float
        Of the training, 0 to 1.
    loss : float
        Of this step.
    figures : mapping
        Of the latest validation.
    """

    step: int
    share: float
    loss: float
    figures: Mapping[str, float] = field(default_factory=dict)
