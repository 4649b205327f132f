"""Faults for worker processes: what happens when they open a file of a certain name.

On PYTHONPATH of the tests that ask for it; ``SABOTAGE`` is JSON, name of a file -> ``"abort"``,
``"hang"``, or the path of a marker: then only whoever makes it dies, so that a second try is fine.
"""

import json
import os
import sys
import time

_FAULTS = json.loads(os.environ.get("SABOTAGE", "{}"))


def _strike(action):
    if action == "hang":
        time.sleep(600)
    elif action != "abort":
        try:
            os.close(os.open(action, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.abort()


def _watch(event, args):
    if event == "open" and isinstance(args[0], str):
        action = _FAULTS.get(os.path.basename(args[0]))
        if action is not None:
            _strike(action)


if _FAULTS:
    sys.addaudithook(_watch)
