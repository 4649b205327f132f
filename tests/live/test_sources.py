"""What every source does, and what each kind refuses in one line."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from live_parts import FakeClock, scene

from layerscope.errors import InputError, LayerscopeError, SourceLost
from layerscope.live import sources
from layerscope.live.clock import Pace
from layerscope.live.sources import SOURCE_NAMES, SOURCES, Playing, check_source, open_source

SHAPE = (120, 160)


class Grabber:
    """Stands for mss: one screen of 640 x 480, told what to show."""

    def __init__(self):
        self.monitors = [{"left": 0, "top": 0, "width": 640, "height": 480, "name": "all"}] * 2
        self.shown = cv2.cvtColor(scene(1, shape=(480, 640)), cv2.COLOR_RGB2BGRA)

    def grab(self, region):
        top, left = region["top"], region["left"]
        part = self.shown[top : top + region["height"], left : left + region["width"]]
        return SimpleNamespace(bgra=part.tobytes(), height=part.shape[0], width=part.shape[1])

    def close(self):
        pass


class Capture:
    """Stands for a camera that OpenCV opens."""

    def __init__(self, number):
        self.number, self.left = number, 3

    def isOpened(self):
        return self.number == 0

    def set(self, *_):
        return True

    def read(self):
        self.left -= 1
        return self.left >= 0, scene(abs(self.left), shape=SHAPE)[..., ::-1]

    def release(self):
        pass


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Open a source of each kind."""
    mss = pytest.importorskip("mss")
    monkeypatch.setattr(mss, "MSS", Grabber)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    for name in ("XDG_SESSION_TYPE", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scene(number, shape=SHAPE))
    named = {"screen": "screen:10,20,160,120", "camera": "camera:0",
             "folder": f"folder:{tmp_path}", "replay": f"replay:{tmp_path}"}  # fmt: skip

    def open_kind(kind, **told):
        clock = FakeClock()
        return open_source(named[kind], Playing(clock, **told)), clock

    return open_kind


def test_every_source_says_how_it_is_named():
    assert set(SOURCE_NAMES) == set(SOURCES)


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_source_gives_pictures_until_it_is_stopped(opened, kind):
    source, clock = opened(kind)
    assert source.name
    assert isinstance(source.steady, bool)
    picture = source.read()
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == (*SHAPE, 3)
    assert picture.pixels.flags.c_contiguous
    clock.stopped.set()
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("kind", list(SOURCES))
def test_a_source_can_be_opened_again(opened, kind):
    first, _ = opened(kind)
    first.read()
    first.close()
    assert opened(kind)[0].read() is not None


@pytest.mark.parametrize("kind", ["screen", "replay"])
def test_pictures_come_at_the_pace_asked_for(opened, kind):
    source, clock = opened(kind, fps=10.0)
    for _ in range(3):
        source.read()
    assert clock.now_s() == pytest.approx(0.2)


def test_missed_ticks_are_left_out():
    clock = FakeClock()
    pace = Pace(10.0, clock)
    pace.tick()
    clock.time_s = 7.0
    pace.tick()
    assert clock.now_s() == 7.0
    pace.tick()
    assert clock.now_s() == pytest.approx(7.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("telescope:1", "no source"),
        ("camera", "expected camera:0"),
        ("camera:front", "expected its number"),
        ("camera:7", "no camera 7"),
        ("folder:/nowhere/at/all", "no such folder"),
        ("replay:/nowhere/at/all.avi", "no such file"),
        ("screen:1,2,3", "expected a number or LEFT,TOP,WIDTH,HEIGHT"),
        ("screen:600,0,160,120", "on the screen of 640 × 480 px"),
        ("screen:0,0,3,3", "64 px or more"),
        ("screen:9", "numbered from 1"),
    ],
)
def test_refusals_are_one_line(opened, text, said):
    with pytest.raises(LayerscopeError) as caught:
        open_source(text, Playing(FakeClock()))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wayland_is_refused(opened, monkeypatch):
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(InputError, match="Wayland lets no program look"):
        open_source("screen", Playing(FakeClock()))


