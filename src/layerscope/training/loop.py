"""The training loop: ``fit(network, batch, loss, settings)``.

A step depends on the settings, the seed and the step's number alone, so that a training that was
killed and resumed ends with the same weights, bit for bit on a CPU, as one that was not. Only a
budget in minutes brings the clock in: the schedule is then scaled to the time left.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from layerscope.errors import InputError
from layerscope.training.checkpoints import Checkpoint, read_checkpoint, under, write_checkpoint
from layerscope.training.losses import Loss
from layerscope.training.schedules import rate_factor
from layerscope.training.settings import FitSettings, Fitted, Progress

__all__ = ["FitSettings", "Fitted", "Progress", "ahead", "device_of", "fit"]

Array = npt.NDArray[Any]
Batch = Callable[[int], tuple[Array, Array]]
"""Images (N, C, S, S) float32 and targets of a step's number."""
Validate = Callable[[nn.Module], Mapping[str, float]]
"""Figures of a network in evaluation mode, by name."""

_SAVE_EVERY_S = 60.0
_PLATEAU_FACTOR = 0.3


def fit(
    network: nn.Module,
    batch: Batch,
    loss: Loss,
    settings: FitSettings | None = None,
    *,
    validate: Validate | None = None,
    folder: Path | None = None,
    progress: Callable[[Progress], None] = lambda told: None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train a network.

    Parameters
    ----------
    network : Module
        Changed in place; ends with the best weights, in evaluation mode, on the device it was on.
    batch : callable
        ``batch(step)`` -> images (N, C, S, S) float32, targets; must depend on `step` only.
    loss : callable
        See `losses`.
    settings : FitSettings, optional
    validate : callable, optional
        ``validate(network)`` -> figures by name; the network is in evaluation mode, no gradient.
    folder : path, optional
        Keeps the state there; a training found in it is continued.
    progress : callable
    clock : callable
        Seconds, for the budget in minutes.

    Raises
    ------
    InputError
        If `folder` holds a training with other settings, the metric is not among the figures, or
        the loss is no longer a number.
    """
    return _Training(network, loss, settings or FitSettings(), validate, folder, clock).run(
        batch, progress
    )


class _Training:
    """A training under way."""

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        settings: FitSettings,
        validate: Validate | None,
        folder: Path | None,
        clock: Callable[[], float],
    ):
        self.network, self.loss, self.settings = network, loss, settings
        self.validate, self.folder, self.clock = validate, folder, clock
        self.device, self.home = device_of(settings.device), next(network.parameters()).device
        # Channels innermost: a step takes 0.75 (light-n) to 0.79 (U-Net on ResNet-18) of the time.
        network.to(self.device, memory_format=torch.channels_last)
        self.optimiser = _optimiser(network, settings)
        half = settings.amp == "fp16" and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=half)
        self.average = _copied(network.state_dict()) if settings.ema else {}
        self.best: dict[str, Tensor] = {}
        self.marks = _Marks()
        if folder is not None and (kept := read_checkpoint(folder)) is not None:
            self._restore(kept, folder)

    def run(self, batch: Batch, tell: Callable[[Progress], None]) -> Fitted:
        """Train until something says stop."""
        marks, before, started = self.marks, self.marks.seconds, self.clock()
        saved = started
        batches = ahead(batch, marks.step, self.settings.steps, self.settings.workers)
        while not marks.stopped:
            share = self._share()
            loss = self._take(share, *next(batches))
            now = self.clock()
            marks.seconds = before + now - started
            done = self._share()
            if int(done * self.settings.validations) > int(share * self.settings.validations):
                self._look(done)
            marks.stopped = marks.stopped or self._end_of_budget()
            if self.folder is not None and (marks.stopped or now - saved > _SAVE_EVERY_S):
                self._save(self.folder)
                saved = now
            tell(Progress(marks.step, done, loss, marks.figures))
        batches.close()
        return self._finish()

    def _share(self) -> float:
        share = self.marks.step / self.settings.steps
        if self.settings.minutes:
            share = max(share, self.marks.seconds / (60 * self.settings.minutes))
        return min(share, 1.0)

    def _end_of_budget(self) -> str:
        if self.marks.step >= self.settings.steps:
            return "steps"
        return "minutes" if self._share() >= 1 else ""

    def _take(self, share: float, images: Array, target: Array) -> float:
        """One step."""
        chosen, step = self.settings, self.marks.step
        rate = rate_factor(chosen.schedule, share, step, chosen.warmup_steps) * self.marks.drop
        for group in self.optimiser.param_groups:
            group["lr"] = chosen.learning_rate * rate
        self.network.train()
        with _seeded(chosen.seed, step, self.device), self._precision():
            there = torch.from_numpy(images).to(self.device)
            logits = self.network(there.contiguous(memory_format=torch.channels_last))
        loss = self.loss(logits, torch.from_numpy(target).to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(f"loss {value} at step {step}: lower learning_rate, or check the data")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        if chosen.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), chosen.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.marks.step += 1
        self.marks.losses.append(value)
        if self.average:
            _follow(self.average, self.network.state_dict(), chosen.ema, step)
        return value

    def _precision(self) -> torch.autocast:
        kind = torch.bfloat16 if self.settings.amp == "bf16" else torch.float16
        on = bool(self.settings.amp) and self.device.type == "cuda"
        return torch.autocast(self.device.type, kind if on else None, enabled=on)

    def _look(self, share: float) -> None:
        """Validate, and decide whether these are the best weights so far."""
        marks, chosen = self.marks, self.settings
        current = _copied(self.network.state_dict())
        shown = self.average or current
        figures = {"loss": sum(marks.losses) / len(marks.losses)}
        if self.validate is not None:
            self.network.load_state_dict(shown)
            self.network.eval()
            with torch.no_grad():
                figures |= {k: float(v) for k, v in self.validate(self.network).items()}
            self.network.load_state_dict(current)
        rate = float(self.optimiser.param_groups[0]["lr"])
        marks.history.append(
            {"step": marks.step, "progress": share, "learning_rate": rate} | figures
        )
        marks.figures, marks.losses = figures, []
        if chosen.metric:
            self._judge(_figure(figures, chosen.metric), shown)
        if chosen.goals and all(_figure(figures, k) <= most for k, most in chosen.goals.items()):
            marks.stopped = "goals"

    def _judge(self, figure: float, shown: Mapping[str, Tensor]) -> None:
        marks, chosen = self.marks, self.settings
        gain = marks.best - figure if chosen.lower_is_better else figure - marks.best
        if not self.best or gain > 0:
            self.best, marks.best = _copied(shown), figure
            marks.without_gain = marks.since_drop = 0
            return
        marks.without_gain += 1
        marks.since_drop += 1
        if chosen.patience and marks.without_gain >= chosen.patience:
            marks.stopped = "patience"
        if chosen.schedule == "plateau" and marks.since_drop >= chosen.plateau_patience:
            marks.drop, marks.since_drop = marks.drop * _PLATEAU_FACTOR, 0

    def _save(self, folder: Path) -> None:
        tensors = under("network", self.network.state_dict())
        tensors |= under("average", self.average) | under("best", self.best)
        for i, values in self.optimiser.state_dict()["state"].items():
            tensors |= under(f"optimiser/{i}", values)
        numbers = {
            "settings": _decisive(self.settings),
            "marks": asdict(self.marks),
            "scaler": self.scaler.state_dict(),
        }
        write_checkpoint(folder, Checkpoint(tensors, numbers))

    def _restore(self, kept: Checkpoint, folder: Path) -> None:
        had, wanted = kept.numbers["settings"], _decisive(self.settings)
        if other := [k for k in wanted if had.get(k) != wanted[k]]:
            told = ", ".join(f"{k} {had.get(k)}" for k in other)
            raise InputError(f"{folder} holds a training with {told}; give another folder")
        try:
            self.network.load_state_dict(kept.part("network"))
        except RuntimeError:
            raise InputError(f"{folder} holds a training of another network") from None
        self.average, self.best = kept.part("average"), kept.part("best")
        self.average = {k: v.to(self.device) for k, v in self.average.items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in kept.part("optimiser").items():
            i, _, value = name.partition("/")
            state.setdefault(int(i), {})[value] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        if kept.numbers["scaler"]:
            self.scaler.load_state_dict(kept.numbers["scaler"])
        self.marks = _Marks(**kept.numbers["marks"])

    def _finish(self) -> Fitted:
        import pandas as pd

        marks = self.marks
        state = self.best or self.average or self.network.state_dict()
        self.network.load_state_dict(state)
        self.network.to(self.home, memory_format=torch.contiguous_format).eval()
        history = pd.DataFrame(marks.history)
        final = _copied(self.network.state_dict())
        return Fitted(final, history, marks.step, marks.best, marks.seconds, marks.stopped)


@dataclass
class _Marks:
    """The numbers of a training under way, as JSON keeps them."""

    step: int = 0
    seconds: float = 0.0
    drop: float = 1.0
    best: float = float("nan")
    without_gain: int = 0
    since_drop: int = 0
    stopped: str = ""
    losses: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def device_of(name: str) -> torch.device:
    """Find the device: ``"auto"`` is a GPU where torch sees one.

    Raises
    ------
    InputError
        If a GPU was asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("device cuda: torch sees no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def ahead(
    batch: Batch, first: int, stop: int, workers: int
) -> Generator[tuple[Array, Array], None, None]:
    """Batches of steps `first` to `stop`, in order, prepared ahead by `workers` threads."""
    if not workers:
        for step in range(first, stop):
            yield batch(step)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[Array, Array]]] = deque()
        try:
            for step in range(first, stop):
                waiting.append(pool.submit(batch, step))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _optimiser(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """Weight decay spares biases and the scales of norms: pulling those to 0 only harms."""
    learned = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learned if p.dim() <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate)


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _follow(
    average: dict[str, Tensor], state: Mapping[str, Tensor], decay: float, step: int
) -> None:
    """Move the running mean towards the weights; faster at first, when it holds the start."""
    share = 1 - min(decay, (1 + step) / (10 + step))
    for name, value in state.items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), share)
        else:
            average[name].copy_(value)


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Random numbers of the network (dropout) depend on the step; those of the caller do not."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed * 1_000_003 + step)
        yield


def _figure(figures: Mapping[str, float], name: str) -> float:
    if name not in figures:
        raise InputError(f"no figure {name!r} to decide by; there are {', '.join(figures)}")
    return figures[name]


def _decisive(settings: FitSettings) -> dict[str, Any]:
    """Keep the settings that change a result on the same machine."""
    return {k: v for k, v in asdict(settings).items() if k not in ("device", "workers")}
