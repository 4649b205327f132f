"""Workers, progress and signals of the commands for scans."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscope.cli.options import INTERRUPTED

if TYPE_CHECKING:
    from layerscope.batch.cluster import Cluster
    from layerscope.batch.plan import Plan
    from layerscope.batch.progress import Progress, Snapshot
    from layerscope.batch.workers import Engine


@dataclass(frozen=True)
class WorkOptions:
    """Who does the work."""

    workers: Annotated[int | None, typer.Option(help="Processes; all cores.")] = None
    scheduler: Annotated[
        str | None, typer.Option(help="Dask: local, tcp://HOST:PORT, a scheduler file, or slurm.")
    ] = None
    slurm_opt: Annotated[
        list[str] | None, typer.Option(help="key=value, as for sbatch; repeatable.")
    ] = None
    timeout: Annotated[float, typer.Option(help="Longest time for one image, s.")] = 60.0


class Session:
    """Workers, progress and signals of one command.

    The first interruption stops handing out work and lets what is under way be finished; the
    second ends at once. Both leave a folder that the same command resumes.
    """

    def __init__(self, work: WorkOptions, quiet: bool, *, watching: bool = False):
        self.stopping, self._watching = threading.Event(), watching
        self._work = work
        self._workers = work.workers if work.workers is not None else os.cpu_count() or 1
        self._cluster: Cluster | None = None
        self._engine: Engine | None = None
        self._stopped = False
        self._line = _ProgressLine(quiet)

    def __enter__(self) -> Session:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {n: signal.signal(n, self._interrupted) for n in signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        from layerscope.batch.scan import Interrupted

        self._line.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._cluster is not None:
            self._cluster.close()
        if self._stopped and isinstance(error, Interrupted):
            typer.echo(f"layerscope: {error}", err=True)
            raise typer.Exit(INTERRUPTED)

    def progress(self, folder: Path) -> Progress:
        """Counter that writes to the folder and to the terminal."""
        from layerscope.batch.progress import Progress

        return Progress(folder, self._line)

    def engine(self, plan: Plan, progress: Progress) -> Engine:
        """Make the workers of one stage."""
        from layerscope.batch.workers import Workers

        work = self._work
        if work.scheduler is None:
            self._engine = Workers(plan.folder, self._workers, work.timeout, progress.image)
        else:
            self._engine = self._connected(work.scheduler).engine(plan.folder, work.timeout)
        if self._stopped and not self._watching:
            self._engine.stop()
        return self._engine

    def _connected(self, scheduler: str) -> Cluster:
        from layerscope.batch.cluster import Cluster

        if self._cluster is None:
            self._cluster = Cluster(
                scheduler,
                self._workers,
                slurm_options=self._work.slurm_opt or [],
                tell=lambda line: typer.echo(line, err=True),
            )
        return self._cluster

    def _interrupted(self, *_: Any) -> None:
        if self._stopped:
            if self._engine is not None:
                self._engine.close()
            os._exit(INTERRUPTED)
        self._stopped = True
        self.stopping.set()
        # Not through the stream: the signal may have come in the middle of a line of progress.
        os.write(2, b"\nstopping after the images in hand; once more stops at once\n")
        # A watch is not over then: tables are made of what came.
        if self._engine is not None and not self._watching:
            self._engine.stop()


class _ProgressLine:
    """One line on a terminal, rewritten; elsewhere one line every five seconds."""

    def __init__(self, quiet: bool):
        self._quiet, self._terminal = quiet, sys.stderr.isatty()
        self._lock, self._last, self._stage = threading.Lock(), 0.0, ""

    def __call__(self, now: Snapshot) -> None:
        with self._lock:
            wait = 0.2 if self._terminal else 5.0
            due = time.monotonic() - self._last >= wait or now.stage != self._stage
            if self._quiet or not due or not now.images:
                return
            self._last, self._stage = time.monotonic(), now.stage
            if self._terminal:
                sys.stderr.write(f"\r\x1b[2K{now}")
            else:
                sys.stderr.write(f"{now}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._last and not self._quiet:
            sys.stderr.write("\n")
