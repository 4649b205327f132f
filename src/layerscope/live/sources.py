"""The kinds of sources, and how the user names one, e.g. ``camera:0``."""

from __future__ import annotations

from dataclasses import dataclass

from layerscope.errors import InputError
from layerscope.live.clock import Clock
from layerscope.live.frame import Source
from layerscope.registry import Registry


@dataclass(frozen=True)
class Playing:
    """How a source gives its pictures.

    Attributes
    ----------
    clock : Clock
    fps : float or None
        Pictures per second; None leaves it to the source: a video's own, else 30.
    pan : (int, int) or None
        Height and width in px of a window that moves over images, as a stage would move.
    pan_step_px : float
        How far it moves from one picture to the next.
    loop : bool
        Begin again at the end.
    """

    clock: Clock
    fps: float | None = None
    pan: tuple[int, int] | None = None
    pan_step_px: float = 6.0
    loop: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"--fps {self.fps:g}: expected more than 0, at most 1000")
        if not 0 < self.pan_step_px < 10_000:
            raise InputError(f"--pan-step {self.pan_step_px:g}: expected more than 0 px")


USUAL_FPS = 30.0

# Each opens the source that the text after the colon names; errors are one line for the user.
SOURCES = Registry(
    "source",
    {
        "screen": "layerscope.live.screen:open_screen",
        "camera": "layerscope.live.camera:open_camera",
        "folder": "layerscope.live.folder:open_folder",
        "replay": "layerscope.live.replay:open_replay",
    },
)

SOURCE_NAMES = {
    "screen": "screen | screen:2 | screen:LEFT,TOP,WIDTH,HEIGHT",
    "camera": "camera:0",
    "folder": "folder:PATH, the newest image in it",
    "replay": "replay:PATH of a video, an image, or a folder of images",
}
"""How each is written."""


def open_source(text: str, playing: Playing) -> Source:
    """Open the source that `text` names.

    Parameters
    ----------
    text : str
        Such as ``camera:0``; see `SOURCE_NAMES`.
    playing : Playing

    Raises
    ------
    UnknownName
        No such kind.
    InputError
        If it cannot be opened.
    SourceLost
        If it is not there now.
    """
    check_source(text)
    kind, _, detail = text.partition(":")
    opened: Source = SOURCES[kind](detail, playing)
    return opened


def check_source(text: str) -> None:
    """Refuse a name that no source can have.

    Raises
    ------
    InputError
    """
    kind, _, detail = text.partition(":")
    if kind not in SOURCES:
        ways = "; ".join(SOURCE_NAMES.values())
        raise InputError(f"no source {text!r}: expected {ways}")
    if kind != "screen" and not detail:
        raise InputError(f"source {text!r}: expected {SOURCE_NAMES.get(kind, kind + ':...')}")
