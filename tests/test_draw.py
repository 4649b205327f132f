"""Overlays: what is drawn where, and what is left as it was."""

import cv2
import numpy as np
import pytest

from layerscope import draw
from layerscope.core.classes import class_colour, class_name, class_value
from layerscope.core.micrograph import PixelSize
from layerscope.core.results import THICK, UNKNOWN, Detections
from layerscope.draw.legend import legend_entries
from layerscope.errors import InputError
from layerscope.ops.lettering import letters, plate

SIZE = PixelSize(200, 200, "test")


@pytest.fixture
def labels():
    values = np.zeros((240, 320), np.int32)
    values[40:80, 30:90], values[40:80, 90:130] = 1, 2
    values[150:200, 200:260], values[60:90, 220:260] = 3, 4
    return values


@pytest.fixture
def found(make_detections, labels):
    return make_detections(labels, numbers=[1, 2, THICK, UNKNOWN])


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return rng.integers(90, 140, (240, 320, 3)).astype(np.uint8)


def changed(a, b):
    return (a != b).any(axis=2)


def test_pixels_inside_and_far_away_keep_their_colours(image, found, labels):
    drawn = draw.draw_outlines(image, found)
    kernel = np.ones((9, 9), np.uint8)
    inner = cv2.erode((labels > 0).astype(np.uint8), kernel) > 0
    for value in range(1, 5):
        inner &= cv2.dilate((labels == value).astype(np.uint8), kernel) * (labels != value) == 0
    outer = cv2.dilate((labels > 0).astype(np.uint8), kernel) == 0
    touched = changed(drawn, image)
    assert inner.sum() > 2000
    assert not touched[inner].any()
    assert not touched[outer].any()
    assert touched.sum() > 300


def test_outlines_have_the_colour_of_their_class(image, found):
    drawn = draw.draw_outlines(image, found)
    for number in (1, 2, THICK, UNKNOWN):
        near = np.abs(drawn.astype(int) - class_colour(number)).sum(axis=2) < 10
        assert near.sum() > 20, class_name(number)


def test_unknown_is_dashed(image, make_detections, labels):
    one = (labels == 3).astype(np.int32)
    both = (make_detections(one, numbers=[n]) for n in (THICK, UNKNOWN))
    whole, dashed = (changed(draw.draw_outlines(image, d), image).sum() for d in both)
    assert 0.4 * whole < dashed < 0.9 * whole


def test_inputs_are_not_changed(image, found):
    before = image.copy()
    draw.draw_flakes(image, found, pixel_size=SIZE, title="a")
    draw.draw_card(image, found, 0, pixel_size=SIZE)
    np.testing.assert_array_equal(image, before)


