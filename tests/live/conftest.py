"""A session to look at: pictures that a test gives, answered at once."""

import threading

import pytest
from live_parts import GRAPHENE, Answers, Script, picture

from layerscope.core.micrograph import PixelSize
from layerscope.live.clock import RealClock
from layerscope.live.session import Session, SessionSettings


@pytest.fixture
def source():
    """Script of the session; one picture is in it."""
    return Script(picture(0))


@pytest.fixture
def session(tmp_path, source):
    """Session that shows it."""
    stop = threading.Event()
    settings = SessionSettings(
        "graphene on SiO2(90nm)/Si", GRAPHENE, tmp_path / "out", PixelSize(400, 400, "user")
    )
    session = Session(lambda: source, Answers(), settings, RealClock(stop))
    session.start()
    yield session
    stop.set()
    source.give(None)
    session.close()
