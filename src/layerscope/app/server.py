"""The web server of a labelling project: `create_app`.

The browser names images by number and never by path; nothing can be uploaded. Answers are streamed
in pieces, and a stream ends as soon as the browser asks for a newer one.
"""

from __future__ import annotations

import json
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from layerscope.app.asked import (
    AcceptAsked,
    AnswerAsked,
    ClassesAsked,
    ClearAsked,
    ExportAsked,
    StrokeAsked,
    ThresholdsAsked,
)
from layerscope.app.export import EXPORTS, export_labels, proposed_ground
from layerscope.app.files import MODEL
from layerscope.app.painter import Painter
from layerscope.app.pictures import TILE_PX, TileShelf, levels_of
from layerscope.app.shares import Piece, classified
from layerscope.app.suggestions import Suggester
from layerscope.app.summary import Done
from layerscope.errors import CannotWrite, InputError, LayerscopeError
from layerscope.gate import LOCAL_HOSTS, Gate, static_files
from layerscope.labelling.drawing import Box
from layerscope.labelling.strokes import SCRIBBLES

STATIC = Path(__file__).parent / "static"

_SAVE_EVERY_S = 4.0
_BINARY, _LINES = "application/octet-stream", "application/x-ndjson"


def create_app(
    painter: Painter,
    *,
    token: str = "",
    hosts: Sequence[str] = LOCAL_HOSTS,
) -> FastAPI:
    """Web application for one project.

    Parameters
    ----------
    painter : Painter
        With the open project; whoever opened it closes it.
    token : str
        That the address must hold; empty: none, and only local names are answered.
    hosts : sequence of str
        Names of this computer, where there is no token.
    """
    desk = Desk(painter)

    @asynccontextmanager
    async def saving(_: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=desk.save_now_and_then, args=(stop,), daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    app = FastAPI(title="layerscope", lifespan=saving, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, token=token, hosts=hosts)
    app.add_exception_handler(LayerscopeError, _refused)
    _add_project_routes(app, desk)
    _add_image_routes(app, desk)
    _add_edit_routes(app, desk)
    app.add_api_route("/", lambda: FileResponse(STATIC / "index.html"), methods=["GET"])
    app.mount("/static", static_files(STATIC), name="static")
    return app


class Desk:
    """What the requests of a page share."""

    def __init__(self, painter: Painter):
        self.painter, self.project = painter, painter.project
        self.shelf, self.suggester = TileShelf(), Suggester(painter)
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()

    def whole(self) -> dict[str, Any]:
        """Everything about the project but its pixels."""
        project = self.project
        names = [c.name for c in project.classes]
        return {
            "name": project.folder.resolve().name,
            "folder": str(project.folder.resolve()),
            "who": project.who,
            "classes": [{"name": c.name, "value": c.value, "colour": c.colour}
                        for c in project.classes],
            "images": [self.listed(i) for i in range(len(project.images))],
            "sources": self.painter.sources(),
            "missing": self.painter.missing(),
            "exports": EXPORTS,
            "ground": proposed_ground(names),
            "notes": list(project.log.notes),
        }  # fmt: skip

    def listed(self, index: int) -> dict[str, Any]:
        """One row of the list of images."""
        state = self.project.state(index)
        return {
            "id": index,
            "name": self.project.images[index].name,
            "state": state.state,
            "scribbled": dict(state.scribbled or {}),
            "labelled": dict(state.labelled or {}),
        }

    def opened(self, index: int) -> dict[str, Any]:
        """Everything about one image but its pixels."""
        micrograph = self.project.micrograph(index)
        self.project.adopt_pictures(index)
        size = micrograph.pixel_size
        notes = [str(n) for n in micrograph.metadata.get("notes", ())]
        if self.project.was_replaced(index):
            notes.append("This file is not the one that was labelled: its content has changed.")
        return {
            **self.now(index),
            "height": micrograph.shape[0],
            "width": micrograph.shape[1],
            "pixel_size_nm": None if size is None else [size.y_nm, size.x_nm],
            "pixel_size_source": "" if size is None else size.source,
            "levels": levels_of(micrograph.shape),
            "tile": TILE_PX,
            "thresholds": self.project.thresholds(index),
            "notes": notes,
        }

    def now(self, index: int) -> dict[str, Any]:
        """Return what an edit can change of an image."""
        drawing = self.project.drawing(index)
        return {
            **self.listed(index),
            "can_undo": drawing.can_undo,
            "can_redo": drawing.can_redo,
            "revision": self.project.revision,
            "sources": self.painter.sources(),
            "missing": self.painter.missing(),
        }

    def done(self, index: int, done: Done) -> dict[str, Any]:
        """Tell the painter of an edit, and answer with what it changed."""
        if done.layer == SCRIBBLES:
            self.painter.changed(index, done.box)
        return {**self.now(index), "layer": done.layer, "box": done.box}

    def ticket(self, client: str) -> int:
        """Make what this client asked for before out of date."""
        with self._lock:
            self._newest[client] = self._newest.get(client, 0) + 1
            return self._newest[client]

    def is_newest(self, client: str, ticket: int) -> bool:
        """Whether the client asked for nothing newer."""
        return self._newest.get(client) == ticket

    def accept(self, index: int, source: str) -> Iterator[bytes]:
        """Complete the prediction, then make it the label picture; a line of JSON per step."""
        try:
            if source == "labels":
                yield _line({"done": self.done(index, self.project.approve(index))})
                return
            for done, total in self.painter.fill(index, source):
                yield _line({"progress": done / max(total, 1)})
            thresholds = self.project.thresholds(index)
            labels = classified(self.painter.shares(index, source), list(thresholds.values()))
            scribbles = self.project.drawing(index).scribbles
            labels[scribbles > 0] = scribbles[scribbles > 0]
            detail = {"source": source, "thresholds": thresholds}
            yield _line({"done": self.done(index, self.project.accept(index, labels, detail))})
        except LayerscopeError as error:
            yield _line({"error": str(error)})

    def write_model(self) -> dict[str, Any]:
        """Write ``model.onnx`` of the project, learned from all its strokes."""
        path, classifier = self.project.folder / MODEL, self.painter.classifier()
        card = classifier.save(path, self.project.folder.resolve().name)
        return {
            "path": str(path.resolve()),
            "classes": list(card.classes),
            "held_out": card.metrics.get("balanced_accuracy"),
            "held_out_by": card.metrics.get("held_out_by", ""),
        }

    def save_now_and_then(self, stop: threading.Event) -> None:
        """Write pictures of what changed, until told to stop; the log is written at once anyway."""
        while not stop.wait(_SAVE_EVERY_S):
            with suppress(CannotWrite):  # the next edit says it on the page
                self.project.save()


def _add_project_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/project")
    def project() -> dict[str, Any]:
        return desk.whole()

    @app.post("/api/classes")
    def classes(asked: ClassesAsked) -> dict[str, Any]:
        desk.project.set_classes(asked.names, asked.colours)
        return desk.whole()

    @app.post("/api/thresholds")
    def thresholds(asked: ThresholdsAsked) -> dict[str, Any]:
        desk.project.set_thresholds(None, asked.thresholds)
        return {}

    @app.get("/api/suggestions")
    def suggestions() -> list[dict[str, float]]:
        return [
            {"id": s.index, "uncertainty": s.uncertainty, "distance": s.distance}
            for s in desk.suggester.ranked()
        ]

    @app.post("/api/export")
    def export(asked: ExportAsked) -> dict[str, Any]:
        folder, notes = export_labels(desk.project, asked.kind, asked.ground)
        return {"path": str(folder.resolve()), "notes": notes}

    @app.post("/api/model")
    def model() -> dict[str, Any]:
        return desk.write_model()


def _add_image_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/images/{index}")
    def image(index: int) -> dict[str, Any]:
        return desk.opened(index)

    @app.get("/api/images/{index}/thumbnail.jpg")
    def thumbnail(index: int) -> Response:
        content = desk.shelf.thumbnail(index, partial(desk.project.micrograph, index))
        return Response(content, media_type="image/jpeg")

    @app.get("/api/images/{index}/tiles/{view}/{level}/{row}/{column}.png")
    def tile(index: int, view: str, level: int, row: int, column: int) -> Response:
        micrograph = desk.project.micrograph(index)
        content = desk.shelf.tile(index, micrograph, view, (level, row, column))
        return Response(content, media_type="image/png")

    @app.get("/api/images/{index}/pixels/{layer}")
    def pixels(index: int, layer: str, box: Annotated[str, Query()] = "") -> Response:
        drawing = desk.project.drawing(index)
        part = drawing.part(_box(box, drawing.shape), layer)
        packed = zlib.compress(part.tobytes(), 1)
        return Response(packed, media_type=_BINARY, headers={"content-encoding": "deflate"})

    @app.post("/api/images/{index}/prepare")
    def prepare(index: int, asked: AnswerAsked) -> dict[str, Any]:
        ticket = desk.ticket(asked.client)
        box = (asked.top, asked.left, asked.bottom, asked.right)
        desk.painter.prepare(index, box, partial(desk.is_newest, asked.client, ticket))
        return {}

    @app.post("/api/images/{index}/answer")
    def answer(index: int, asked: AnswerAsked) -> StreamingResponse:
        ticket = desk.ticket(asked.client)
        box = (asked.top, asked.left, asked.bottom, asked.right)
        wanted = partial(desk.is_newest, asked.client, ticket)
        pieces = desk.painter.answer(index, asked.source, box, asked.level, wanted)
        return StreamingResponse(_framed(pieces), media_type=_BINARY)


def _add_edit_routes(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/images/{index}/strokes")
    def stroke(index: int, asked: StrokeAsked) -> dict[str, Any]:
        return desk.done(index, desk.project.do(index, "stroke", asked.model_dump()))

    @app.post("/api/images/{index}/undo")
    def undo(index: int) -> dict[str, Any]:
        return desk.done(index, desk.project.do(index, "undo"))

    @app.post("/api/images/{index}/redo")
    def redo(index: int) -> dict[str, Any]:
        return desk.done(index, desk.project.do(index, "redo"))

    @app.post("/api/images/{index}/clear")
    def clear(index: int, asked: ClearAsked) -> dict[str, Any]:
        return desk.done(index, desk.project.do(index, "clear", asked.model_dump()))

    @app.post("/api/images/{index}/withdraw")
    def withdraw(index: int) -> dict[str, Any]:
        return desk.done(index, desk.project.do(index, "withdraw"))

    @app.post("/api/images/{index}/thresholds")
    def thresholds(index: int, asked: ThresholdsAsked) -> dict[str, Any]:
        desk.project.set_thresholds(index, asked.thresholds)
        return desk.now(index)

    @app.post("/api/images/{index}/accept")
    def accept(index: int, asked: AcceptAsked) -> StreamingResponse:
        return StreamingResponse(desk.accept(index, asked.source), media_type=_LINES)


def _framed(pieces: Generator[Piece, None, bool]) -> Iterator[bytes]:
    """Pieces as frames: length of a JSON header, the header, then a plane of bytes per class."""
    try:
        while True:
            piece = next(pieces)
            height, width, classes = piece.shares.shape
            head = {
                "level": piece.level, "top": piece.top, "left": piece.left, "height": height,
                "width": width, "classes": classes, "coarse": piece.coarse,
            }  # fmt: skip
            yield _frame(head, piece.shares.transpose(2, 0, 1).tobytes())
    except StopIteration as end:
        yield _frame({"done": True, "whole": end.value}, b"")
    except LayerscopeError as error:
        yield _frame({"error": str(error)}, b"")


def _frame(head: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<II", len(text), len(body)) + text + body


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _box(text: str, shape: tuple[int, int]) -> Box:
    """Box of ``top,left,bottom,right`` inside of the image; the whole image without a text."""
    if not text:
        return 0, 0, *shape
    parts = text.split(",")
    if len(parts) != 4 or not all(p.isdigit() for p in parts):
        raise InputError(f"box {text!r}: expected top,left,bottom,right")
    top, left, bottom, right = (int(p) for p in parts)
    if not (top <= bottom <= shape[0] and left <= right <= shape[1]):
        raise InputError(f"box {text!r} is not inside of the image {shape}")
    return top, left, bottom, right


def _refused(_: Request, error: Exception) -> JSONResponse:
    status = 507 if isinstance(error, CannotWrite) else 400
    return JSONResponse({"error": str(error)}, status if isinstance(error, InputError) else 500)
