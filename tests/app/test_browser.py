"""A person at the page: paints, sees the answer change, undoes, accepts, comes back."""

import os
import shutil
import threading
import time

import cv2
import numpy as np
import pytest
from label_page import FEW_TREES

from layerscope.app.painter import Painter

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.slow


@pytest.fixture
def address(project):
    """Where the page of the project is served."""
    uvicorn = pytest.importorskip("uvicorn")
    from layerscope.app.server import create_app

    config = uvicorn.Config(create_app(Painter(project, FEW_TREES)), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(address):
    """The page in a browser; what goes wrong in it fails the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this computer")
    troubles = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
        opened.goto(address)
        wait(opened, "layerscope.scene && layerscope.stage.camera.zoom > 1")
        yield opened
        browser.close()
    assert troubles == []


def wait(page, condition, seconds=150):
    """Wait until JavaScript says so."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, f"never: {condition}"
        page.wait_for_timeout(30)


def drag(page, *points):
    """Press, move through points of the image, let go."""
    box = page.locator("#stage").bounding_box()
    places = page.evaluate(
        "points => points.map(([x, y]) => { const c = layerscope.stage.camera;"
        " return [(x - c.x) * c.zoom + c.width / 2, (y - c.y) * c.zoom + c.height / 2]; })",
        points,
    )
    places = [(box["x"] + x, box["y"] + y) for x, y in places]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    wait(page, "document.getElementById('saved').textContent === 'all changes saved'")


def values(page, layer):
    """Class values as the page has them."""
    found = page.evaluate(f"Array.from(layerscope.scene.{layer}.values)")
    return np.array(found, np.uint8).reshape(72, 96)


def colour_at(page, x, y):
    """Colour of the overlay at a pixel of the image: red, green, blue, opacity."""
    return page.evaluate(
        "([x, y]) => { const s = layerscope.stage, c = s.camera;"
        " const place = [(x - c.x) * c.zoom + c.width / 2, (y - c.y) * c.zoom + c.height / 2];"
        " return [...s.overlay.getContext('2d').getImageData(...place, 1, 1).data]; }",
        [x, y],
    )


def test_paint_see_undo_accept_correct_and_find_it_again(page, project):
    assert "two classes" in page.locator("#hint").inner_text()
    assert page.locator("#accept").is_disabled()
    drag(page, (20.3, 10.2), (22.6, 60.4))
    assert "Only dark" in page.locator("#hint").inner_text()
    assert colour_at(page, 60, 30)[3] == 0
    page.keyboard.press("2")
    drag(page, (75.2, 10.1), (70.5, 60.7))
    wait(page, "layerscope.scene.prediction.freshBox")
    page.wait_for_timeout(100)
    left, right = colour_at(page, 28, 30), colour_at(page, 66, 30)
    assert left[1] > left[0]
    assert right[0] > right[1]
    assert (values(page, "scribbles") == project.drawing(0).scribbles).all()

    page.keyboard.press("3")
    drag(page, (40, 40))
    painted = values(page, "scribbles")
    page.keyboard.press("Control+z")
    wait(page, "layerscope.scene.image.can_redo")
    assert (values(page, "scribbles") != painted).any()
    assert (values(page, "scribbles") == project.drawing(0).scribbles).all()

    page.keyboard.press("a")
    wait(page, "layerscope.scene.image.state === 'accepted'")
    wait(page, "layerscope.mode === 'correct'")
    page.keyboard.press("3")
    drag(page, (10, 10), (14, 12))
    corrected = values(page, "labels")
    assert (corrected == project.drawing(0).labels).all()
    assert corrected[10, 10] == 3

    page.reload()
    wait(page, "layerscope.scene?.labels")
    assert (values(page, "labels") == corrected).all()
    assert (values(page, "scribbles") == project.drawing(0).scribbles).all()
    assert "1 of 3 accepted" in page.locator("#accepted-count").inner_text()
    page.keyboard.press("n")
    wait(page, "layerscope.scene.image.id !== 0")
    project.save()
    written = cv2.imread(str(project.folder / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (written == corrected).all()


def test_every_control_has_a_name_and_the_page_fits_small_screens(page):
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas[tabindex], [role=radio]')]"
        ".filter(e => e.offsetParent && !(e.ariaLabel || e.innerText || e.title ||"
        " e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == []
    for width, height in ((390, 780), (820, 1100), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(60)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        tools = page.locator(".tools").bounding_box()
        assert tools["x"] >= 0
        assert tools["x"] + tools["width"] <= width
