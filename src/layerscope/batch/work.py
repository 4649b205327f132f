"""The units of work: one chunk of images to one part. Pure functions of the run folder.

Whoever calls them, in whatever order, on whichever machine, the same part comes out.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.batch.ledger import Entry, ImageEntry, Stage
from layerscope.batch.parts import Failed, part_path, read_found, write_found, write_part
from layerscope.batch.plan import Input, Plan
from layerscope.batch.settings import given_file
from layerscope.batch.survey import Survey
from layerscope.core.results import Detections
from layerscope.core.scan import STATUS_MEANING, Status
from layerscope.errors import LayerscopeError, TooLarge, UnreadableFile
from layerscope.finding import Found, choose, find_in, finish, unsure
from layerscope.measure import measure_columns, table_of
from layerscope.measure.table import Columns
from layerscope.ops.tone import ToneCurve, tone_curve
from layerscope.tasks.layers import count_by_head, count_by_physics

if TYPE_CHECKING:
    import pyarrow as pa

    from layerscope.core.calibration import Calibration
    from layerscope.models.heads import LayerHead
    from layerscope.physics.materials import Material
    from layerscope.tasks.finders import Finder

CALIBRATION = "calibration.toml"
"""Made by the scan itself, unless the user gave one or a head."""

ROW = "found_row"
"""Column of a ``measure`` part: which region of the image's ``find`` part a row is."""


@dataclass(frozen=True)
class Task:
    """One chunk to be worked on.

    Attributes
    ----------
    stage : {"survey", "find", "measure"}
        A survey is of the whole scan, as chunk 0.
    chunk : int
    key : str
        Goes into the entry; see `Plan.find_key` and `Plan.measure_key`.
    skip : dict of int to str
        Images that must not be touched, with the status they get.
    setups : tuple of int
        Setup of each image of the chunk, for ``measure``.
    """

    stage: Stage
    chunk: int
    key: str
    skip: dict[int, str] = field(default_factory=dict)
    setups: tuple[int, ...] = ()

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Task:
        """Read what `as_json` wrote."""
        document = json.loads(line)
        skip = {int(n): status for n, status in document.pop("skip").items()}
        return cls(skip=skip, setups=tuple(document.pop("setups")), **document)


_CHANGING = {"plan": "inputs.jsonl", "survey": "survey.json", "calibration": CALIBRATION}

OnImage = Callable[[int], None]
"""Called with an image's number before it is touched."""


class Desk:
    """A run folder opened for work: its plan, its survey, its calibration, each read once.

    While a folder of images is watched they change between two tasks, and are read again.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._stamps = self._now()
        _ = self.plan

    @cached_property
    def plan(self) -> Plan:
        """What is to be done."""
        return Plan.load(self.folder)

    @cached_property
    def survey(self) -> Survey:
        """What the sample said."""
        return Survey.load(self.folder)[0]

    @cached_property
    def calibration(self) -> Calibration:
        """The calibration as it stands in its file: workers and driver see the same digits."""
        from layerscope.io.calibration import read_calibration

        given = self.plan.settings.calibration
        own = self.folder / CALIBRATION
        return read_calibration(given_file(self.folder, given) if given else own)

    @cached_property
    def head(self) -> LayerHead | None:
        """The classifier that the user gave."""
        from layerscope.models.heads import load_head

        name = self.plan.settings.head
        return load_head(given_file(self.folder, name)) if name else None

    @cached_property
    def finder(self) -> Finder:
        """What looks for flakes, its model opened once."""
        return self.plan.settings.make_finder(self.folder)

    @cached_property
    def tone(self) -> ToneCurve:
        """The camera's curve, as told or as found."""
        curve = self.plan.settings.tone_curve
        return curve or tone_curve("linear" if self.head else self.calibration.tone)

    @cached_property
    def material(self) -> Material:
        """The crystal."""
        from layerscope.physics.materials import load

        return load(self.plan.settings.material)

    def do(self, task: Task, on_image: OnImage | None = None) -> Entry:
        """Work on one chunk and write its part.

        Raises
        ------
        InputError
            If the part cannot be written, or an earlier part that it needs is damaged. A bad
            image is no error.
        """
        self._reread()
        work = {"survey": _survey, "find": _find, "measure": _measure}[task.stage]
        return work(self, task, on_image or (lambda _: None))

    def _now(self) -> dict[str, tuple[int, int]]:
        return {name: _stat(str(self.folder / file)) for name, file in _CHANGING.items()}

    def _reread(self) -> None:
        """Forget what was read of files that are no longer what they were."""
        now = self._now()
        changed = {name for name, stamp in now.items() if stamp != self._stamps[name]}
        if "calibration" in changed:
            changed.add("tone")  # the calibration names it
        for name in changed:
            self.__dict__.pop(name, None)
        self._stamps = now


def _survey(desk: Desk, task: Task, on_image: OnImage) -> Entry:
    start = time.process_time()
    Survey.of(desk.plan, skip=task.skip, on_image=on_image).save(desk.folder)
    times = {"survey": time.process_time() - start}
    return Entry("survey", 0, task.key, Survey.load(desk.folder)[1], cpu_s=_short(times))


