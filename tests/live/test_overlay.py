"""The drawing: nothing is drawn where it does not hold, figures and states are always there."""

import numpy as np
import pytest
from live_parts import one_square, scene

from layerscope.core.micrograph import PixelSize
from layerscope.live import overlay
from layerscope.live.analysis import Answer
from layerscope.live.figures import Figures, Tally
from layerscope.live.frame import Picture, framed, is_black
from layerscope.live.motion import Shift
from layerscope.live.overlay import Scene, draw_scene, figures_text
from layerscope.live.reader import Condition, SourceState

LIVE = SourceState(Condition.LIVE)
PIXELS = scene(1, shape=(360, 640))
FRAME = framed(Picture(PIXELS), 7, 1.0, 640)


def a_scene(**told):
    told = {"state": LIVE, "frame": FRAME, **told}
    return Scene("graphene on SiO2(90nm)/Si", "camera 0", **told)


def field(picture):
    return picture[picture.shape[0] - 360 :]


@pytest.fixture
def written(monkeypatch):
    """Texts that were drawn."""
    texts, original = [], overlay.letters

    def spy(text, size):
        texts.append(text)
        return original(text, size)

    monkeypatch.setattr(overlay, "letters", spy)
    for part in ("labels", "legend", "scale_bar"):
        monkeypatch.setattr(f"layerscope.draw.{part}.letters", spy)
    return texts


def test_without_an_answer_the_picture_is_the_source_s():
    assert np.array_equal(field(draw_scene(a_scene())), PIXELS)


def test_an_answer_of_an_unrelated_frame_or_an_error_is_not_drawn():
    answer = Answer(3, one_square((360, 640)))
    assert np.array_equal(field(draw_scene(a_scene(answer=answer, shift=None))), PIXELS)
    failed = Answer(7, one_square((360, 640)), error="too dark")
    assert np.array_equal(field(draw_scene(a_scene(answer=failed, shift=Shift(0, 0)))), PIXELS)


def test_what_an_answer_says(written):
    size = PixelSize(500, 500, "user")
    answer = Answer(7, one_square((360, 640)), size)
    drawn = field(draw_scene(a_scene(answer=answer, shift=Shift(0, 0))))
    assert not np.array_equal(drawn, PIXELS)
    assert "2L 95 %, 600 µm²" in written
    assert "2 layers: 1" in written
    assert "50 µm" in written


def test_without_a_pixel_size_areas_are_in_px(written):
    answer = Answer(7, one_square((360, 640)))
    draw_scene(a_scene(answer=answer, shift=Shift(0, 0)))
    assert "2L 95 %, 2400 px" in written
    assert "no scale" in written


@pytest.mark.parametrize("condition", [Condition.LOST, Condition.BLACK])
def test_a_lost_or_black_source_is_told_over_a_dimmed_picture(written, condition):
    answer = Answer(7, one_square((360, 640)))
    state = SourceState(condition, "camera 0 gives no picture")
    drawn = draw_scene(a_scene(state=state, answer=answer, shift=Shift(0, 0)))
    assert "camera 0 gives no picture" in written
    assert not any("2L" in text for text in written)
    assert field(drawn)[:100].mean() < 0.5 * PIXELS[:100].mean()


def test_before_the_first_picture(written):
    picture = draw_scene(a_scene(frame=None, state=SourceState(Condition.OPENING)))
    assert picture.shape[1:] == (1280, 3)
    assert "waiting for the first picture of camera 0" in written


def test_states_are_words_not_only_colours(written):
    draw_scene(a_scene(frozen=True, recording=True, notes=("the light is new",)))
    assert {"FROZEN", "REC", "the light is new"} <= set(written)


@pytest.mark.parametrize("shape", [(64, 64), (200, 90), (90, 1280), (1080, 1920)])
def test_any_size_can_be_drawn(shape):
    pixels = np.full((*shape, 3), 90, np.uint8)
    answer = Answer(7, one_square(shape, box=(10, 10, 40, 40)))
    frame = framed(Picture(pixels), 7, 1.0, 4000)
    said = SourceState(Condition.LOST, "a reason that has many words and more " * 3)
    for state in (LIVE, said):
        told = Scene("s" * 90, "c" * 90, state, Figures(), frame, answer, Shift(3, 3), True, True,
                     ("note " * 60, "b", "c"))  # fmt: skip
        assert draw_scene(told).shape[1:] == (shape[1], 3)


def test_frames_are_reduced_and_know_it():
    frame = framed(Picture(scene(1, shape=(300, 800))), 1, 0.0, 400)
    assert frame.shown.shape == (150, 400, 3)
    assert frame.pixel_size(PixelSize(100, 100, "user")).x_nm == 200
    own = framed(Picture(PIXELS, pixel_size=PixelSize(50, 50, "file")), 1, 0.0, 1280)
    assert own.pixel_size(None).x_nm == 50
    assert FRAME.pixel_size(None) is None


def test_black():
    assert is_black(np.full((90, 90, 3), 6, np.uint8))
    assert not is_black(PIXELS)


def test_rates_are_of_the_last_seconds():
    tally = Tally(0.0)
    for tick in range(100):
        tally.see()
        tally.show(tick / 10)
        if tick % 2 == 0:
            tally.analyse(tick / 10)
            tally.delay(0.04)
    figures = tally.figures(9.9, 100, 50)
    assert figures.shown_fps == pytest.approx(10)
    assert figures.analysed_fps == pytest.approx(5)
    assert figures.latency_ms == pytest.approx(40)
    assert figures_text(figures) == "shown 10 /s   analysed 5 /s   latency 40 ms   dropped 50"
    assert tally.figures(60.0, 100, 50).shown_fps == 0
    assert tally.summary(10.0, 100, 50) == (
        "100 frames in 10.0 s: 100 shown (10.0 /s), 50 analysed (5.0 /s), 50 dropped, "
        "latency 40 ms (95 %: 40 ms)"
    )