def test_no_desktop_is_refused(monkeypatch):
    pytest.importorskip("mss")
    if os.name != "posix":
        pytest.skip("other systems always have a desktop")
    for name in ("DISPLAY", "XDG_SESSION_TYPE", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no screen to look at"):
        open_source("screen", Playing(FakeClock()))


def test_a_camera_that_ends_is_lost(opened):
    source, _ = opened("camera")
    for _ in range(3):
        source.read()
    with pytest.raises(SourceLost, match="camera 0 gives no picture"):
        source.read()


def test_settings_out_of_range():
    for told in ({"fps": 0.0}, {"fps": float("nan")}, {"pan_step_px": 0.0}):
        with pytest.raises(InputError):
            Playing(FakeClock(), **told)


def test_outside_packages_may_add_sources(monkeypatch):
    assert sources.SOURCES.kind == "source"
    check_source("replay:anything")


class TestFolder:
    def test_the_newest_image_then_each_new_one(self, tmp_path):
        for number, age in ((1, 100), (2, 50)):
            self.write(tmp_path / f"{number}.png", number, age)
        source, clock = self.open(tmp_path)
        assert source.read().name == "2.png"
        self.write(tmp_path / "a.png", 3, 10)
        assert source.read().name == "a.png"
        clock.stopped.set()
        assert source.read() is None

    def test_a_file_half_written_is_waited_for(self, tmp_path):
        source, clock = self.open(tmp_path)
        whole = cv2.imencode(".png", scene(2))[1].tobytes()
        path = tmp_path / "image.png"
        path.write_bytes(whole[:1000])

        def finish(seconds, wait=clock.wait):
            if clock.now_s() > 0.5 and path.stat().st_size == 1000:
                path.write_bytes(whole)
            return wait(seconds)

        clock.wait = finish
        assert np.array_equal(source.read().pixels[..., ::-1], scene(2))

    def test_a_broken_image_is_one_line_and_the_next_is_shown(self, tmp_path):
        source, clock = self.open(tmp_path)
        (tmp_path / "a.png").write_bytes(b"no image at all")
        with pytest.raises(SourceLost, match="a"):
            source.read()
        self.write(tmp_path / "b.png", 4, 0)
        assert source.read().name == "b.png"
        assert clock.now_s() < 60

    def test_a_folder_that_goes_and_comes_back(self, tmp_path):
        folder = tmp_path / "share"
        folder.mkdir()
        source, _ = self.open(folder)
        folder.rmdir()
        with pytest.raises(SourceLost, match="is not there"):
            source.read()
        folder.mkdir()
        self.write(folder / "c.png", 5, 0)
        assert source.read().name == "c.png"

    @staticmethod
    def open(folder):
        clock = FakeClock()
        return open_source(f"folder:{folder}", Playing(clock)), clock

    @staticmethod
    def write(path, seed, age_s):
        cv2.imwrite(str(path), scene(seed))
        os.utime(path, (1e9 - age_s, 1e9 - age_s))


class TestReplay:
    def test_images_in_order_then_the_end(self, tmp_path):
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.png"), scene(number))
        source = open_source(f"replay:{tmp_path}", Playing(FakeClock()))
        assert [source.read().name for _ in range(3)] == ["0.png", "1.png", "2.png"]
        assert source.read() is None

    def test_loop_begins_again(self, tmp_path):
        cv2.imwrite(str(tmp_path / "only.png"), scene(1))
        source = open_source(f"replay:{tmp_path / 'only.png'}", Playing(FakeClock(), loop=True))
        assert {source.read().name for _ in range(5)} == {"only.png"}

    def test_an_image_that_cannot_be_read_is_passed_over(self, tmp_path):
        cv2.imwrite(str(tmp_path / "0.png"), scene(0))
        (tmp_path / "1.png").write_bytes(b"broken")
        cv2.imwrite(str(tmp_path / "2.png"), scene(2))
        source = open_source(f"replay:{tmp_path}", Playing(FakeClock()))
        assert source.read().name == "0.png"
        with pytest.raises(SourceLost):
            source.read()
        assert source.read().name == "2.png"

    def test_a_video(self, tmp_path):
        path = tmp_path / "seen.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (320, 240))
        for number in range(4):
            writer.write(scene(number)[..., ::-1])
        writer.release()
        clock = FakeClock()
        source = open_source(f"replay:{path}", Playing(clock))
        pictures = [source.read() for _ in range(4)]
        assert source.read() is None
        assert clock.now_s() == pytest.approx(4 / 12, abs=0.01)
        error = np.abs(pictures[2].pixels.astype(int) - scene(2)).mean()
        assert error < 6
        source.close()

    def test_a_video_that_is_none(self, tmp_path):
        (tmp_path / "film.mp4").write_bytes(b"no video")
        with pytest.raises(InputError, match="no video that can be read"):
            open_source(f"replay:{tmp_path / 'film.mp4'}", Playing(FakeClock()))

    def test_a_folder_without_images(self, tmp_path):
        with pytest.raises(InputError):
            open_source(f"replay:{tmp_path}", Playing(FakeClock()))

    def test_no_pan_over_a_video(self, tmp_path):
        (tmp_path / "film.avi").write_bytes(b"")
        with pytest.raises(InputError, match="--pan is for images"):
            open_source(f"replay:{tmp_path / 'film.avi'}", Playing(FakeClock(), pan=(60, 80)))


class TestPan:
    def test_every_window_is_a_part_of_the_image_and_moves_by_the_step(self, tmp_path):
        whole = np.zeros((240, 400, 3), np.uint8)  # that says where each pixel is
        whole[..., 0], whole[..., 1] = np.arange(400) % 200, np.arange(400) // 200
        whole[..., 2] = np.arange(240)[:, None]
        cv2.imwrite(str(tmp_path / "big.png"), whole[..., ::-1])
        playing = Playing(FakeClock(), pan=(120, 160), pan_step_px=7.0)
        source = open_source(f"replay:{tmp_path / 'big.png'}", playing)
        columns, rows = [], []
        for _ in range(120):
            seen = source.read().pixels
            x, y = int(seen[0, 0, 0]) + 200 * int(seen[0, 0, 1]), int(seen[0, 0, 2])
            assert np.array_equal(whole[y : y + 120, x : x + 160], seen)
            columns.append(x)
            rows.append(y)
        # At its ends it turns, and may come back by less.
        assert max(np.abs(np.diff(columns))) == 7
        assert max(columns) - min(columns) > 230
        assert max(rows) - min(rows) > 110

    def test_a_window_larger_than_the_image_shows_it_whole(self, tmp_path):
        cv2.imwrite(str(tmp_path / "small.png"), scene(1))
        source = open_source(
            f"replay:{tmp_path / 'small.png'}", Playing(FakeClock(), pan=(900, 900))
        )
        assert source.read().pixels.shape == (240, 320, 3)

    def test_several_images_one_after_another(self, tmp_path):
        for number in range(2):
            cv2.imwrite(str(tmp_path / f"{number}.png"), scene(number))
        playing = Playing(FakeClock(), pan=(120, 160), pan_step_px=20.0)
        source = open_source(f"replay:{tmp_path}", playing)
        names = []
        while (picture := source.read()) is not None:
            names.append(picture.name)
        assert names == ["0.png"] * 16 + ["1.png"] * 16