def _find(desk: Desk, task: Task, on_image: OnImage) -> Entry:
    start, rows, images, megapixels = time.process_time(), [], [], 0.0
    for item in desk.plan.chunk(task.chunk):
        seen = _stat(item.path)
        if item.number in task.skip:
            row: Found | Failed = _skipped(item, Status(task.skip[item.number]))
        else:
            on_image(item.number)
            row = _find_in(desk, item, on_image)
        status = Status.OK if isinstance(row, Found) else row.status
        sha256 = row.sha256 if isinstance(row, Found) else ""
        megapixels += row.shape[0] * row.shape[1] * 1e-6 if isinstance(row, Found) else 0.0
        rows.append(row)
        images.append(ImageEntry(item.number, str(status), *seen, sha256))
    found = time.process_time()
    sha256 = write_found(part_path(desk.folder, "find", task.chunk), rows)
    regions = sum(len(r.detections) for r in rows if isinstance(r, Found))
    times = {"find": found - start, "write": time.process_time() - found, "mpix": megapixels}
    return Entry("find", task.chunk, task.key, sha256, tuple(images), regions, _short(times))


def _short(times: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in times.items()}


def _stat(path: str) -> tuple[int, int]:
    """Size and time of change, by which a resumed scan knows the file again."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _skipped(item: Input, status: Status) -> Failed:
    return Failed(
        item.source, status, f"{item.name}: {STATUS_MEANING[status]}; 'retry' tries again"
    )


def _find_in(desk: Desk, item: Input, on_image: OnImage) -> Found | Failed:
    settings, survey, finder = desk.plan.settings, desk.survey, desk.finder
    try:
        found = find_in(
            item.source,
            scale=settings.scale,
            optics=settings.optics(survey.flat_field),
            wanted=settings.wanted,
            max_pixels=settings.max_pixels,
            substrates=survey.substrates,
            on_tile=lambda: on_image(item.number),
            finder=finder,
        )
    except LayerscopeError as error:
        return Failed(item.source, _status_of(error), str(error))
    except MemoryError:
        return Failed(item.source, Status.LIMIT, f"{item.name}: more memory than there is")
    except Exception as error:  # a fault of ours must cost one image, not the scan
        reason = " ".join(str(error).split())[:200]
        return Failed(item.source, Status.ERROR, f"{item.name}: {type(error).__name__}: {reason}")
    return found if found.background.confident else unsure(found)


def _status_of(error: LayerscopeError) -> Status:
    if isinstance(error, TooLarge):
        return Status.LIMIT
    return Status.DECODE if isinstance(error, UnreadableFile) else Status.UNUSABLE


def _measure(desk: Desk, task: Task, on_image: OnImage) -> Entry:
    start = time.process_time()
    found = read_found(part_path(desk.folder, "find", task.chunk))
    parts: list[Columns] = []
    images = []
    for item, row, setup in zip(desk.plan.chunk(task.chunk), found, task.setups, strict=True):
        if isinstance(row, Failed):
            continue
        on_image(item.number)
        columns, notes = _measured(desk, row, setup)
        parts.append(columns)
        number = len(columns[ROW])
        images.append({"number": item.number, "regions": number, "notes": list(notes)})
    sha256 = write_part(part_path(desk.folder, "measure", task.chunk), _objects(parts, images))
    regions = sum(len(c[ROW]) for c in parts)
    times = {"measure": time.process_time() - start}
    return Entry("measure", task.chunk, task.key, sha256, (), regions, _short(times))


def _measured(desk: Desk, found: Found, setup: int) -> tuple[Columns, tuple[str, ...]]:
    """Rows of one image, each with the number of its region in the ``find`` part."""
    counted = _counted(desk, found, setup)
    wanted = desk.plan.settings.wanted
    rows, _ = choose(counted, wanted)
    result = finish(found, counted, setup, wanted)
    columns = measure_columns(
        result.detections,
        pixel_size=result.pixel_size,
        image=result.name,
        tone=desk.tone,
        setup=setup,
    )
    return {**columns, ROW: rows}, result.notes


def _counted(desk: Desk, found: Found, setup: int) -> Detections:
    settings = desk.plan.settings
    if desk.head is not None:
        return count_by_head(found.detections, desk.head, desk.material, settings.max_layers)
    level = found.background.level
    return count_by_physics(found.detections, level, setup, desk.calibration, settings.tone_curve)


def _objects(parts: Sequence[Columns], images: Sequence[dict[str, Any]]) -> pa.Table:
    """One table of all regions of the chunk; what concerns whole images is its metadata."""
    import pyarrow as pa

    filled = [c for c in parts if len(c[ROW])] or parts[:1]
    table = pa.Table.from_pandas(table_of(filled), preserve_index=False) if filled else pa.table({})
    return table.replace_schema_metadata({"images": json.dumps(images, ensure_ascii=False)})
