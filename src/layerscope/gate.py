"""Who may talk to a page: this computer, or whoever has the token of the address. Its files."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE, ASKED_BY = "layerscope", "x-layerscope"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def static_files(own: Path) -> StaticFiles:
    """Files of a page: of its own folder, and those of ``pages`` that all pages share."""
    return StaticFiles(directory=own, packages=[("layerscope", "pages")])


class Gate:
    """ASGI middleware that lets in whom it should.

    Without a token only requests to a local name are answered: a page of another site that
    resolves its own name to this computer is refused. What changes something must carry a header
    that other sites cannot send; a websocket is opened by a page of this server only.

    Parameters
    ----------
    app : ASGI application
    token : str
        Empty: none is asked for.
    hosts : iterable of str
        Names that this server is called by, without ports.
    """

    def __init__(self, app: ASGIApp, token: str = "", hosts: Iterable[str] = LOCAL_HOSTS):
        self._app, self._token, self._hosts = app, token, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            await self._pass_websocket(refusal, scope, receive, send)
            return
        if refusal:
            await PlainTextResponse(refusal, 403)(scope, receive, send)
            return
        if self._token and _asked(scope) and scope["path"] == "/":
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            await response(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_guarded)

    async def _pass_websocket(
        self, refusal: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if refusal:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        if self._token:
            given = _asked(scope) or _cookie(headers)
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return "This page needs the address that was printed when it was started."
        elif _host(headers) not in self._hosts:
            return f"This page is at {', '.join(sorted(self._hosts))} only."
        if scope["type"] == "websocket":
            own = urlsplit(headers.get("origin", "")).netloc == headers.get("host")
            return "" if own else "Only the page itself may ask for this."
        if scope["method"] not in ("GET", "HEAD") and ASKED_BY not in headers:
            return "Changes are made from the page itself only."
        return ""


def _asked(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _host(headers: Headers) -> str:
    host = headers.get("host", "")
    return host if host.endswith("]") else host.rpartition(":")[0] or host
