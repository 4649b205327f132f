"""A labelling project: a folder in which everything that a person did is kept as it happens.

The log is the truth: each edit is in it before the page hears that it is done, and a project that
is opened again does the edits of its log again. The pictures beside it are for other programs.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from layerscope.app.files import (
    LOG,
    MODEL,
    PictureStore,
    make_folders,
    read_classes,
    read_images,
    read_labels,
    write_classes,
    write_images,
    write_labels,
)
from layerscope.app.opening import chosen_classes, user_name, utc_now, with_new
from layerscope.app.palette import PaintClass, paint_classes
from layerscope.app.summary import Done, ImageState, Summary
from layerscope.batch.lock import RunLock
from layerscope.core.micrograph import Micrograph, PixelSize
from layerscope.errors import InputError, LayerscopeError
from layerscope.io import MAX_PIXELS, read
from layerscope.io.sources import name_sources
from layerscope.labelling.drawing import Drawing, do_edit, replay
from layerscope.labelling.edits import Edit, EditLog, edits_of
from layerscope.labelling.scribbles import Labels
from layerscope.labelling.strokes import SCRIBBLES
from layerscope.labelling.thresholds import thresholds_path, write_thresholds
from layerscope.ops.scale import resolve_pixel_size

Clock = Callable[[], str]

Held = TypeVar("Held", bound=Callable[..., Any])


def _one_at_a_time(method: Held) -> Held:
    """Let one thread of the server work on a project at a time."""

    @functools.wraps(method)
    def held(self: Project, *args: Any, **named: Any) -> Any:
        with self._busy:
            return method(self, *args, **named)

    return held  # type: ignore[return-value]


_OPEN = 6
"""Images whose pixels and drawings are kept in memory; one of 4096 x 4096 px takes 70 MB."""


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project.

    Attributes
    ----------
    name : str
        Also of its files in the project.
    path : Path
    """

    name: str
    path: Path


