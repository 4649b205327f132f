"""What the classifier says of an image, piece by piece: what is in view first, rough, then exact.

Answers are kept as bytes (255: certain), chunk by chunk, with the revision of the scribbles that
they are from. What the page shows, and what is accepted, are the same bytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layerscope.app.project import Project
from layerscope.app.shares import CHUNK_PX, Piece, ShareMap, Shares
from layerscope.errors import InputError
from layerscope.io.annotated.images import unit_pixels
from layerscope.labelling.drawing import Box
from layerscope.labelling.painting import PaintSession, PaintSettings, PixelClassifier, fit_pixels
from layerscope.labelling.scribbles import ERASER
from layerscope.labelling.strokes import SCRIBBLES
from layerscope.models.file import with_channels
from layerscope.ops.normalisation import as_unit
from layerscope.ops.tiles import Window

if TYPE_CHECKING:
    from layerscope.models.file import Model

_BLOCK = 4
"""Chunks a side that are answered roughly at once: the 64 px around it that features look at are
27 % more pixels for 1024 x 1024 px, and 125 % more for 256 x 256 px."""

STROKES, MODEL = "strokes", "model"
"""Where a prediction comes from: what was painted, or a model file."""

_KEPT_CHUNKS = 30  # whose features fit into `labelling.feature_cache`

_KEPT = 3


class Painter:
    """Answers about the images of a project.

    Parameters
    ----------
    project : Project
    settings : PaintSettings, optional
    model : Model, optional
        Asked before there are strokes, or when the page wants it.
    """

    def __init__(
        self, project: Project, settings: PaintSettings | None = None, model: Model | None = None
    ):
        self.project, self.settings, self.model = project, settings or PaintSettings(), model
        self._sessions: dict[int, PaintSession] = {}
        self._names: tuple[str, ...] = ()
        self._asked, self._grey = -1, False
        self._maps: OrderedDict[tuple[int, str], ShareMap] = OrderedDict()
        self._changed: list[tuple[int, Box]] = []
        self._classifier: tuple[int, PixelClassifier] | None = None
        self._lock = threading.RLock()

    def changed(self, index: int, box: Box) -> None:
        """Say that scribbles in a box changed; never waits for a computation."""
        self._changed.append((index, box))

    def sources(self) -> list[str]:
        """Where predictions can come from now, the better first."""
        found = [STROKES] if self.has_strokes() else []
        return [*found, *([MODEL] if self.model is not None else [])]

    def has_strokes(self) -> bool:
        """Whether strokes are enough to learn from."""
        return len(self._painted_classes()) > 1

    def missing(self) -> str:
        """Say what is missing for an answer, in words; empty: nothing."""
        painted = self._painted_classes()
        if self.sources():
            return ""
        if not painted:
            return "Paint a few strokes in two classes, and the rest is answered."
        return f"Only {painted[0]} has strokes so far. Paint a few in a second class."

    def prepare(self, index: int, box: Box, wanted: Callable[[], bool]) -> None:
        """Do what the first answer about a box needs, while nobody has painted yet."""
        import sklearn.ensemble  # noqa: F401  takes a second or two

        kept = self._map(index, STROKES)
        for block in _blocks(kept.chunks(box)[:_KEPT_CHUNKS]):
            if not wanted():
                return
            with self._lock:
                self._session(index).look(_around(block))
                self._tidy(index)

    def answer(
        self, index: int, source: str, box: Box, level: int, wanted: Callable[[], bool]
    ) -> Generator[Piece, None, bool]:
        """Answer about a part of an image.

        Parameters
        ----------
        index : int
        source : str
            `STROKES` or `MODEL`.
        box : tuple of int
            Top, left, bottom, right in pixels of the image.
        level : int
            Of the pieces.
        wanted : callable
            Asked before each piece: whether somebody still waits for it.

        Yields
        ------
        Piece
            What is known at once; then, where something is out of date, rough and exact ones.

        Returns
        -------
        bool
            Whether it was answered to the end.
        """
        if source not in self.sources():
            return False
        with self._lock:
            stamp, kept = self._stamp(source), self._map(index, source)
        chunks = kept.chunks(box)
        stale = [c for c in chunks if not kept.is_fresh(c, stamp)]
        for chunk in chunks:
            if kept.is_fresh(chunk, stamp):
                yield kept.piece(chunk, level, coarse=False)
        for coarse, parts in _steps(stale, rough=source == STROKES):
            if not wanted() or self._stamp(source) != stamp:
                return False
            self._compute(index, source, parts, stamp, coarse=coarse)
            for chunk in parts:
                yield kept.piece(chunk, level, coarse=coarse)
        return True

    def fill(self, index: int, source: str) -> Iterator[tuple[int, int]]:
        """Answer about a whole image, computing what is not known yet; then `shares` has it.

        Yields
        ------
        tuple of int
            Chunks done, and chunks to do.

        Raises
        ------
        InputError
            If nothing can answer yet, or strokes change meanwhile.
        """
        if source not in self.sources():
            raise InputError(self.missing() or f"nothing predicts from {source!r}")
        with self._lock:
            stamp, kept = self._stamp(source), self._map(index, source)
        stale = [c for c in kept.chunks((0, 0, *kept.shape)) if not kept.is_fresh(c, stamp)]
        for done, chunk in enumerate(stale):
            if self._stamp(source) != stamp:
                raise InputError("strokes were painted meanwhile; accept again")
            yield done, len(stale)
            self._compute(index, source, [chunk], stamp, coarse=False)
        yield len(stale), len(stale)

    def shares(self, index: int, source: str) -> Shares:
        """Whole answer about an image as far as it is known, (H, W, K)."""
        with self._lock:
            return self._map(index, source).shares

    def classifier(self) -> PixelClassifier:
        """Return what all strokes of the project teach.

        Raises
        ------
        InputError
            If fewer than two classes have strokes.
        """
        with self._lock:
            stamp = self._stamp(STROKES)
            if self._classifier is None or self._classifier[0] != stamp:
                indices = self._painted_images()
                images = [unit_pixels(self.project.micrograph(i)) for i in indices]
                scribbles = [self.project.drawing(i).scribbles for i in indices]
                names = [c.name for c in self.project.classes]
                found = fit_pixels(images, scribbles, names, self.settings)
                self._classifier = stamp, found
            return self._classifier[1]

    def _compute(
        self, index: int, source: str, chunks: Sequence[Window], stamp: int, *, coarse: bool
    ) -> None:
        """Answer about chunks that lie together."""
        with self._lock:
            kept = self._map(index, source)
            if all(kept.is_fresh(c, stamp) for c in chunks):
                return
            if source == MODEL:
                self._ask_model(index, kept, stamp)
                return
            around = _around(chunks)
            found = self._ask(index, around, coarse=coarse)
            for c in chunks:
                rows = slice(c.top - around.top, c.bottom - around.top)
                columns = slice(c.left - around.left, c.right - around.left)
                kept.put(c, found[rows, columns], -1 if coarse else stamp)

    def _ask(self, index: int, window: Window, *, coarse: bool) -> npt.NDArray[np.float32]:
        """Probabilities of a window, by a session that learned from all painted images."""
        self._tell_changes()
        painted = self._painted_images()
        sessions = [self._session(i) for i in painted]
        session = self._session(index)
        try:
            session.learn_from(sessions)
        except InputError:  # grey and colour images in one project: all are taken as grey
            if self._grey:
                raise
            self._grey = True
            self._sessions.clear()
            return self._ask(index, window, coarse=coarse)
        self._tidy(index)
        return session.answer(window, coarse=coarse).probabilities

    def _ask_model(self, index: int, kept: ShareMap, stamp: int) -> None:
        """Fill the whole map: networks look far, so that they see the image at once."""
        assert self.model is not None
        image = self.project.micrograph(index)
        size_nm = None if image.pixel_size is None else 1e3 * image.pixel_size.um
        found = self.model.predict(unit_pixels(image), size_nm)
        ordered = np.zeros((*kept.shape, len(self.project.classes)), np.float32)
        of_name = {name: k for k, name in enumerate(self.model.card.classes)}
        for k, painted in enumerate(self.project.classes):
            if painted.name in of_name:
                ordered[..., k] = found[..., of_name[painted.name]]
        for chunk in kept.chunks((0, 0, *kept.shape)):
            part = ordered[chunk.top : chunk.bottom, chunk.left : chunk.right]
            kept.put(chunk, part, stamp)

    def _tidy(self, index: int) -> None:
        """Keep features of one image only, and of the others what the strokes need."""
        if index == self._asked:
            return
        painted = set(self._painted_images())
        for i in [i for i in self._sessions if i != index]:
            self._sessions[i].rest()
            if i not in painted:
                del self._sessions[i]
        self._asked = index

    def _tell_changes(self) -> None:
        """Tell the sessions what was painted since they were asked last."""
        changed, self._changed = self._changed, []
        for index, box in changed:
            if index in self._sessions:
                self._tell(self._sessions[index], index, box)

    def _session(self, index: int) -> PaintSession:
        """Session of an image that knows all its strokes."""
        names = tuple(c.name for c in self.project.classes)
        if index not in self._sessions or names != self._names:
            if names != self._names:
                self._sessions.clear()
                self._names = names
            pixels = unit_pixels(self.project.micrograph(index))
            if self._grey:
                pixels = with_channels(as_unit(pixels), 1)
            session = PaintSession(pixels, names, self.settings)
            self._tell(session, index, (0, 0, *self.project.drawing(index).shape))
            self._sessions[index] = session
        return self._sessions[index]

    def _tell(self, session: PaintSession, index: int, box: Box) -> None:
        part = self.project.drawing(index).part(box, SCRIBBLES)
        session.scribble(np.where(part == 0, np.uint8(ERASER), part), box[0], box[1])

    def _stamp(self, source: str) -> int:
        return self.project.revision if source == STROKES else 0

    def _map(self, index: int, source: str) -> ShareMap:
        key, classes = (index, source), len(self.project.classes)
        if key not in self._maps or self._maps[key].shares.shape[2] != classes:
            self._maps[key] = ShareMap(self.project.micrograph(index).shape, classes)
            while len(self._maps) > _KEPT:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]

    def _painted_images(self) -> list[int]:
        states = [self.project.state(i) for i in range(len(self.project.images))]
        return [i for i, s in enumerate(states) if s.scribbled]

    def _painted_classes(self) -> list[str]:
        states = [self.project.state(i) for i in range(len(self.project.images))]
        found = {name for s in states for name in (s.scribbled or ())}
        return [c.name for c in self.project.classes if c.name in found]


def _steps(stale: Sequence[Window], *, rough: bool) -> list[tuple[bool, list[Window]]]:
    """In which order chunks are answered roughly (True) and exactly.

    All roughly first; of more than a session keeps the features of, block by block.
    """
    exact = [(False, [chunk]) for chunk in stale]
    if not rough:
        return exact
    blocks = _blocks(stale)
    if len(stale) <= _KEPT_CHUNKS:
        return [*((True, block) for block in blocks), *exact]
    return [s for b in blocks for s in ((True, b), *((False, [chunk]) for chunk in b))]


def _blocks(chunks: Sequence[Window]) -> list[list[Window]]:
    """Chunks that lie together, in the order of the first one of each block."""
    side = _BLOCK * CHUNK_PX
    found: dict[tuple[int, int], list[Window]] = {}
    for chunk in chunks:
        found.setdefault((chunk.top // side, chunk.left // side), []).append(chunk)
    return list(found.values())


def _around(chunks: Sequence[Window]) -> Window:
    return Window(
        min(c.top for c in chunks), min(c.left for c in chunks),
        max(c.bottom for c in chunks), max(c.right for c in chunks),
    )  # fmt: skip
