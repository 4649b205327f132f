"""`layerscope live`: what is under the microscope now, with what was found drawn over it."""

from __future__ import annotations

import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli.groups import OpticsOptions, ScaleOptions, grouped
from layerscope.cli.listening import address_of, listen, token_for
from layerscope.cli.options import (
    HeadFile,
    Material,
    MaxLayers,
    MinArea,
    Substrate,
    flat_field_of,
    size_of,
    wanted_of,
)
from layerscope.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from layerscope.live.analysis import Asked
    from layerscope.live.clock import Clock
    from layerscope.live.server import Server
    from layerscope.live.session import Session
    from layerscope.live.sources import Playing
    from layerscope.live.window import Window

_OPEN_AFTER_S = 0.8
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Showing:
    """Where the picture is shown, and how long."""

    window: Annotated[bool, typer.Option(help="Show a window on the desktop.")] = True
    browser: Annotated[bool, typer.Option(help="Show a page in the browser.")] = False
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page.")] = True
    host: Annotated[
        str, typer.Option(help="Where the page is; any other needs a token in the address.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8010
    seconds: Annotated[float | None, typer.Option(help="Stop by itself.")] = None
    width: Annotated[int, typer.Option(help="Of the drawing at most, px.")] = 1280

    def check(self) -> None:
        """Refuse what would show nothing."""
        needed = ("fastapi", "uvicorn", "websockets")
        if self.browser and any(find_spec(name) is None for name in needed):
            raise MissingExtra.of("the live view in the browser", "live")
        if self.seconds is not None and self.seconds <= 0:
            raise InputError(f"--seconds {self.seconds:g}: expected more than 0")
        if self.width < 160:
            raise InputError(f"--width {self.width}: expected 160 px or more")
        if not self.window and not self.browser and self.seconds is None:
            raise InputError("nothing would be shown: leave out --no-window, or add --browser")


@dataclass(frozen=True)
class Pictures:
    """How the source gives its pictures."""

    fps: Annotated[
        float | None, typer.Option(help="Pictures per second of screen, camera, replay.")
    ] = None
    pan: Annotated[
        str | None,
        typer.Option(help="Replay of images: move a window of this size over them: 1280x720."),
    ] = None
    pan_step: Annotated[float, typer.Option(help="Its step per picture, px.")] = 6.0
    loop: Annotated[bool, typer.Option("--loop", help="Replay: begin again at the end.")] = False

    def playing(self, clock: Clock) -> Playing:
        """All of it, by a clock."""
        from layerscope.live.sources import Playing

        moving = size_of(self.pan, "--pan") if self.pan else None
        return Playing(clock, self.fps, moving, self.pan_step, self.loop)


@dataclass(frozen=True)
class Looking:
    """What finds, counts and chooses regions."""

    task: Annotated[str, typer.Option(help="flakes, or crystals: as grown; -m MoS2,MoSe2.")] = (
        "flakes"
    )
    analyse_width: Annotated[
        int, typer.Option(help="Regions are found on pixels averaged to about this width.")
    ] = 640
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.toml; none: made from what comes by.")
    ] = None
    head: HeadFile = None
    finder: Annotated[
        str, typer.Option(help="classical, network or both; a --model means network.")
    ] = ""
    model: Annotated[
        str | None,
        typer.Option(
            help="Model file, or the name of one that is shipped: flake-n. "
            "Crystals: of objects, a YOLO export too."
        ),
    ] = None
    flat_field: Annotated[str | None, typer.Option(help="Reference image.")] = None
    min_area: MinArea = None
    layers: Annotated[str | None, typer.Option(help="Show only, e.g. 1-3.")] = None
    max_layers: MaxLayers = 10
    keep_residue: Annotated[
        bool, typer.Option("--keep-residue", help="Also show residue, rims and blur.")
    ] = False

    def asked(
        self, material: str, substrate: str, scale: ScaleOptions, optics: OpticsOptions
    ) -> Asked:
        """All of it, as the analysis is asked."""
        from layerscope.io.calibration import read_calibration
        from layerscope.live.analysis import Asked

        return Asked(
            material,
            substrate,
            self.task,
            optics.optics(flat_field_of(self.flat_field, [])),
            wanted_of(self.min_area, self.layers, self.keep_residue),
            read_calibration(self.calibration) if self.calibration else None,
            self.head,
            self.finder or ("network" if self.model and self.task == "flakes" else "classical"),
            self.model,
            scale.scale_bar,
            self.analyse_width,
            self.max_layers,
        )


@grouped
def live(
    source: Annotated[
        str, typer.Argument(help="screen, screen:L,T,W,H, camera:0, folder:PATH or replay:PATH.")
    ],
    material: Material,
    substrate: Substrate,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for snapshots and recordings.")
    ] = Path("live"),
    record: Annotated[bool, typer.Option("--record", help="Record from the start.")] = False,
    *,
    showing: Showing,
    pictures: Pictures,
    scale: ScaleOptions,
    optics: OpticsOptions,
    looking: Looking,
) -> None:
    """Outline flakes and count layers on the microscope's screen, camera or newest image, live."""
    from layerscope.live.clock import RealClock
    from layerscope.live.sources import check_source

    showing.check()
    _leave_cores_free()
    check_source(source)
    stop = threading.Event()
    playing, size = pictures.playing(RealClock(stop)), scale.told()
    asked = looking.asked(material, substrate, scale, optics)
    with (
        _ended_by_ctrl_c(stop),
        _session(source, playing, asked, size, out, showing.width, stop) as session,
    ):
        if record:
            session.record()
        _show(session, stop, showing)
    typer.echo(session.summary())


