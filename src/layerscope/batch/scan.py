"""A scan from beginning to end. Read this first.

    begin    freeze what is asked and of which images
    survey   a sample says what the light and the substrate are
    find     every chunk of images -> a part            (any number of workers, any machine)
    settle   setups and calibration, from all parts
    measure  every part -> layers and measurements      (any number of workers, any machine)
    publish  tables, sites on the wafer, report

Every step looks at what is there and right, and does the rest; so a scan that was cut off is
resumed by asking for it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from layerscope.batch.conclusions import Setups, settle_setups
from layerscope.batch.ledger import (
    Entry,
    ImageEntry,
    Ledger,
    Stage,
    all_entries,
    all_quarantined,
    open_ledger,
)
from layerscope.batch.lock import RunLock, sweep
from layerscope.batch.parts import part_path
from layerscope.batch.plan import CHUNK_IMAGES, DamagedPlan, Input, Plan
from layerscope.batch.progress import Progress
from layerscope.batch.settings import Settings
from layerscope.batch.survey import Survey
from layerscope.batch.tables import publish
from layerscope.batch.work import Task
from layerscope.batch.workers import Engine
from layerscope.core.scan import ScanResult, Status
from layerscope.core.stage import StagePosition
from layerscope.errors import CannotWrite, InputError
from layerscope.io.sources import Source

MakeEngine = Callable[[Plan, Progress], Engine]
Shard = tuple[int, int]

PLAN_WAIT_S = 30.0
"""Shards of a cluster begin all at once, each in a fraction of a second."""


class Interrupted(InputError):
    """The scan was asked to stop; what is done is kept."""


def begin(
    sources: Sequence[Source],
    folder: str | Path,
    settings: Settings,
    *,
    positions: Mapping[str, StagePosition] | None = None,
    chunk_images: int = CHUNK_IMAGES,
) -> Plan:
    """Plan a scan, or take up the one that the folder holds.

    Parameters
    ----------
    sources : sequence of Source
        As `io.sources.name_sources` gives them. Images that the plan does not know are appended.
    folder : path
        Made if missing.
    settings : Settings
    positions : mapping of str to StagePosition, optional
        By path of the image; those given before are kept where there is no new one.
    chunk_images : int
        Images per unit of work, for a new plan.

    Raises
    ------
    InputError
        If there is no image, the folder cannot be written, or it holds a scan with other settings.
    """
    where = prepare_folder(folder)
    with RunLock(where, "plan", wait_s=PLAN_WAIT_S):
        known = known_plan(where, settings, chunk_images)
        # From anywhere, and on any machine, a path must lead to the same file.
        sources = [replace(s, path=os.path.abspath(s.path)) for s in sources]
        placed = {os.path.abspath(path): at for path, at in (positions or {}).items()}
        plan = known.extended(sources).placed(placed)
        if not plan.inputs:
            raise InputError("no image to scan: give a folder, a pattern or a list of images")
        if plan is not known:
            RunLock(where).require_free()
            plan.save()
    return plan


def prepare_folder(folder: str | Path) -> Path:
    """Make a run folder.

    Raises
    ------
    CannotWrite
        If that is not possible.
    """
    where = Path(folder)
    try:
        (where / "parts").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write to {where}: {error.strerror}; choose another -o") from None
    return where


def known_plan(folder: Path, settings: Settings, chunk_images: int) -> Plan:
    """Plan of a run folder as it stands, or one without images.

    A damaged one is made again, and parts that do not fit it as well.

    Raises
    ------
    InputError
        If the folder holds a scan with other settings.
    """
    settings = settings.with_copies(folder)
    new = Plan(folder, settings, (), chunk_images)
    try:
        if not Plan.exists(folder):
            settings.make_finder(folder)  # a model that finds no flakes is refused before any work
        known = Plan.load(folder) if Plan.exists(folder) else new
    except DamagedPlan:
        return new
    known.require_same(settings)
    return known


def run_scan(
    plan: Plan,
    make_engine: MakeEngine,
    *,
    shard: Shard | None = None,
    progress: Progress | None = None,
    report: bool = True,
) -> ScanResult | None:
    """Do whatever of a scan is not done yet.

    Parameters
    ----------
    plan : Plan
    make_engine : callable
        Gives the workers, once there is work.
    shard : (int, int), optional
        ``(i, n)``: find on every n-th chunk from the i-th only; `merge_scan` does the rest.
    progress : Progress, optional
    report : bool
        Whether to write the report.

    Returns
    -------
    ScanResult or None
        None for a shard.

    Raises
    ------
    InputError
        If another driver works on the folder, or it cannot be written.
    Interrupted
        If the engine was stopped; asking again resumes.
    """
    progress = progress or Progress(plan.folder)
    name = "driver" if shard is None else f"shard-{shard[0]}-of-{shard[1]}"
    with RunLock(plan.folder, name), closing(open_ledger(plan.folder, shard=shard)) as ledger:
        plan = Plan.load(plan.folder)  # another driver may have added images before this one's turn
        job = Job(plan, ledger, make_engine, progress)
        if shard is not None:
            job.find(range(shard[0], plan.n_chunks, shard[1]))
            return None
        sweep(plan.folder)
        found, setups, measured = job.all_stages()
        return publish(plan, found, measured, setups, progress, report=report)


class Job:
    """The steps of one driver.

    Parameters
    ----------
    plan : Plan
    ledger : Ledger
    make_engine : callable
    progress : Progress
    """

    def __init__(self, plan: Plan, ledger: Ledger, make_engine: MakeEngine, progress: Progress):
        self._plan, self._ledger, self._progress = plan, ledger, progress
        self._make_engine = make_engine
        self._known = all_entries(plan.folder)

    def all_stages(self) -> tuple[dict[int, Entry], Setups, dict[int, Entry]]:
        """Find, settle and measure; again where an image turned out to kill its workers."""
        every = range(self._plan.n_chunks)
        while True:
            found = self.find(every)
            setups = self.settle(found)
            measured = self.measure(found, setups)
            if len(measured) == len(every):
                return found, setups, measured

    def extend(self, plan: Plan) -> None:
        """Turn to the same plan with more images."""
        self._plan = plan

    def survey(self) -> str:
        """Have a survey made if none stands; returns its hash."""
        folder = self._plan.folder
        if not Survey.stands(folder):
            # By a worker: an image that kills its reader must not kill the driver.
            self._work("survey", {}, [Task("survey", 0, "", all_quarantined(folder))])
        return Survey.load(folder)[1]

    def find(self, chunks: Sequence[int], survey: str | None = None) -> dict[int, Entry]:
        """Find flakes on every image of the chunks that are not done; returns their entries."""
        plan = self._plan
        survey = survey or self.survey()
        skip = all_quarantined(plan.folder)
        keys = {c: plan.find_key(c, survey) for c in chunks}
        done = {c: e for c, k in keys.items() if (e := self._done("find", c, k, skip)) is not None}
        tasks = [
            Task(
                "find", c, k, {i.number: skip[i.number] for i in plan.chunk(c) if i.number in skip}
            )
            for c, k in keys.items()
            if c not in done
        ]
        return self._work("find", done, tasks)

    def settle(self, found: Mapping[int, Entry]) -> Setups:
        """Group into setups and calibrate."""
        self._progress.begin("calibrate", len(self._plan.inputs))
        return settle_setups(self._plan, found)

    def measure(self, found: Mapping[int, Entry], setups: Setups) -> dict[int, Entry]:
        """Count layers and measure the found parts where that is not done; returns their entries.

        A chunk is left out if an image of it was set aside: it has to be found without it first.
        """
        plan, tasks, done = self._plan, [], {}
        for chunk in sorted(found):
            own = tuple(setups.numbers[i.number] for i in plan.chunk(chunk))
            sha256 = found[chunk].part_sha256
            key = plan.measure_key(sha256, setups.calibration_sha256, own)
            entry = self._done("measure", chunk, key, {})
            if entry is None:
                tasks.append(Task("measure", chunk, key, setups=own))
            else:
                done[chunk] = entry
        return self._work("measure", done, tasks)

    def _work(self, stage: Stage, done: dict[int, Entry], tasks: list[Task]) -> dict[int, Entry]:
        """Have the tasks done; every outcome is in the ledger before the next is looked at."""
        sizes = {c: len(self._plan.chunk(c)) for c in range(self._plan.n_chunks)}
        before = sum(sizes[c] for c in done)
        self._progress.begin(stage, before + sum(sizes[t.chunk] for t in tasks), before)
        for known in done.values():
            self._progress.known(known)
        if not tasks:
            return done
        put_off = set()
        engine = self._make_engine(self._plan, self._progress)
        try:
            for outcome in engine.run(tasks):
                for number, status in outcome.set_aside.items():
                    self._ledger.quarantine(number, status)
                entry = outcome.entry
                if entry is None:
                    put_off.add(outcome.chunk)
                    continue
                self._ledger.record(entry)
                self._known[entry.stage, entry.chunk] = [entry]
                done[entry.chunk] = entry
                self._progress.finished(entry, sizes[entry.chunk])
        finally:
            engine.close()
        if any(t.chunk not in done and t.chunk not in put_off for t in tasks):
            raise Interrupted(
                f"stopped after {sum(sizes[c] for c in done)} images; the same command goes on"
            )
        return done

    def _done(self, stage: str, chunk: int, key: str, skip: Mapping[int, str]) -> Entry | None:
        """Entry of a part that is there, whole, and made of what is asked now."""
        for entry in self._known.get((stage, chunk), ()):
            if entry.key != key or not _is_whole(self._plan, entry):
                continue
            if stage == "measure":
                return entry
            now = _seen_again(self._plan.chunk(chunk), entry.images, skip)
            if now is not None:
                return self._refreshed(entry, now)
        return None

    def _refreshed(self, entry: Entry, images: tuple[ImageEntry, ...]) -> Entry:
        """Keep new times of files whose content is the old one, so as not to hash them again."""
        if images == entry.images:
            return entry
        fresh = replace(entry, images=images)
        self._ledger.record(fresh)
        return fresh


def _is_whole(plan: Plan, entry: Entry) -> bool:
    try:
        content = part_path(plan.folder, entry.stage, entry.chunk).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == entry.part_sha256


def _seen_again(
    inputs: Iterable[Input], images: Sequence[ImageEntry], skip: Mapping[int, str]
) -> tuple[ImageEntry, ...] | None:
    """Entries of images that are what they were when they were read, or None if one is not."""
    now = [_same(i, e, skip) for i, e in zip(inputs, images, strict=True)]
    return None if any(n is None for n in now) else tuple(n for n in now if n is not None)


def _same(item: Input, entry: ImageEntry, skip: Mapping[int, str]) -> ImageEntry | None:
    set_aside = entry.status in (Status.CRASHED, Status.TIMEOUT)
    if set_aside != (item.number in skip):
        return None
    try:
        status = os.stat(item.path)
    except (OSError, ValueError):
        # A result outlives its image: raw data is moved to an archive after a scan.
        return entry if entry.sha256 or not entry.size else None
    if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns):
        return entry
    if status.st_size != entry.size or not entry.sha256:
        return None
    with open(item.path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return replace(entry, mtime_ns=status.st_mtime_ns) if sha256 == entry.sha256 else None
