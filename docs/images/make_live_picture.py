"""The picture of docs/howto/live.md: the page, while a window is panned over a synthetic field.

Needs playwright, and chromium on the path.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from pathlib import Path

import cv2
from playwright.sync_api import sync_playwright

from layerscope import pipeline
from layerscope.core.micrograph import PixelSize
from layerscope.live.analysis import Asked
from layerscope.live.clock import RealClock
from layerscope.live.processes import Processes
from layerscope.live.server import Server
from layerscope.live.session import Session, SessionSettings
from layerscope.live.sources import Playing, open_source
from layerscope.synth import synth_set

HERE = Path(__file__).parent
SIZE = {"width": 1240, "height": 790}
ON_90 = "SiO2(90nm)/Si"
SEED = 1


def main() -> None:
    """Calibrate, show, wait until it runs smoothly, take the picture."""
    images = [t.micrograph for t in synth_set(SEED, 6)]
    run = pipeline.run(images, material="graphene", substrate=ON_90)
    asked = Asked("graphene", ON_90, calibration=run.calibration)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.png"
        cv2.imwrite(str(path), images[2].data[..., ::-1])
        stop = threading.Event()
        playing = Playing(RealClock(stop), 30.0, (720, 1280), 6.0)
        processes = Processes(asked)
        processes.start()
        settings = SessionSettings(
            f"graphene on {ON_90}", asked, Path(folder), PixelSize.parse("0.3844um")
        )
        session = Session(
            lambda: open_source(f"replay:{path}", playing), processes, settings, playing.clock
        )
        session.start()
        listening = socket.create_server(("127.0.0.1", 0))
        server = Server(session, listening)
        try:
            picture(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            stop.set()
            session.drawings.close()
            server.close()
            session.close()


def picture(address: str) -> None:
    """Save what the browser shows after some seconds."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        page.wait_for_timeout(9000)
        page.screenshot(path=str(HERE / "live_page.jpg"), type="jpeg", quality=86)
        browser.close()


if __name__ == "__main__":
    main()