class Project:
    """An open project; use `Project.open`, and close it.

    Attributes
    ----------
    folder : Path
    images : tuple of ProjectImage
    classes : tuple of PaintClass
    log : EditLog
    who : str
    revision : int
        Grows with every change of scribbles: what was computed before is out of date.
    """

    def __init__(
        self,
        folder: Path,
        images: Sequence[ProjectImage],
        classes: Sequence[PaintClass],
        *,
        who: str,
        now: Clock,
        pixel_size: str | None,
    ):
        self.folder, self.who = folder, who
        self.images, self.classes = tuple(images), tuple(classes)
        self.log = EditLog(folder / LOG)
        self.pictures = PictureStore(folder / "pictures")
        self.revision = len(self.log.edits)
        self._now, self._pixel_size = now, pixel_size
        self._micrographs: OrderedDict[int, Micrograph] = OrderedDict()
        self._drawings: OrderedDict[int, Drawing] = OrderedDict()
        self._unsaved: set[int] = set()
        self._summary = Summary()
        self._lock, self._busy = RunLock(folder, "label"), threading.RLock()
        for edit in self.log.edits:
            self._summary.note(edit)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        images: Iterable[str | Path] = (),
        *,
        classes: Sequence[str] = (),
        who: str = "",
        pixel_size: str | None = None,
        now: Clock = utc_now,
    ) -> Self:
        """Open a project, or make one.

        Parameters
        ----------
        folder : path
        images : iterable of path
            Files or folders, added to those that the project has.
        classes : sequence of str
            Names; a project that is opened again may get more, at the end.
        who : str
            Name for the log; default: of the user of this computer.
        pixel_size : str, optional
            Of all images, e.g. ``0.52nm``; default: as the files say.
        now : callable
            The time, for the log.

        Raises
        ------
        InputError
            If there is no image, classes are not those of the project, or it is open elsewhere.
        CannotWrite
            If the folder cannot be written.
        """
        if pixel_size is not None:
            PixelSize.parse(pixel_size)
        target = Path(folder)
        make_folders(target)
        known = read_images(target)
        listed = with_new(known, [Path(s.path) for s in name_sources(images)])
        if not listed:
            raise InputError("no images: name files or a folder of them")
        chosen = chosen_classes(read_classes(target), classes)
        project = cls(
            target,
            [ProjectImage(*entry) for entry in listed],
            chosen,
            who=who or user_name(),
            now=now,
            pixel_size=pixel_size,
        )
        project._lock.__enter__()
        write_images(target, listed)
        write_classes(target, chosen)
        project._save_thresholds()
        return project

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not written yet, and let others open the project."""
        try:
            self.save()
        finally:
            self._lock.__exit__(None, None, None)

    @_one_at_a_time
    def micrograph(self, index: int) -> Micrograph:
        """Image with its pixel size.

        Raises
        ------
        UnreadableFile
            If the file cannot be read.
        """
        if index not in self._micrographs:
            image = self._image(index)
            found = read(image.path, max_pixels=MAX_PIXELS)
            scaled = resolve_pixel_size(found, pixel_size=self._pixel_size)
            self._micrographs[index] = replace(scaled, name=image.name)
        self._micrographs.move_to_end(index)
        while len(self._micrographs) > _OPEN:
            self._micrographs.popitem(last=False)
        return self._micrographs[index]

    @_one_at_a_time
    def drawing(self, index: int) -> Drawing:
        """Everything painted on an image.

        Raises
        ------
        InputError
            If the log does not fit the image, e.g. as the file was replaced by another.
        """
        if index not in self._drawings:
            name, shape = self._image(index).name, self.micrograph(index).shape
            try:
                found = replay(edits_of(self.log.edits, name), shape, self.pictures)
            except LayerscopeError as error:
                raise InputError(f"{name}: its edits cannot be done again: {error}") from None
            self._drawings[index] = found
        self._drawings.move_to_end(index)
        for old in list(self._drawings)[:-_OPEN]:
            self.save(old)
            del self._drawings[old]
        return self._drawings[index]

    def state(self, index: int) -> ImageState:
        """Return what the log says of an image."""
        return self._summary.states.get(self._image(index).name, ImageState())

    def thresholds(self, index: int) -> dict[str, float]:
        """Least probability of each class on an image; 0.7 where none was set."""
        name = self._image(index).name
        return {c.name: self._summary.thresholds.of(name, c.name) for c in self.classes}

    @_one_at_a_time
    def do(self, index: int, what: str, detail: Mapping[str, Any] | None = None) -> Done:
        """Do an edit of an image, and write it to the log.

        Parameters
        ----------
        index : int
        what : str
            One of `edits.KINDS` but ``classes``.
        detail : mapping, optional
            As `labelling.drawing.do_edit` wants it.

        Raises
        ------
        InputError
            If it cannot be done.
        CannotWrite
            If it cannot be written: then it is not done either.
        """
        drawing, details = self.drawing(index), dict(detail or {})
        counts = {n: drawing.counts(n) for n in (SCRIBBLES, "labels")}
        layer, box = do_edit(drawing, what, details, self.pictures) or ("", (0, 0, 0, 0))
        counted = SCRIBBLES if layer == SCRIBBLES else "labels"
        before, after = self._named(counts[counted]), self._named(drawing.counts(counted))
        details |= {"changed": counted, "state": drawing.state}
        try:
            edit = self._write(index, what, before, after, details)
        except LayerscopeError:
            del self._drawings[index]  # the log has the last word
            raise
        self._unsaved.add(index)
        self.revision += layer == SCRIBBLES
        return Done(edit, layer, box)

    @_one_at_a_time
    def set_thresholds(self, index: int | None, thresholds: Mapping[str, float]) -> None:
        """Save the least probabilities of classes: of one image, or with None of all images.

        Raises
        ------
        InputError
            For a class that is not there, or a value outside of 0 to 1.
        """
        names = {c.name for c in self.classes}
        for name, value in thresholds.items():
            if name not in names or not 0 < value <= 1:
                raise InputError(f"threshold {value} of {name!r}: expected over 0, to 1 of a class")
        detail: dict[str, Any] = {"thresholds": dict(thresholds)}
        if index is None:
            edit = Edit(self._now(), self.who, "", "", "thresholds", detail=detail)
            self._summary.note(self.log.append(edit))
        else:
            detail["state"] = self.state(index).state
            self._write(index, "thresholds", {}, {}, detail)
        self._save_thresholds()

    def _save_thresholds(self) -> None:
        """Write them where `classify` looks for those of the project's model."""
        write_thresholds(thresholds_path(self.folder / MODEL), self._summary.thresholds)

    @_one_at_a_time
    def set_classes(self, names: Sequence[str], colours: Sequence[str]) -> None:
        """Rename or recolour classes, or add some at the end.

        Raises
        ------
        InputError
            If there are fewer than before: what is painted keeps its class.
        """
        if len(names) < len(self.classes):
            raise InputError("a class cannot be taken away: pixels may have it; rename it instead")
        found = paint_classes(names, colours)
        before = [c.name for c in self.classes]
        detail = {"before": before, "after": [[c.name, c.colour] for c in found]}
        edit = Edit(self._now(), self.who, "", "", "classes", detail=detail)
        self._summary.note(self.log.append(edit))
        self.classes = found
        self.revision += 1
        write_classes(self.folder, found)
        self._save_thresholds()

    @_one_at_a_time
    def save(self, index: int | None = None) -> None:
        """Write the pictures of one image, or of all that changed."""
        for i in sorted(self._unsaved if index is None else self._unsaved & {index}):
            name, drawing = self.images[i].name, self._drawings[i]
            write_labels(self.folder / SCRIBBLES / f"{name}.png", drawing.scribbles)
            labels, path = drawing.labels, self.folder / "labels" / f"{name}.png"
            if labels is None:
                path.unlink(missing_ok=True)
            else:
                write_labels(path, labels)
            self._unsaved.discard(i)

    def adopt_pictures(self, index: int) -> None:
        """Take over what another program put into ``labels/`` and ``scribbles/``.

        Only where the log has nothing about the image: else the log has the last word.
        """
        name = self._image(index).name
        if name in self._summary.states:
            return
        for layer in (SCRIBBLES, "labels"):
            path = self.folder / layer / f"{name}.png"
            if path.exists():
                detail = {"picture": self.pictures.keep(read_labels(path)), "source": str(path)}
                self.do(index, "import", detail | {"layer": layer})

    def import_labels(self, index: int, labels: Labels, source: str) -> Done:
        """Lay a label picture from elsewhere under the corrections."""
        detail = {"picture": self.pictures.keep(labels), "source": source}
        return self.do(index, "import", detail)

    def accept(self, index: int, labels: Labels, detail: Mapping[str, Any]) -> Done:
        """Make `labels` the label picture of an image; earlier corrections stay on top."""
        return self.do(index, "accept", {"picture": self.pictures.keep(labels), **detail})

    def approve(self, index: int) -> Done:
        """Accept the label picture that is there, with its corrections.

        Raises
        ------
        InputError
            If there is none.
        """
        labels = self.drawing(index).labels
        if labels is None:
            raise InputError("there is no label picture to accept")
        return self.accept(index, labels, {"source": "labels"})

    def was_replaced(self, index: int) -> bool:
        """Whether the file of an image is another than the one that was labelled."""
        edits = edits_of(self.log.edits, self._image(index).name)
        return bool(edits) and edits[-1].sha256 != self.micrograph(index).sha256

    def _write(
        self,
        index: int,
        what: str,
        before: Mapping[str, int],
        after: Mapping[str, int],
        detail: Mapping[str, Any],
    ) -> Edit:
        name, sha256 = self._image(index).name, self.micrograph(index).sha256
        edit = self.log.append(
            Edit(self._now(), self.who, name, sha256, what, before, after, detail)
        )
        self._summary.note(edit)
        return edit

    def _named(self, counts: Mapping[int, int]) -> dict[str, int]:
        names = {c.value: c.name for c in self.classes}
        return {names.get(v, str(v)): n for v, n in counts.items()}

    def _image(self, index: int) -> ProjectImage:
        if not 0 <= index < len(self.images):
            raise InputError(f"no image {index}: there are {len(self.images)}, numbered from 0")
        return self.images[index]
