"""A function that runs once in a process of its own, while the picture goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from layerscope.errors import LayerscopeError


class Apart:
    """Begins at once, and ends with its function at the latest.

    A pool would not: its processes wait for more work for ever when their owner is killed.

    Parameters
    ----------
    function : callable
        Of a module, so that the process can import it.
    *arguments
        Plain values.
    """

    def __init__(self, function: Callable[..., Any], *arguments: object):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(theirs, function, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def done(self) -> bool:
        """Whether `result` comes without waiting."""
        return self._pipe.poll()

    def result(self) -> Any:
        """Wait for what the function returns; to be called once.

        Raises
        ------
        LayerscopeError
            That the function raised, or if the process broke off.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            answer = LayerscopeError("the process that worked on it broke off")
        self.close()
        if isinstance(answer, LayerscopeError):
            raise answer
        return answer

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):  # not on Windows
        os.nice(10)  # the picture goes first
    try:
        answer = function(*arguments)
    except LayerscopeError as error:
        answer = error
    with suppress(BrokenPipeError):
        pipe.send(answer)
