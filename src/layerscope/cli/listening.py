"""Where pages of ours are served, and who may open them."""

from __future__ import annotations

import errno
import secrets
import socket

from layerscope.errors import InputError

_MOST_PORT = 65535
_LOCAL = ("127.0.0.1", "localhost", "::1")


def token_for(host: str) -> str:
    """Secret that the address must hold where others can reach `host`; "" where nobody can."""
    return "" if host in _LOCAL else secrets.token_urlsafe(18)


def listen(host: str, port: int) -> socket.socket:
    """Open the port, or any free one where another program has it.

    Raises
    ------
    InputError
        If there is no such host on this computer, or no such port anywhere.
    """
    if not 0 <= port <= _MOST_PORT:
        raise InputError(f"--port {port}: expected 0 (any that is free) to {_MOST_PORT}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and port:
            return listen(host, 0)
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}") from None


def address_of(host: str, port: int, token: str) -> str:
    """Return the address to open in a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