def _leave_cores_free() -> None:
    """Draw with one thread: the analysis has the other core of a small computer."""
    import cv2

    from layerscope.ops.memory import keep_freed_memory

    cv2.setNumThreads(1)
    keep_freed_memory()


@contextmanager
def _ended_by_ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C, however often, end the session as closing its window does."""
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _session(
    source: str,
    playing: Playing,
    asked: Asked,
    size: str | None,
    out: Path,
    width: int,
    stop: threading.Event,
) -> Iterator[Session]:
    """Session that runs, and is closed at the end whatever happens."""
    from layerscope.core.micrograph import PixelSize
    from layerscope.live.processes import Processes
    from layerscope.live.session import Session, SessionSettings
    from layerscope.live.sources import open_source

    told = PixelSize.parse(size) if size else None
    processes = Processes(asked)
    settings = SessionSettings(f"{asked.material} on {asked.substrate}", asked, out, told, width)
    session = Session(
        lambda: open_source(source, playing), processes, settings, playing.clock, typer.echo
    )
    try:
        processes.start()
        session.start()
        yield session
    finally:
        stop.set()
        session.close()


def _show(session: Session, stop: threading.Event, showing: Showing) -> None:
    """Show the session until it ends, the window is closed, or Ctrl-C."""
    timer = threading.Timer(showing.seconds, stop.set) if showing.seconds else None
    server: Server | None = None
    try:
        opened = _opened_window(session, stop) if showing.window else None
        server = _served(session, showing) if showing.browser else None
        if timer is not None:
            timer.start()
        if opened is not None:
            opened.run()
        while not (stop.wait(_LOOK_EVERY_S) or session.ended.is_set()):
            pass
    finally:
        stop.set()
        session.drawings.close()
        if timer is not None:
            timer.cancel()
        if server is not None:
            server.close()


def _opened_window(session: Session, stop: threading.Event) -> Window:
    from layerscope.live.window import Window

    return Window(session, stop)


def _served(session: Session, showing: Showing) -> Server:
    from layerscope.live.server import Server

    token, listening = token_for(showing.host), listen(showing.host, showing.port)
    address = address_of(showing.host, listening.getsockname()[1], token)
    server = Server(session, listening, token)
    typer.echo(f"the live view is at\n\n  {address}\n\nCtrl-C ends it")
    if showing.open_page:
        threading.Timer(_OPEN_AFTER_S, webbrowser.open, [address]).start()
    return server
