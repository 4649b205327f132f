"""Workers on a cluster, through Dask.

Dask hands tasks to whichever workers are connected, at any time, and takes them back from workers
that die. It carries one line of JSON to a worker and one back; parts are written by the worker
into the run folder, which all must see. What the worker does: `dask_worker`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.batch import slurm
from layerscope.batch.dask_worker import Site, message, outcome_of, release, work
from layerscope.batch.ledger import Stage
from layerscope.batch.work import Task
from layerscope.batch.workers import Outcome
from layerscope.errors import InputError, LayerscopeError, MissingExtra

if TYPE_CHECKING:
    import distributed

Tell = Callable[[str], None]

CONNECT_S = 10.0
"""Longest time to find a scheduler."""

_AHEAD = 2
"""Tasks per thread in flight: the next one waits at the worker, the rest here, so that a stop is
soon obeyed and the scheduler never holds a graph of thousands of tasks."""

_REVIVALS = 2
"""Dask gives a task up after four deaths of its workers; on a cluster that takes nodes back at any
time, that may be bad luck, so the task is handed in again."""

_LOOK_S, _ALONE_S = 1.0, 10.0
_URLS = ("tcp://", "tls://", "ucx://", "ws://", "wss://")


class Cluster:
    """Connection to Dask workers, kept for all stages of a scan.

    Parameters
    ----------
    scheduler : str
        ``local``: processes on this machine; ``slurm``: jobs of this cluster; the address of a
        scheduler, e.g. ``tcp://10.0.0.5:8786``; or the file that it writes.
    workers : int
        Processes or jobs, for the first two.
    slurm_options : sequence of str
        ``key=value``, see `slurm.start`.
    tell : callable, optional
        Called with a line when the scan waits for something.

    Raises
    ------
    MissingExtra
        If Dask is not installed.
    InputError
        If the scheduler is unknown or does not answer, or no job can be submitted.
    """

    def __init__(
        self,
        scheduler: str,
        workers: int,
        *,
        slurm_options: Sequence[str] = (),
        tell: Tell | None = None,
    ):
        if workers < 1:
            raise InputError(f"workers {workers}: expected 1 or more")
        if slurm_options and scheduler != "slurm":
            raise InputError(f"--slurm-opt with --scheduler {scheduler}: only 'slurm' takes it")
        _require_dask()
        self._own: Any = None
        if scheduler == "local":
            self._own = _local(workers)
        elif scheduler == "slurm":
            self._own = slurm.start(workers, slurm_options)
        self._tell = tell or (lambda _: None)
        try:
            self._client = _connect(self._own or _address(scheduler))
        except InputError:
            self._close_own()
            raise

    def engine(self, folder: Path, timeout_s: float) -> DaskEngine:
        """Make the engine of one stage.

        Parameters
        ----------
        folder : Path
            The run folder.
        timeout_s : float
            Longest time for one image.
        """
        return DaskEngine(self._client, folder, timeout_s, self._tell)

    def close(self) -> None:
        """Leave the scheduler, and end the workers that were started here."""
        with contextlib.suppress(OSError, TimeoutError):
            self._client.close()
        self._close_own()

    def _close_own(self) -> None:
        if self._own is not None:
            with contextlib.suppress(OSError, TimeoutError):
                self._own.close()


class DaskEngine:
    """Has tasks done by the workers of a cluster; see `workers.Engine`.

    Parameters
    ----------
    client : distributed.Client
    folder : Path
    timeout_s : float
        Longest time for one image.
    tell : callable
        Called with a line when there is no worker.
    """

    def __init__(
        self, client: distributed.Client, folder: Path, timeout_s: float, tell: Tell
    ) -> None:
        self._client, self._tell = client, tell
        self._name, self._folder, self._timeout_s = uuid.uuid4().hex, folder, timeout_s
        self._sites: dict[Stage, Site] = {}
        self._flying: dict[str, tuple[Any, Task]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._deaths: Counter[int] = Counter()
        self._threads, self._looked = 0, -_LOOK_S
        self._alone_since, self._told = time.monotonic(), False
        self._stopped = False

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield outcomes as they come.

        Raises
        ------
        LayerscopeError
            If the scheduler is lost or a worker cannot go on; what is done is kept.
        """
        waiting = iter(tasks)
        while self._top_up(waiting):
            try:
                key = self._ended.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            future, task = self._flying.pop(key)
            reply = self._reply(future, task)
            if reply is not None:
                yield outcome_of(reply)

    def stop(self) -> None:
        """Hand out no more tasks."""
        self._stopped = True

    def close(self) -> None:
        """Give up what is in flight and end the children of all workers."""
        self.stop()
        flying, self._flying = [f for f, _ in self._flying.values()], {}
        if self._client.status != "running":
            return
        with contextlib.suppress(OSError, TimeoutError):
            self._client.cancel(flying)
            self._client.run(release, self._name, on_error="ignore")

    def _top_up(self, waiting: Iterator[Task]) -> bool:
        """Keep every thread busy; returns whether anything is in flight."""
        self._look()
        while not self._stopped and len(self._flying) < _AHEAD * max(self._threads, 1):
            task = next(waiting, None)
            if task is None:
                break
            self._submit(task)
        return bool(self._flying) and not (self._stopped and not self._threads)

    def _submit(self, task: Task) -> None:
        site = self._sites.get(task.stage)
        if site is None:
            site = Site.of(self._name, task.stage, self._folder, self._timeout_s)
            self._sites[task.stage] = site
        name = f"{task.stage}-{task.chunk}-{self._deaths[task.chunk]}-{self._name}"
        future = self._client.submit(work, message(site, task), key=name, pure=False)
        self._flying[name] = future, task
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def _look(self) -> None:
        """Count the workers, at most once a second: they come and go."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        # A client that finds its scheduler again has given up every task on the way.
        gone = any(f.status in ("cancelled", "lost") for f, _ in self._flying.values())
        if gone or self._client.status != "running":
            raise self._lost()
        try:
            self._threads = sum(self._client.nthreads().values())
        except (OSError, TimeoutError):
            raise self._lost() from None
        if self._threads:
            self._alone_since, self._told = now, False
        elif now - self._alone_since >= _ALONE_S and not self._told:
            self._told = True
            self._tell("waiting for workers: none is connected to the scheduler")
        self._looked = now

    def _reply(self, future: distributed.Future, task: Task) -> str | None:
        """Line of the worker, or None if the task had to be handed in again."""
        from distributed import CancelledError, KilledWorker

        try:
            return str(future.result())
        except KilledWorker:
            self._deaths[task.chunk] += 1
            if self._deaths[task.chunk] > _REVIVALS:
                raise LayerscopeError(
                    f"Dask workers died again and again on chunk {task.chunk}: is there enough "
                    "memory for them? The same command goes on"
                ) from None
            self._submit(task)
            return None
        except (CancelledError, OSError, TimeoutError):
            raise self._lost() from None
        except Exception as error:  # whatever the other installation raised
            reason = " ".join(str(error).split())[:200]
            raise LayerscopeError(
                f"a Dask worker failed ({type(error).__name__}: {reason}): is the same layerscope "
                "installed where the scheduler and the workers run?"
            ) from None

    def _lost(self) -> LayerscopeError:
        return LayerscopeError(
            "the Dask scheduler is gone; what is done is kept, the same command goes on"
        )


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise MissingExtra.of("--scheduler", "cluster") from None


def _local(workers: int) -> Any:
    """Dask workers on this machine that nobody else can reach."""
    import dask
    from distributed import LocalCluster

    # Without routes there is no web page, and without a limit on memory no worker is paused: the
    # images are held by its child, whose memory Dask does not see.
    with dask.config.set({f"distributed.{who}.http.routes": [] for who in ("scheduler", "worker")}):
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,
                preload=["layerscope.batch.dask_worker"],
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise InputError(
                f"cannot start {workers} Dask workers here ({error}); try --workers {workers} "
                "without --scheduler"
            ) from None


def _address(scheduler: str) -> str:
    """Address of a scheduler that runs elsewhere."""
    if scheduler.startswith(_URLS):
        return scheduler
    path = Path(scheduler)
    if not path.is_file():
        raise InputError(
            f"--scheduler {scheduler!r}: expected local, slurm, tcp://HOST:PORT, tls://HOST:PORT "
            "or the file that 'dask scheduler --scheduler-file' writes"
        )
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{scheduler}: not the file of a scheduler; 'dask scheduler --scheduler-file' writes it"
        ) from None


def _connect(where: Any) -> distributed.Client:
    from distributed import Client

    try:
        return Client(where, timeout=CONNECT_S, set_as_default=False, name="layerscope")
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"no Dask scheduler answers at {where} within {CONNECT_S:g} s ({reason}): is it "
            "running, and is its port open to this machine?"
        ) from None
