"""A person at the page of the live view, in a real browser."""

import os
import shutil
import socket

import pytest
from live_parts import picture, until

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.slow


@pytest.fixture
def server(session):
    """Where the page of the session is served."""
    from layerscope.live.server import Server

    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(session, listening)
    server.address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    yield server
    server.close()


@pytest.fixture
def page(server):
    """The page in a browser; what goes wrong in it fails the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this computer")
    troubles = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1000, "height": 640})
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.goto(server.address)
        wait(opened, "layerscope.count > 0")
        yield opened
        browser.close()
    assert troubles == []


def wait(page, condition):
    """Wait until JavaScript says so."""
    until(lambda: page.evaluate(f"Boolean({condition})"), 60)


def test_a_person_at_the_page(page, session, source, server, tmp_path):
    # The picture is the session's drawing, and goes on.
    shape = session.drawings.newest.picture.shape
    assert page.evaluate("[view.height, view.width]") == list(shape[:2])
    colour = page.evaluate("Array.from(view.getContext('2d').getImageData(160, 200, 1, 1).data)")
    drawn = session.drawings.newest.picture[200, 160].astype(int)
    assert max(abs(colour[c] - drawn[c]) for c in range(3)) < 25
    before = page.evaluate("layerscope.number")
    source.give(picture(1))
    wait(page, f"layerscope.number > {before}")
    # It fits into the page.
    box = page.locator("#view").bounding_box()
    assert box["x"] >= 0
    assert box["y"] + box["height"] <= 640
    # Buttons and keys.
    page.locator("#freeze").click()
    wait(page, "freeze.getAttribute('aria-pressed') === 'true'")
    assert session.frozen
    page.keyboard.press("Space")
    wait(page, "freeze.getAttribute('aria-pressed') === 'false'")
    page.keyboard.press("r")
    wait(page, "record.getAttribute('aria-pressed') === 'true'")
    assert "recordings/0001" in page.locator("#said").text_content()
    page.locator("#record").click()
    wait(page, "record.getAttribute('aria-pressed') === 'false'")
    assert (tmp_path / "out" / "recordings" / "0001" / "answers.jsonl").is_file()
    # The program ends: the page says so.
    session.drawings.close()
    server.close()
    wait(page, "link.className === 'bad'")
    until(lambda: page.locator("#freeze").is_disabled())
