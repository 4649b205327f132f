"""Run a study seed by seed; what is done is kept, and a second call goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layerscope import __version__
from layerscope.core.examples import MOST_CLASSES
from layerscope.errors import InputError, UnreadableFile
from layerscope.experiments.learning import guess_majority
from layerscope.experiments.study import Effort, Finding, Study, Trial, World
from layerscope.io.atomic import write_bytes

Progress = Callable[[int, int, str], None]


def conduct(
    study: Study,
    world: World,
    effort: Effort,
    folder: Path,
    *,
    seeds: int = 5,
    minutes: float = 0.0,
    progress: Progress = lambda done, total, name: None,
    clock: Callable[[], float] = time.monotonic,
) -> Finding:
    """Run the seeds 0 to `seeds` - 1 that `folder` does not hold yet.

    Parameters
    ----------
    study : Study
    world : World
    effort : Effort
    folder : Path
        Made if absent. Each seed is kept in ``seeds/``; the figures of a seed depend on the plan
        and its number only, not on when it was run.
    seeds : int
    minutes : float
        No seed is begun that would, at the pace so far, end later; one is always run. 0: no limit.
    progress : callable
    clock : callable
        Seconds.

    Raises
    ------
    InputError
        If `seeds` is not positive or the folder holds another plan.
    """
    if seeds < 1:
        raise InputError(f"{seeds} seeds: expected 1 or more")
    if not 1 < len(world.classes) <= MOST_CLASSES:
        raise InputError(f"{len(world.classes)} classes: expected a background and one or more")
    plan = plan_of(study, world, effort)
    _keep_plan(plan, folder)
    trials: dict[int, tuple[Trial, ...]] = {}
    begun, run = clock(), 0
    for seed in range(seeds):
        path = folder / "seeds" / f"{seed:04d}.json"
        known = path.is_file()
        pace = (clock() - begun) / run if run else 0.0
        if minutes and run and not known and clock() - begun + pace > 60 * minutes:
            continue
        trials[seed] = _read(path) if known else _run(study, world, seed, effort, path)
        run += not known
        progress(seed + 1, seeds, f"seed {seed}")
    return Finding(study, trials, seeds, plan)


def plan_of(study: Study, world: World, effort: Effort) -> dict[str, Any]:
    """Return what decides the figures of a seed, as plain values."""
    facts = json.loads(json.dumps(dict(world.facts())))
    made_by = {"layerscope": __version__}
    plan = {"study": study.name, "effort": asdict(effort), "world": facts, "version": made_by}
    return plan | ({"options": dict(study.options)} if study.options else {})


def _keep_plan(plan: dict[str, Any], folder: Path) -> None:
    (folder / "seeds").mkdir(parents=True, exist_ok=True)
    path = folder / "plan.json"
    if path.is_file():
        had = _json(path)
        if other := sorted(k for k in plan if had.get(k) != plan[k]):
            raise InputError(
                f"{folder} holds a study with another {' and '.join(other)}; give another folder"
            )
        return
    write_bytes(path, _bytes(plan))


def _run(study: Study, world: World, seed: int, effort: Effort, path: Path) -> tuple[Trial, ...]:
    from layerscope.training.network_trial import threads_of

    guess = study.guess or _guess_majority
    baseline = Trial(study.baseline, guess(world, seed, effort))
    # A second thread makes networks this small slower (358 s for 277 s), and other sums of them.
    with threads_of(1) if effort.name == "small" else nullcontext():
        trials = (baseline, *study.run(world, seed, effort))
    write_bytes(path, _bytes([asdict(t) for t in trials]))
    return trials


def _guess_majority(world: World, seed: int, effort: Effort) -> dict[str, float]:
    return guess_majority(world.test(seed, effort), len(world.classes))


def _read(path: Path) -> tuple[Trial, ...]:
    try:
        return tuple(Trial(**row) for row in _json(path))
    except TypeError:
        raise UnreadableFile(
            f"{path}: not the trials of a seed; delete it to run it again"
        ) from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}: {error}; delete it to run it again") from None


def _bytes(value: dict[str, Any] | Sequence[Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
