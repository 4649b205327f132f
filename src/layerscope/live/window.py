"""The live view in a window of the desktop, by what Python itself has: tkinter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from layerscope.errors import InputError
from layerscope.live.published import Drawing
from layerscope.live.session import Session
from layerscope.ops.lettering import Image

_LOOK_MS = 8
_GROUND, _PANEL, _TEXT = "#0e1115", "#171b21", "#e7ebf0"


class Window:
    """Shows every drawing, and has a button and a key for each action.

    Parameters
    ----------
    session : Session
    stop : threading.Event
        Set when the window is closed; closes it when set by somebody else.

    Raises
    ------
    InputError
        If there is no tkinter, or no desktop to show a window on.
    """

    def __init__(self, session: Session, stop: threading.Event):
        try:
            import tkinter
        except ImportError:
            raise InputError(
                "no window: this Python has no tkinter (on Debian: apt install python3-tk); "
                "use --no-window --browser"
            ) from None
        try:
            self._root = tkinter.Tk(className="layerscope")
        except tkinter.TclError as error:
            raise InputError(
                f"no window: {' '.join(str(error).split())}; use --no-window --browser"
            ) from None
        self._session, self._stop, self._number = session, stop, 0
        self.shown = 0
        self.last: Drawing | None = None
        self._build(tkinter)

    def run(self) -> None:
        """Show drawings until the window is closed or the session ends."""
        self._root.after(0, self._look)
        self._root.mainloop()

    @property
    def root(self) -> Any:
        """The window itself."""
        return self._root

    def _build(self, tkinter: Any) -> None:
        root = self._root
        root.title("layerscope live")
        root.configure(background=_GROUND)
        root.protocol("WM_DELETE_WINDOW", self._stop.set)
        bar = tkinter.Frame(root, background=_PANEL)
        bar.pack(side="bottom", fill="x")
        self._photo = tkinter.PhotoImage(master=root, width=1280, height=720)
        self._label = tkinter.Label(
            root, image=self._photo, background=_GROUND, borderwidth=0, anchor="center"
        )
        self._label.pack(side="top", fill="both", expand=True)
        self._buttons: dict[str, Any] = {}
        session = self._session
        for name, text, key, action in (
            ("freeze", "Freeze (space)", "<space>", session.freeze),
            ("snapshot", "Snapshot (S)", "s", session.snapshot),
            ("record", "Record (R)", "r", session.record),
            ("quit", "Quit (Q)", "q", self._stop.set),
        ):
            self._buttons[name] = tkinter.Button(
                bar, text=text, command=action, takefocus=False, relief="flat",
                background=_PANEL, foreground=_TEXT, activebackground="#29303a",
                activeforeground=_TEXT, highlightthickness=0, padx=14, pady=6,
            )  # fmt: skip
            self._buttons[name].pack(side="left", padx=4, pady=4)
            for sequence in {key, key.upper() if len(key) == 1 else key}:
                root.bind(sequence, partial(_done, action))

    def _look(self) -> None:
        """Show the newest drawing, if there is a newer one."""
        if self._stop.is_set() or self._session.drawings.closed:
            self._root.destroy()
            return
        drawing = self._session.drawings.newest
        if drawing is not None and drawing.number != self._number:
            self._show(drawing)
        self._root.after(_LOOK_MS, self._look)

    def _show(self, drawing: Drawing) -> None:
        self._number, self.last = drawing.number, drawing
        fitted = self._fitted(drawing.picture)
        height, width = fitted.shape[:2]
        # PPM is what Tk takes without a decoder: 6 ms for 1280 x 760.
        self._photo.configure(
            data=b"P6 %d %d 255 " % (width, height) + fitted.tobytes(), format="ppm",
            width=width, height=height,
        )  # fmt: skip
        self.shown += 1
        session = self._session
        self._buttons["freeze"].configure(
            text="Go on (space)" if session.frozen else "Freeze (space)"
        )
        self._buttons["record"].configure(
            text="End recording (R)" if session.recording else "Record (R)"
        )

    def _fitted(self, picture: Image) -> Image:
        """Picture as large as the window has room for, once it has been shown."""
        room_w, room_h = self._label.winfo_width(), self._label.winfo_height()
        height, width = picture.shape[:2]
        if self.shown == 0 or room_w < 64 or room_h < 64:
            room_w, room_h = self._root.winfo_screenwidth(), self._root.winfo_screenheight() - 140
            room_w, room_h = min(width, room_w), min(height, room_h)
        scale = min(room_w / width, room_h / height)
        if abs(scale - 1) < 0.01:
            return picture
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.ascontiguousarray(cv2.resize(picture, size, interpolation=way))


def _done(action: Callable[[], None], _: object) -> None:
    """Do what a key is for."""
    action()
