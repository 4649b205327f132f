"""Who may see the live view in a browser, and what is sent."""

import io
import json

import numpy as np
import pytest
from live_parts import picture, until
from PIL import Image

pytest.importorskip("fastapi")
testclient = pytest.importorskip("fastapi.testclient")
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from layerscope.live.server import create_live_app  # noqa: E402

ORIGIN = {"origin": "http://testserver"}


@pytest.fixture
def client(session):
    with testclient.TestClient(create_live_app(session, hosts=("testserver",))) as found:
        yield found


def received(page):
    """State and picture of the next drawing."""
    state = json.loads(page.receive_text())
    shown = np.asarray(Image.open(io.BytesIO(page.receive_bytes())))
    page.send_text(json.dumps({"seen": state["number"]}))
    return state, shown


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    for name in ("live.js", "style.css", "base.css", "icon.svg"):
        text = client.get(f"/static/{name}").text
        assert "//" not in text.replace("http://www.w3.org", "").replace("// ", "").replace(
            "://${location.host}", ""
        )
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_drawing_is_the_one_of_the_session(client, session):
    with client.websocket_connect("/ws", headers=ORIGIN) as page:
        state, shown = received(page)
        assert shown.shape == session.drawings.newest.picture.shape
        newest = session.drawings.newest
        while state["number"] < newest.number:
            state, shown = received(page)
        assert np.abs(shown.astype(int) - session.drawings.newest.picture).mean() < 12
    assert client.get("/picture.jpg").headers["content-type"] == "image/jpeg"


def test_numbers_only_go_up_and_a_slow_page_gets_fewer(client, session, source):
    with client.websocket_connect("/ws", headers=ORIGIN) as page:
        until(lambda: session.drawings.newest is not None)
        for seed in range(1, 12):
            source.give(picture(seed))
            until(lambda seed=seed: session.figures().shown > seed)
        numbers = [received(page)[0]["number"] for _ in range(3)]
    assert numbers == sorted(set(numbers))
    # Two were under way; the third is the newest, not the third oldest.
    assert numbers[2] - numbers[1] > 3


def test_the_page_does_what_the_window_does(client, session, tmp_path):
    with client.websocket_connect("/ws", headers=ORIGIN) as page:
        page.send_text('{"do": "freeze"}')
        until(lambda: session.frozen)
        while not received(page)[0]["frozen"]:
            pass
        page.send_text('{"do": "record"}')
        until(lambda: session.recording)
        for nonsense in ("", "[1]", '{"do": "explode"}', "x" * 9000, '{"do": {}}'):
            page.send_text(nonsense)
        page.send_text('{"do": "record"}')
        until(lambda: not session.recording)
    assert (tmp_path / "out" / "recordings" / "0001").is_dir()


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", ""])
def test_pages_of_others_get_no_pictures(client, origin):
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/ws", headers={"origin": origin}),
    ):
        pass
    assert caught.value.code == 1008


def test_a_token_is_needed_where_there_is_one(session):
    app = create_live_app(session, token="sesame")
    with testclient.TestClient(app) as client:
        assert client.get("/").status_code == 403
        assert client.get("/picture.jpg").status_code == 403
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=ORIGIN):
            pass
        assert client.get("/?token=sesame").status_code == 200
        with client.websocket_connect("/ws", headers=ORIGIN) as page:
            assert received(page)[0]["number"] > 0


def test_names_of_other_computers_are_refused(session):
    with testclient.TestClient(create_live_app(session)) as client:
        assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 403