def test_the_same_input_gives_the_same_picture(image, found):
    one, two = (draw.draw_flakes(image, found, pixel_size=SIZE, title="t") for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape[0] > 240
    assert one.shape[1:] == (320, 3)


def test_empty_detections_leave_only_the_scale_bar(image):
    drawn = draw.draw_flakes(image, Detections.empty((240, 320)), pixel_size=SIZE)
    rows, columns = np.nonzero(changed(drawn, image))
    assert rows.min() > 180
    assert columns.min() > 200


@pytest.mark.parametrize("nm", [0.05, 2.1, 37, 200, 384.4, 6000])
@pytest.mark.parametrize("width", [320, 1920])
def test_scale_bar_length(nm, width):
    black = np.zeros((300, width, 3), np.uint8)
    drawn = draw.draw_scale_bar(black, PixelSize(nm, nm, "test"))
    length_nm = draw.round_length_nm(width / 6 * nm)
    row = (drawn == 255).all(axis=2)
    bar = row.sum(axis=1).max()
    assert bar == round(length_nm / nm)
    assert width / 6 / 1.6 < bar < width / 6 * 1.6
    assert f"{length_nm:.0e}"[0] in "125"


@pytest.mark.parametrize(
    ("nm", "text"), [(0.5, "0.5 nm"), (200, "200 nm"), (1e3, "1 µm"), (5e4, "50 µm"), (2e6, "2 mm")]
)
def test_length_text(nm, text):
    assert draw.length_text(nm) == text


def test_no_outline_crosses_the_scale_bar(image, make_detections):
    below = np.zeros((240, 320), np.int32)
    below[200:240, 250:320] = 1
    empty = Detections.empty((240, 320))
    with_flake = draw.draw_flakes(image, make_detections(below), pixel_size=SIZE, labels=[""])
    bar = (draw.draw_flakes(image, empty, pixel_size=SIZE) == 255).all(axis=2)
    assert bar.any()
    assert (with_flake[bar] == 255).all()


def test_no_scale_says_so(image):
    drawn = draw.draw_scale_bar(np.zeros_like(image), None)
    white = (drawn == 255).all(axis=2)
    assert white.any()
    assert white.sum(axis=1).max() < 30  # letters, no bar


def test_letters_have_micro_and_square():
    empty, micro, square = (letters(t, 20) for t in (" ", "µ", "²"))
    assert empty.sum() == 0
    assert micro.sum() > 0
    assert square.sum() > 0
    # A missing glyph is drawn as the same box for every character.
    assert not np.array_equal(micro, letters("\ufffe", 20))


def test_label_texts(found):
    assert draw.label_texts(found, None) == ["1L 90 %", "2L 90 %", "thick 90 %", "unknown"]
    with_scale = draw.label_texts(found, SIZE)
    assert with_scale[0] == "1L 90 %, 96 µm²"
    assert with_scale[3] == "unknown 48 µm²"


def test_labels_do_not_overlap(make_detections):
    values = np.zeros((300, 300), np.int32)
    for i in range(36):
        y, x = 10 + 45 * (i // 6), 10 + 45 * (i % 6)
        values[y : y + 8, x : x + 8] = i + 1
    found = make_detections(values, numbers=[1] * 36)
    places = []
    original = plate

    def spy(canvas, box):
        places.append(box)
        original(canvas, box)

    with pytest.MonkeyPatch.context() as patch:
        for part in ("labels", "legend", "scale_bar"):
            patch.setattr(f"layerscope.draw.{part}.plate", spy)
        draw.draw_flakes(np.full((300, 300, 3), 90, np.uint8), found, pixel_size=SIZE)
    assert len(places) > 12
    cover = np.zeros((300, 300), int)
    for top, left, bottom, right in places:
        assert top >= 0
        assert left >= 0
        assert bottom <= 300
        assert right <= 300
        cover[top:bottom, left:right] += 1
    assert cover.max() == 1


def test_legend_lists_only_what_is_there(found, make_detections, labels):
    names = [name for name, *_ in legend_entries(found)]
    assert names == ["1 layer: 1", "2 layers: 1", "thick: 1", "unknown: 1"]
    many = make_detections(labels, numbers=[5, 9, 9, 3])
    assert [n for n, *_ in legend_entries(many)] == ["3 layers: 1", "5–9 layers: 3"]


@pytest.mark.parametrize("index", [0, 1, 2, 3])
@pytest.mark.parametrize("size_px", [64, 360])
def test_cards(image, found, index, size_px):
    card = draw.draw_card(image, found, index, pixel_size=SIZE, size_px=size_px)
    assert card.shape == (size_px, size_px, 3)
    colour = class_colour([1, 2, THICK, UNKNOWN][index])
    assert (np.abs(card.astype(int) - colour).sum(axis=2) < 30).sum() > 10


def test_a_card_of_a_flake_as_large_as_the_image(make_detections):
    found = make_detections(np.ones((30, 90), np.int32))
    card = draw.draw_card(np.full((30, 90, 3), 100, np.uint8), found, 0)
    assert card.shape == (360, 360, 3)


def test_long_titles_are_cut(image):
    assert draw.draw_title(image, "x" * 500).shape[1] == 320


def test_sixteen_bits_are_scaled_by_the_white_level():
    grey = np.array([[0, 2048, 4095, 5000]], np.uint16)
    np.testing.assert_array_equal(draw.to_rgb8(grey, 4095)[0, :, 1], [0, 128, 255, 255])
    colour = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(draw.to_rgb8(colour), colour)


@pytest.mark.parametrize(
    ("shape", "dtype", "word"),
    [
        ((240, 320), np.uint8, "RGB image"),
        ((240, 320, 3), np.float32, "RGB image"),
        ((9, 9, 3), np.uint8, "do not fit"),
    ],
)
def test_bad_images_are_refused(found, shape, dtype, word):
    with pytest.raises(InputError, match=word):
        draw.draw_outlines(np.zeros(shape, dtype), found)


def test_a_card_that_does_not_exist(image, found):
    with pytest.raises(InputError, match="no region 4"):
        draw.draw_card(image, found, 4)


def test_class_values():
    assert [class_value(n) for n in (1, 10, THICK, UNKNOWN)] == [1, 10, 254, 255]
    with pytest.raises(InputError, match="300 layers"):
        class_value(300)
