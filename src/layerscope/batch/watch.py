"""Watch folders: every image is analysed as soon as the microscope has written it.

The images are appended to the plan of a run folder as they come, one to a part, and go through the
same steps as those of a scan. At the end the last steps of a scan are done over all of them.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from layerscope.batch.arrivals import PATIENCE_S, Arrival, Arrivals, Stamp
from layerscope.batch.calibrator import Calibrator
from layerscope.batch.conclusions import Setups, counting_hash
from layerscope.batch.kept import Kept
from layerscope.batch.ledger import Entry, open_ledger
from layerscope.batch.lock import RunLock, sweep
from layerscope.batch.parts import Failed, part_path, read_found, read_part
from layerscope.batch.plan import Plan
from layerscope.batch.progress import Progress
from layerscope.batch.scan import (
    PLAN_WAIT_S,
    Interrupted,
    Job,
    MakeEngine,
    known_plan,
    prepare_folder,
)
from layerscope.batch.settings import Settings
from layerscope.batch.sighting import Sighting, best_regions
from layerscope.batch.survey import SAMPLE, Survey
from layerscope.batch.tables import publish
from layerscope.batch.work import CALIBRATION
from layerscope.core.calibration import SetupCalibration
from layerscope.core.results import FloatArray
from layerscope.core.scan import ScanResult, Status
from layerscope.core.stage import StagePosition
from layerscope.errors import InputError
from layerscope.finding import Found, choose
from layerscope.io.calibration import read_calibration
from layerscope.io.sources import Source, name_sources

FIRST = 12
"""Images that the light and the substrate are settled on; the flat field needs ten."""

LOOK_EVERY_S = 0.5

_LOOK_SHARE = 10
"""A look at 20,000 files takes 0.1 s, on a network drive more: nine tenths of the time are left."""

_BATCH = max(4, 2 * (os.cpu_count() or 1))
"""Images taken in hand at once: they are finished after the first Ctrl-C, and printed together."""

_SLICE = 64
"""Parts of an earlier session looked at between two looks at whether to stop."""

_NEW_LIGHT = 0.18
"""Log distance to every known background at which an image has a setup of its own."""

Tell = Callable[[str], None]
Place = Callable[[Sequence[Source]], Mapping[str, StagePosition]]


def watch_scan(
    folders: Sequence[str | os.PathLike[str]],
    run: str | Path,
    settings: Settings,
    make_engine: MakeEngine,
    *,
    deep: bool = False,
    idle_s: float | None = None,
    stop: threading.Event | None = None,
    tell: Tell | None = None,
    place: Place | None = None,
    progress: Progress | None = None,
    report: bool = True,
    chunk_images: int = 1,
    patience_s: float = PATIENCE_S,
) -> ScanResult:
    """Analyse images as they are written, until it is stopped or nothing comes any more.

    Parameters
    ----------
    folders : sequence of path
        They need not exist yet.
    run : path
        The run folder; one that was watched or scanned before is gone on with.
    settings : Settings
    make_engine : callable
        Gives the workers; they live as long as the watch.
    deep : bool
        Folders in folders too.
    idle_s : float, optional
        End when nothing has come for so long; never by default.
    stop : threading.Event, optional
        Set by somebody else: finish what is in hand, write the tables, return.
    tell : callable, optional
        Called with a line for every image, and where something needs to be said.
    place : callable, optional
        Gives the stage positions of all images by path, once they are there.
    progress : Progress, optional
        Of the last steps.
    report : bool
        Whether to write the report.
    chunk_images : int
        Images per part, for a new run folder.
    patience_s : float
        As in `Arrivals`; also the pause after which fewer than `FIRST` images have to do.

    Returns
    -------
    ScanResult
        As of a scan of the same images in the order in which they came, but for the survey, which
        is made from the first of them.

    Raises
    ------
    InputError
        If another driver works on the run folder, it holds a scan with other settings, or cannot
        be written.
    Interrupted
        If no image came at all.
    """
    where = prepare_folder(run)
    with (
        RunLock(where),
        closing(open_ledger(where)) as ledger,
        Kept(make_engine) as engine,
        closing(Calibrator(where)) as calibrator,
    ):
        sweep(where)
        plan = known_plan(where, settings, chunk_images)
        job = Job(plan, ledger, engine, Progress())
        watch = _Watch(plan, job, calibrator, tell or (lambda _: None))
        plan = watch.run(
            lambda known: Arrivals(
                folders, known=known, deep=deep, without=where, patience_s=patience_s, tell=tell
            ),
            _Until(stop or threading.Event(), idle_s, min(patience_s, idle_s or patience_s)),
        )
        calibrator.close()  # the last steps make their own
        if not plan.inputs:
            raise Interrupted("no image came; the same command watches again")
        if place is not None:
            plan = watch.place(place)
        progress = progress or Progress(where)
        found, setups, measured = Job(plan, ledger, engine, progress).all_stages()
        return publish(plan, found, measured, setups, progress, report=report)


@dataclass(frozen=True)
class _Until:
    """When to stop, and for how long to wait for the first images."""

    stop: threading.Event
    idle_s: float | None
    pause_s: float


class _Watch:
    """The state of one watch: what is planned, found, waiting, and how fast it was."""

    def __init__(self, plan: Plan, job: Job, calibrator: Calibrator, tell: Tell):
        self._plan, self._job, self._tell = plan, job, tell
        self._calibrator, self._uncounted = calibrator, list[Arrival]()
        self._numbers = {i.path: i.number for i in plan.inputs}
        self._found: dict[int, Entry] = {}
        self._waiting: deque[Arrival] = deque()
        self._survey = ""
        self._setups, self._settled_on = Setups((), counting_hash(plan)), 0
        self._known_levels = np.zeros((0, 3))
        self._latencies_s: list[float] = []
        self._first: set[str] = set()
        self._told_waiting = False
        self._progress = Progress(plan.folder)

    def run(self, arrivals_of: Callable[[Mapping[str, Stamp]], Arrivals], until: _Until) -> Plan:
        """Watch; returns the plan as it is at the end."""
        self._resume(until.stop)
        arrivals = arrivals_of(self._stamps())
        next_look_s = news_s = time.monotonic()
        while not until.stop.is_set():
            self._take_calibration()
            now_s = time.monotonic()
            if now_s >= next_look_s:
                new = arrivals.look(now_s)
                self._waiting.extend(new)
                looked_s = time.monotonic() - now_s
                next_look_s = now_s + max(LOOK_EVERY_S, _LOOK_SHARE * looked_s)
                news_s = now_s if new or arrivals.pending else news_s
            quiet_s = time.monotonic() - news_s
            if self._waiting and self._may_begin(paused=quiet_s >= until.pause_s):
                self._analyse(self._next())
                news_s = time.monotonic()
            elif not self._waiting and until.idle_s is not None and quiet_s >= until.idle_s:
                break
            else:
                until.stop.wait(max(0.0, next_look_s - time.monotonic()))
        if not self._survey:  # too few for a watch to begin with; a scan takes what there is
            self._append(list(self._waiting))
        self._tell_latency()
        return self._plan

    def place(self, place: Place) -> Plan:
        """Add stage positions; a list that is wrong must not cost the results of a night."""
        try:
            placed = self._plan.placed(place([i.source for i in self._plan.inputs]))
        except InputError as error:
            self._tell(f"no stage positions: {error}; 'layerscope scan' adds them later")
            return self._plan
        if placed is not self._plan:
            self._plan = placed
            self._save()
        return self._plan

    def _resume(self, stop: threading.Event) -> None:
        """Do what an earlier session has planned and not done."""
        plan = self._plan
        if not plan.inputs:
            return
        if plan.chunk_images > 1:
            self._tell(
                f"{plan.folder} was begun with {plan.chunk_images} images to a part: a new image "
                "costs as much as the part that it is in; another -o is quicker"
            )
        self._survey = self._job.survey()
        for start in range(0, plan.n_chunks, _SLICE):
            if stop.is_set():
                return
            chunks = range(start, min(start + _SLICE, plan.n_chunks))
            self._found |= self._job.find(chunks, self._survey)
        given = plan.settings.calibration or plan.settings.head
        if self._setups.calibration_sha256 and not given:
            self._known_setups()
            self._settled_on = len(plan.inputs)
        self._tell(f"{len(plan.inputs)} images of an earlier session")

    def _stamps(self) -> dict[str, Stamp]:
        """Files as they were when they were analysed: one that has changed is new again."""
        inputs = self._plan.inputs
        images = [i for entry in self._found.values() for i in entry.images]
        return {inputs[i.number].path: (i.size, i.mtime_ns) for i in images}

    def _may_begin(self, *, paused: bool) -> bool:
        if self._survey or paused or len(self._waiting) >= FIRST:
            return True
        if not self._told_waiting:
            self._told_waiting = True
            self._tell(f"waiting for {FIRST} images, or a pause, to see what the light is")
        return False

    def _next(self) -> list[Arrival]:
        """Take images in hand; the first time those that the survey is made from."""
        many = _BATCH
        if not self._survey:
            there = sum(a.since_s is None for a in self._waiting)
            many = min(max(FIRST, there), SAMPLE)
        taken = [self._waiting.popleft() for _ in range(min(many, len(self._waiting)))]
        self._append(taken)
        if not self._survey:
            self._survey = self._job.survey()
            for note in Survey.load(self._plan.folder)[0].notes:
                self._tell(f"from the first {len(taken)} images: {note}")
            self._first = {a.path for a in taken}
        return taken

    def _append(self, arrivals: Sequence[Arrival]) -> None:
        """Add images to the plan, in the order in which they came."""
        new = [s for a in arrivals if a.path not in self._numbers for s in name_sources([a.path])]
        if not new:
            return
        self._plan = self._plan.extended(new)
        self._numbers |= {i.path: i.number for i in self._plan.inputs[-len(new) :]}
        self._save()
        self._job.extend(self._plan)

    def _save(self) -> None:
        with RunLock(self._plan.folder, "plan", wait_s=PLAN_WAIT_S):
            self._plan.save()

    def _analyse(self, arrivals: Sequence[Arrival]) -> None:
        numbers = [self._numbers[a.path] for a in arrivals]
        chunks = sorted({n // self._plan.chunk_images for n in numbers})
        found = self._job.find(chunks, self._survey)
        for chunk in chunks:
            if chunk not in self._found:
                self._progress.known(found[chunk])
        self._found |= found
        views = [self._view(n) for n in numbers]
        self._calibrate(views)
        counting = bool(self._setups.calibration_sha256)
        measured = self._job.measure(found, self._padded()) if counting else {}
        if not counting:
            usable = [a for a, v in zip(arrivals, views, strict=True) if isinstance(v, Found)]
            self._uncounted += [replace(a, since_s=None) for a in usable]
        now_s = time.monotonic()
        for arrival, number, view in zip(arrivals, numbers, views, strict=True):
            latency_s = None if arrival.since_s is None else now_s - arrival.since_s
            self._tell(str(self._sighting(number, view, measured, latency_s)))
            if latency_s is not None and arrival.path not in self._first:
                self._latencies_s.append(latency_s)
        seen = len(self._plan.inputs)
        self._progress.begin("watch", seen, seen)

    def _view(self, number: int) -> Found | Failed:
        chunk, row = divmod(number, self._plan.chunk_images)
        return read_found(part_path(self._plan.folder, "find", chunk), masks=False)[row]

    def _calibrate(self, new: Sequence[Found | Failed]) -> None:
        """Have a calibration made when the images are twice as many, or the light is new."""
        settings, seen = self._plan.settings, len(self._found) * self._plan.chunk_images
        usable = [v for v in new if isinstance(v, Found)]
        if settings.calibration or settings.head or self._calibrator.busy or not usable:
            return
        strange = any(self._is_new_light(v) for v in usable)
        if seen >= (1.1 if strange else 2) * self._settled_on:
            self._settled_on = seen
            self._calibrator.start()

    def _take_calibration(self) -> None:
        """Count with the new calibration; images without numbers yet are shown again."""
        setups = self._calibrator.take()
        if setups is None:
            return
        self._setups, known = setups, self._known_setups()
        accepted = sum(s.status == "ok" for s in known)
        self._tell(
            f"calibrated on {self._settled_on} images, {accepted} of {len(known)} setups accepted; "
            "layer numbers are provisional until the end"
        )
        self._waiting.extendleft(reversed(self._uncounted))
        self._uncounted = []

    def _known_setups(self) -> tuple[SetupCalibration, ...]:
        known = read_calibration(self._plan.folder / CALIBRATION).setups
        self._known_levels = _log([s.background for s in known])
        return known

    def _is_new_light(self, found: Found) -> bool:
        apart = np.abs(self._known_levels - _log([found.background.level])).max(axis=1)
        return bool((apart > _NEW_LIGHT).all())

    def _padded(self) -> Setups:
        """Setups for all images: layers are counted by the nearest where it is not settled yet."""
        lacking = len(self._plan.inputs) - len(self._setups.numbers)
        return replace(self._setups, numbers=(*self._setups.numbers, *(0,) * lacking))

    def _sighting(
        self,
        number: int,
        view: Found | Failed,
        measured: Mapping[int, Entry],
        latency_s: float | None,
    ) -> Sighting:
        name, chunk = self._plan.inputs[number].name, number // self._plan.chunk_images
        if isinstance(view, Failed):
            return Sighting(name, str(view.status), 0, (), latency_s, view.reason)
        if not self._setups.calibration_sha256:
            rows, _ = choose(view.detections, self._plan.settings.wanted)
            later = ("layers not counted yet",)
            return Sighting(name, str(Status.OK), len(rows), later, latency_s)
        if chunk not in measured:
            lost = "could not be measured; it is set aside at the end"
            return Sighting(name, str(Status.CRASHED), 0, (), latency_s, lost)
        table = read_part(part_path(self._plan.folder, "measure", chunk)).to_pandas()
        own = table[table["image"] == name]
        status = Status.OK if len(own) else Status.EMPTY
        return Sighting(name, str(status), len(own), best_regions(own), latency_s)

    def _tell_latency(self) -> None:
        own = self._latencies_s
        if own:
            middle, worst = statistics.median(own), max(own)
            self._tell(
                f"latency of {len(own)} images, from complete to printed: median {middle:.1f} s, "
                f"worst {worst:.1f} s; the first {len(self._first)} and those there before not "
                "counted"
            )


def _log(levels: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.log(np.maximum(levels, 1e-4))).reshape(-1, 3)
