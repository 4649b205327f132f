"""Workers that are kept from one step to the next: starting one takes a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from layerscope.batch.plan import Plan
from layerscope.batch.progress import Progress
from layerscope.batch.scan import MakeEngine
from layerscope.batch.work import Task
from layerscope.batch.workers import Engine, Outcome


class Kept:
    """Makes an engine once, and ends it when left.

    Parameters
    ----------
    make : callable
    """

    def __init__(self, make: MakeEngine):
        self._make = make
        self._engine: Engine | None = None

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.close()

    def __call__(self, plan: Plan, progress: Progress) -> Engine:
        """Give the engine for one step."""
        self._engine = self._engine or self._make(plan, progress)
        return _OneStep(self._engine)


@dataclass(frozen=True)
class _OneStep:
    """An engine that is not ended with the step."""

    engine: Engine

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Have the tasks done by the same workers as those before."""
        return self.engine.run(tasks)

    def stop(self) -> None:
        """Hand out no more tasks."""
        self.engine.stop()

    def close(self) -> None:
        """Nothing: the next step needs the workers."""
