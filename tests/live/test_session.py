"""The laws of a session: the newest frame next, every frame counted, lost sources come back."""

import json
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
from live_parts import GRAPHENE, Answers, FakeClock, Script, picture, scene, until

from layerscope.core.micrograph import PixelSize
from layerscope.errors import CannotWrite, InputError, SourceLost
from layerscope.finding import Optics
from layerscope.live.avi import AviWriter
from layerscope.live.clock import RealClock
from layerscope.live.frame import Picture
from layerscope.live.reader import Condition
from layerscope.live.recording import read_answers
from layerscope.live.session import Session, SessionSettings
from layerscope.ops.tone import tone_curve

BLACK = Picture(np.zeros((240, 320, 3), np.uint8))


@pytest.fixture
def begin(tmp_path):
    """Begin sessions; all are closed at the end."""
    begun = []

    def begin(source, answers=None, clock=None, asked=GRAPHENE, **told):
        settings = SessionSettings("graphene", asked, tmp_path / "out", **told)
        lines = []
        stop = threading.Event()
        session = Session(
            source if callable(source) else lambda: source,
            answers or Answers(), settings, clock or RealClock(stop), lines.append,
        )  # fmt: skip
        session.lines = lines
        begun.append((session, stop, source))
        session.start()
        return session

    yield begin
    for session, stop, source in begun:
        stop.set()
        if isinstance(source, Script):
            source.give(None)
        session.close()


class Remade:
    """A source that is opened again: each time the next script."""

    def __init__(self, *scripts):
        self.scripts, self.opened = list(scripts), 0

    def __call__(self):
        self.opened += 1
        script = self.scripts.pop(0)
        if isinstance(script, Exception):
            raise script
        return script


def test_the_newest_frame_is_analysed_next_and_the_others_are_counted(begin):
    source, answers = Script(picture(0)), Answers(free=False)
    session = begin(source, answers)
    assert answers.begun.acquire(timeout=20)
    for seed in range(1, 6):
        source.give(picture(seed))
    until(lambda: session.figures().seen == 6)
    answers.let()
    assert answers.begun.acquire(timeout=20)
    assert answers.asked == [1, 6]
    answers.let()
    until(lambda: session.figures().analysed == 2)
    figures = session.figures()
    assert figures.dropped == 4
    assert figures.offered == figures.analysed + figures.dropped == 6


def test_an_older_answer_never_replaces_a_newer_one(begin):
    """Two at once: the second overtakes the first, whose answer is then not shown, and counted."""
    source, answers = Script(picture(0)), InTurn()
    session = begin(source, answers)
    until(lambda: answers.asked == [1])
    source.give(picture(1))
    until(lambda: answers.asked == [1, 2])
    answers.let(2)
    until(lambda: session.figures().analysed == 1)
    answers.let(1)
    until(lambda: session.figures().overtaken == 1)
    figures = session.figures()
    assert (figures.offered, figures.analysed, figures.dropped) == (2, 2, 0)
    assert "1 overtaken" in session.summary()
    assert session._answered.number == session._answer.frame == 2


class InTurn(Answers):
    """Answers two frames at once, each when it is let."""

    at_once = 2

    def __init__(self):
        super().__init__()
        self._may = {number: threading.Event() for number in range(1, 9)}

    def let(self, number):
        self._may[number].set()

    def answer(self, number, pixels, pixel_size):
        answer = super().answer(number, pixels, pixel_size)
        assert self._may[number].wait(20)
        return answer

    def close(self):
        for number in self._may:
            self.let(number)


def test_a_busy_analysis_does_not_hold_up_the_picture(begin):
    source, answers = Script(picture(0)), Answers(free=False)
    session = begin(source, answers)
    assert answers.begun.acquire(timeout=20)
    drawn = session.drawings.newer_than(0, 20)
    for seed in range(1, 4):
        source.give(picture(seed))
        until(lambda seed=seed: session.figures().seen == seed + 1)
        newer = session.drawings.newer_than(drawn.number, 20)
        until(lambda seed=seed: shows(session.drawings.newest.picture, scene(seed)))
        drawn = newer
    assert session.figures().analysed == 0


def shows(drawing, pixels):
    """Whether the field of a drawing is this picture: the strip on top is as high as it is more."""
    return np.array_equal(drawing[drawing.shape[0] - pixels.shape[0] + 60 :], pixels[60:])


