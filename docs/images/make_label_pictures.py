"""The picture of docs/howto/label_in_the_browser.md: the page, on synthetic TEM images.

Needs playwright, and chromium on the path.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile
import uvicorn
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from layerscope.app.painter import Painter
from layerscope.app.project import Project
from layerscope.app.server import create_app
from layerscope.synth.em import SynthEm, synth_em
from layerscope.synth.em_optics import Microscope

HERE = Path(__file__).parent
SIZE = {"width": 1200, "height": 760}
SEEDS = (24, 5, 11, 8, 3, 19)
DOSE = Microscope(dose_e_px=100_000.0, blur_px=1.2)
STROKES = {"1": (1, 4), "2": (2, 2), "3": (0, 4)}
"""Key, value in the true label map, number of strokes."""


def draw_images(folder: Path) -> list[SynthEm]:
    """Write a few micrographs."""
    pictures = [
        synth_em(seed, shape=(820, 1040), pixel_size_nm=4.0, support="holey", microscope=DOSE)
        for seed in SEEDS
    ]
    for number, picture in enumerate(pictures, 1):
        tifffile.imwrite(
            folder / f"grid_{number:02d}.tif", picture.micrograph.data, imagej=True,
            resolution=(0.25, 0.25), metadata={"unit": "nm"},
        )  # fmt: skip
    return pictures


def inside(mask: np.ndarray, number: int) -> list[tuple[tuple[int, int], ...]]:
    """Strokes along the widest parts of a mask."""
    far = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    strokes = []
    for _ in range(number):
        y, x = np.unravel_index(int(far.argmax()), far.shape)
        reach = min(float(far[y, x]) * 0.6, 60.0)
        strokes.append(
            ((int(x - reach), int(y)), (int(x), int(y + reach / 3)), (int(x + reach), int(y)))
        )
        cv2.circle(far, (int(x), int(y)), int(3 * reach), 0.0, -1)
    return strokes


def wait(page: Page, condition: str) -> None:
    """Wait until JavaScript says so."""
    end = time.monotonic() + 300
    while not page.evaluate(f"Boolean({condition})"):
        if time.monotonic() > end:
            raise TimeoutError(condition)
        page.wait_for_timeout(100)


def paint(page: Page, key: str, points: tuple[tuple[int, int], ...]) -> None:
    """Paint a stroke through points of the image."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    places = page.evaluate(
        "points => points.map(([x, y]) => { const c = layerscope.stage.camera;"
        " return [(x - c.x) * c.zoom + c.width / 2, (y - c.y) * c.zoom + c.height / 2]; })",
        [list(p) for p in points],
    )
    page.keyboard.press(key)
    page.mouse.move(box["x"] + places[0][0], box["y"] + places[0][1])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=8)
    page.mouse.up()


def take(address: str, path: Path, truth: np.ndarray) -> None:
    """Paint on the first image and take the picture."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        wait(page, "layerscope.scene")
        for key, (value, number) in STROKES.items():
            for points in inside(truth == value, number):
                paint(page, key, points)
        wait(page, "layerscope.scene.prediction.freshBox && !layerscope.queue.length")
        page.keyboard.press("u")
        page.mouse.move(600, 400)
        page.wait_for_timeout(1500)
        page.screenshot(path=path)
        browser.close()


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        pictures = draw_images(folder / "images")
        with Project.open(folder / "grids", [folder / "images"], who="Anna") as project:
            config = uvicorn.Config(create_app(Painter(project)), port=0, log_level="error")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.05)
            port = server.servers[0].sockets[0].getsockname()[1]
            take(f"http://127.0.0.1:{port}/", folder / "page.png", pictures[0].label_map)
            server.should_exit = True
            thread.join()
        shot = Image.open(folder / "page.png").convert("RGB")
        few = shot.quantize(256, kmeans=6, dither=Image.Dither.NONE)
        few.save(HERE / "label_page.png", optimize=True)
        assert np.asarray(few).shape == (SIZE["height"], SIZE["width"])


if __name__ == "__main__":
    main()
