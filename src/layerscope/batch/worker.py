"""A worker process: reads tasks as lines, writes what happens as lines.

    python -m layerscope.batch.worker RUN

It is a process of its own so that an image that crashes a decoder, or never ends, costs one image.
It stops when its input ends or its driver is gone, and leaves interruptions to the driver.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, TextIO

from layerscope.errors import LayerscopeError


def main(folder: str) -> None:
    """Work until the tasks end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = _own_output()
    driver = os.getppid()
    import cv2

    from layerscope.batch.work import Desk, Task
    from layerscope.ops.memory import keep_freed_memory

    cv2.setNumThreads(1)
    keep_freed_memory()
    desk = Desk(folder)

    def touch(number: int) -> None:
        if os.getppid() != driver:
            os._exit(0)
        _send(replies, {"image": number})

    for line in sys.stdin:
        try:
            entry = desk.do(Task.from_json(line), touch)
            _send(replies, {"entry": entry.as_json()})
        except LayerscopeError as error:
            _send(replies, {"error": str(error), "kind": type(error).__name__})


def _own_output() -> TextIO:
    """Keep the real output for replies: what a library prints must not be taken for one."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return replies


def _send(replies: TextIO, message: dict[str, Any]) -> None:
    try:
        replies.write(json.dumps(message) + "\n")
        replies.flush()
    except OSError:  # the driver is gone
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