def test_a_lost_source_is_shown_and_comes_back(begin):
    first, second = Script(picture(1), SourceLost("the cable is out")), Script(picture(2))
    remade = Remade(first, SourceLost("the cable is out"), second)
    clock = FakeClock()
    session = begin(remade, clock=clock)
    until(lambda: session.figures().seen == 2)
    until(lambda: session.state.condition == Condition.LIVE)
    assert "the cable is out" in session.lines
    assert first.closed == 1
    assert remade.opened == 3
    assert clock.now_s() >= 2.0
    second.give(None)


def test_while_a_source_is_lost_the_picture_says_so(begin):
    source = Script(picture(1, level=200), SourceLost("the cable is out"))
    remade = Remade(source, InputError("no camera 0"), Script(picture(2), None))
    session = begin(remade, clock=Held())
    until(lambda: session.state.condition == Condition.LOST)
    until(lambda: session.drawings.newest is not None)
    # The old picture is dimmed, so that nobody takes it for the present one.
    until(lambda: session.drawings.newest.picture[60:].mean() < 110)
    session._clock.let()
    assert session.ended.wait(20)
    assert session.figures().seen == 2
    assert "no camera 0" in session.lines


class Held(FakeClock):
    """Holds the second wait for a lost source until it is told."""

    def __init__(self):
        super().__init__()
        self._free, self._waits = threading.Event(), 0

    def let(self):
        self._free.set()

    def wait(self, seconds):
        if seconds == 1.0:
            self._waits += 1
            if self._waits == 2:
                assert self._free.wait(20)
        return super().wait(seconds)


def test_a_source_that_cannot_be_opened_is_refused(begin):
    with pytest.raises(SourceLost, match="no camera 3"):
        begin(Remade(SourceLost("no camera 3")))


def test_black_pictures_are_told_and_not_analysed(begin):
    source, answers = Script(picture(0)), Answers()
    session = begin(source, answers)
    until(lambda: session.figures().analysed == 1)
    source.give(BLACK)
    until(lambda: session.state.condition == Condition.BLACK)
    assert "black picture" in session.lines[-1]
    source.give(picture(1))
    until(lambda: session.figures().analysed == 2)
    assert session.state.condition == Condition.LIVE
    assert answers.asked == [1, 3]


def test_silence_of_a_steady_source_is_a_loss(begin):
    clock = FakeClock()
    session = begin(Script(picture(0)), clock=clock)
    until(lambda: session.state.condition == Condition.LIVE)
    clock.time_s += 5
    assert session.state.condition == Condition.LOST
    assert "has given nothing for 5 s" in session.state.reason


def test_frozen_holds_the_picture_and_has_it_analysed(begin):
    source, answers = Script(picture(0)), Answers(free=False)
    session = begin(source, answers)
    assert answers.begun.acquire(timeout=20)
    source.give(picture(1))
    until(lambda: session.figures().seen == 2)
    session.freeze()
    source.give(picture(2))
    until(lambda: session.figures().seen == 3)
    answers.let(2)
    until(lambda: session.figures().analysed == 2)
    assert answers.asked == [1, 2]
    until(lambda: session.drawings.newest.picture[5:25].any())
    session.freeze()
    assert not session.frozen
    source.give(picture(3))
    answers.let()
    until(lambda: answers.asked == [1, 2, 4])


def test_outlines_stay_on_what_moves(begin):
    """The answer is of a frame that the stage has left by 20 px: so has the outline."""
    whole = scene(7, shape=(240, 400))
    source, answers = Script(Picture(whole[:, :320])), Answers(free=False)
    session = begin(source, answers)
    answers.let()
    until(lambda: session.figures().analysed == 1)
    still = outlined(session, whole[:, :320])
    source.give(Picture(whole[:, 20:340].copy()))
    until(lambda: session.figures().seen == 2)
    moved = outlined(session, whole[:, 20:340])
    assert abs(still - moved - 20) <= 2


def outlined(session, pixels):
    """Column of the left side of what was drawn on a picture, away from plates."""
    found = []

    def seen():
        drawing = session.drawings.newest.picture
        field = drawing[drawing.shape[0] - pixels.shape[0] :].astype(int)
        # A side of the box, halfway down; labels are beside and below.
        row = np.abs(field[45:55, :200] - pixels[45:55, :200]).sum(axis=(0, 2))
        found[:] = np.flatnonzero(row > 400)
        return len(found) and np.abs(field[200:, 150:200] - pixels[200:, 150:200]).max() == 0

    until(seen)
    return int(found[0])


