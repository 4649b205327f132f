"""The live view in the browser: every page gets the same drawing, as fast as it can show it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

from layerscope.gate import LOCAL_HOSTS, Gate, static_files
from layerscope.live.session import Session

STATIC = Path(__file__).parent / "static"

_AHEAD = 2
"""Pictures under way to one page: with one, the way back would cost every second picture."""

_WAIT_S = 0.5
_PATIENCE_S = 2
_LONGEST_MESSAGE = 4096


def create_live_app(
    session: Session, *, token: str = "", hosts: Sequence[str] = LOCAL_HOSTS
) -> FastAPI:
    """Web application of one session.

    Parameters
    ----------
    session : Session
    token : str
        That the address must hold; empty: none, and only local names are answered.
    hosts : sequence of str
        Names of this computer, where there is no token.
    """
    app = FastAPI(title="layerscope live", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, token=token, hosts=hosts)
    app.add_api_route("/", lambda: FileResponse(STATIC / "index.html"), methods=["GET"])
    app.mount("/static", static_files(STATIC), name="static")

    @app.get("/picture.jpg")
    def picture() -> Response:
        newest = session.drawings.newest
        if newest is None:
            return Response(status_code=503)
        return Response(newest.jpeg, media_type="image/jpeg")

    @app.websocket("/ws")
    async def pictures(page: WebSocket) -> None:
        await page.accept()
        ready = asyncio.Semaphore(_AHEAD)
        sending = asyncio.create_task(_send(session, page, ready))
        try:
            await _obey(session, page, ready)
        except WebSocketDisconnect:
            pass
        finally:
            sending.cancel()

    return app


async def _send(session: Session, page: WebSocket, ready: asyncio.Semaphore) -> None:
    """Send the newest drawing whenever the page is ready for one."""
    number = 0
    while True:
        await ready.acquire()
        sent = await asyncio.to_thread(_next, session, number)
        if sent is None:
            break
        number = sent[0]
        await page.send_text(json.dumps(_state(session, number)))
        await page.send_bytes(sent[1])
    await page.close(1001)


def _next(session: Session, number: int) -> tuple[int, bytes] | None:
    """Wait for a drawing newer than `number`; its number and JPEG, None at the end."""
    drawings = session.drawings
    while True:
        closed = drawings.closed
        drawing = drawings.newer_than(number, _WAIT_S)
        if drawing is not None:
            return drawing.number, drawing.jpeg
        if closed:
            return None


async def _obey(session: Session, page: WebSocket, ready: asyncio.Semaphore) -> None:
    """Do what the page asks for, until it is closed."""
    actions = {
        "freeze": session.freeze,
        "snapshot": session.snapshot,
        "record": session.record,
    }
    while True:
        message = _understood(await page.receive_text())
        if "seen" in message:
            ready.release()
        elif (action := actions.get(str(message.get("do")))) is not None:
            await asyncio.to_thread(action)


def _understood(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text) if len(text) <= _LONGEST_MESSAGE else {}
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _state(session: Session, number: int) -> dict[str, Any]:
    """Say what the page shows beside the picture."""
    return {
        "number": number,
        "frozen": session.frozen,
        "recording": session.recording,
        "source": session.state.condition.value,
        "said": session.last_said,
    }


class Server:
    """Serves a session in a thread of its own.

    Parameters
    ----------
    session : Session
    listening : socket
        Open for connections.
    token : str
    """

    def __init__(self, session: Session, listening: socket.socket, token: str = ""):
        import uvicorn

        app = create_live_app(session, token=token)
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_PATIENCE_S, ws="websockets-sansio",
            ws_per_message_deflate=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join()
