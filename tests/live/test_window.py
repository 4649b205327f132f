"""The window of the desktop, on a real X server without a screen."""

import os
import shutil
import subprocess
import threading

import numpy as np
import pytest
from live_parts import FakeClock, picture, until

from layerscope.errors import InputError
from layerscope.live.sources import Playing, open_source
from layerscope.live.window import Window

tkinter = pytest.importorskip("tkinter")

pytestmark = pytest.mark.slow


@pytest.fixture
def display(monkeypatch):
    """An X server of 1400 x 900; its name is in DISPLAY."""
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.skip("no Xvfb on this computer")
    ours, theirs = os.pipe()
    server = subprocess.Popen(
        [xvfb, "-displayfd", str(theirs), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
        pass_fds=[theirs], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    with os.fdopen(ours) as said:
        number = said.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    for name in ("XDG_SESSION_TYPE", "WAYLAND_DISPLAY", "XAUTHORITY"):
        monkeypatch.delenv(name, raising=False)
    yield f":{number}"
    server.terminate()
    server.wait()


def spin(window, condition):
    """Let the window work until a condition holds."""

    def once():
        window.root.update()
        return condition()

    until(once)


def test_a_person_at_the_window(display, session, source, tmp_path):
    stop = threading.Event()
    window = Window(session, stop)
    window.root.after(0, window._look)
    spin(window, lambda: window.shown > 0)
    # What is on the screen is the session's drawing, pixel for pixel.
    source.give(picture(1))
    spin(window, lambda: session.figures().analysed == 2 and window.last is session.drawings.newest)
    root = window.root
    label = window._label
    spin(window, lambda: label.winfo_ismapped() and label.winfo_width() > 300)
    shown = grabbed(label.winfo_rootx(), label.winfo_rooty(), label.winfo_width(),
                    label.winfo_height())  # fmt: skip
    drawn = window.last.picture
    top, left = ((a - b) // 2 for a, b in zip(shown.shape[:2], drawn.shape[:2], strict=True))
    seen = shown[top : top + drawn.shape[0], left : left + drawn.shape[1]]
    # Its figures may have changed since; the field has not.
    assert np.array_equal(seen[60:], drawn[60:])
    # Keys and buttons.
    root.focus_force()
    root.event_generate("<space>")
    spin(window, lambda: session.frozen)
    spin(window, lambda: "Go on" in window._buttons["freeze"].cget("text"))
    window._buttons["freeze"].invoke()
    assert not session.frozen
    root.event_generate("<Key-R>")
    spin(window, lambda: session.recording)
    window._buttons["record"].invoke()
    assert not session.recording
    assert (tmp_path / "out" / "recordings" / "0001").is_dir()
    # A smaller window has the whole picture, smaller.
    root.geometry("240x240")
    source.give(picture(2))
    spin(window, lambda: window._photo.width() <= 240 and window.last is not None)
    root.event_generate("q")
    assert stop.is_set()
    window.run()


def grabbed(left, top, width, height):
    """What is on the screen, as `layerscope live screen:...` sees it."""
    source = open_source(f"screen:{left},{top},{width},{height}", Playing(FakeClock()))
    try:
        return source.read().pixels
    finally:
        source.close()


def test_no_desktop_is_one_line(monkeypatch, session):
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(InputError, match=r"no window: .*use --no-window --browser"):
        Window(session, threading.Event())


def test_no_tkinter_is_one_line(monkeypatch, session):
    monkeypatch.setitem(__import__("sys").modules, "tkinter", None)
    with pytest.raises(InputError, match="this Python has no tkinter"):
        Window(session, threading.Event())