def test_an_answer_about_another_field_is_not_drawn(begin):
    source, answers = Script(picture(0)), Answers(free=False)
    session = begin(source, answers)
    answers.let()
    until(lambda: session.figures().analysed == 1)
    source.give(picture(99))
    until(lambda: session.figures().seen == 2)
    until(lambda: shows(session.drawings.newest.picture, scene(99)))


def test_the_end_of_a_replay_is_told(begin):
    session = begin(Script(picture(0), None))
    assert session.ended.wait(20)
    assert session.state.condition == Condition.ENDED


def test_a_recording_can_be_played_and_its_answers_read(begin, tmp_path):
    source = Script()
    session = begin(source, pixel_size=PixelSize(1000, 1000, "user"))
    session.record()
    assert session.recording
    for seed in range(3):
        source.give(picture(seed))
        until(lambda seed=seed: session.figures().analysed == seed + 1)
        until(lambda seed=seed: session.figures().shown == seed + 1)
    folder = tmp_path / "out" / "recordings" / "0001"
    session.record()
    assert not session.recording
    answers = list(read_answers(folder))
    assert [a["frame"] for a in answers] == [1, 2, 3]
    (region,) = answers[0]["regions"]
    assert region["layers"] == "2L"
    assert region["area_um2"] == region["area_px"] == 40 * 60
    film = cv2.VideoCapture(str(max(folder.glob("seen-*.avi"))))  # the first waits for a picture
    assert film.read()[1].shape[1:] == (320, 3)


def test_a_disk_that_takes_nothing_is_one_line(begin, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    session = begin(Script(picture(0)))
    session.record()
    assert not session.recording
    assert "cannot write" in session.lines[-1]


def test_a_disk_that_fills_up_ends_the_recording_aloud(begin, monkeypatch):
    source = Script(picture(0))
    session = begin(source)

    def full(self, jpeg):
        raise CannotWrite("cannot write seen-0001.avi: No space left on device")

    monkeypatch.setattr(AviWriter, "add", full)
    session.record()
    source.give(picture(1))
    until(lambda: "No space left" in session.lines[-1])
    assert not session.recording


def test_no_snapshot_before_the_first_picture(begin):
    session = begin(Script())
    session.snapshot()
    assert session.lines == ["no picture yet, so no snapshot"]


def test_a_snapshot_is_a_run_folder_of_the_whole_frame(begin, tmp_path, synthetic, monkeypatch):
    """At full resolution, though the view is smaller; analysed in this process to be quick."""
    import layerscope.live.snapshot as snapshot

    monkeypatch.setattr(snapshot, "Apart", Inline)
    pixels = synthetic[0].micrograph.data
    source = Script(Picture(pixels))
    asked = replace(GRAPHENE, optics=Optics(tone_curve("linear")), max_layers=4)  # quick to fit
    session = begin(source, asked=asked, width_px=320, pixel_size=PixelSize(400, 400, "user"))
    until(lambda: session.figures().analysed == session.figures().shown == 1)
    session.snapshot()
    until(lambda: session.lines, 60)
    folder = tmp_path / "out" / "snapshots" / "0001"
    assert str(folder) in session.lines[-1]
    kept = cv2.imread(str(folder / "images" / "frame-000001.png"))[..., ::-1]
    assert np.array_equal(kept, pixels)
    assert (folder / "shown.jpg").stat().st_size > 1000
    said = json.loads((folder / "run.json").read_text())
    assert said["images"][0]["pixel_size_um"] == 0.4
    assert said["images"][0]["regions"] > 0
    for name in ("objects.csv", "overlays/frame-000001.jpg", "masks/frame-000001.png"):
        assert (folder / name).is_file()


class Inline:
    """Stands for a process of its own."""

    def __init__(self, function, *arguments):
        self._task = function, arguments

    def result(self):
        function, arguments = self._task
        return function(*arguments)


def test_closing_ends_every_thread(begin):
    before = threading.active_count()
    source, answers = Script(picture(0)), Answers(free=False)
    session = begin(source, answers)
    assert answers.begun.acquire(timeout=20)
    source.give(None)
    session.close()
    until(lambda: threading.active_count() <= before)
    assert session.drawings.closed
    session.close()


def test_the_summary_counts(begin):
    source = Script(picture(0))
    session = begin(source)
    until(lambda: session.figures().latency_ms is not None)
    line = session.summary()
    assert line.startswith("1 frames in ")
    assert "1 analysed" in line
    assert "0 dropped" in line
    assert "latency" in line
