"""Where the network is asked, and that asking by windows changes nothing."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.models.flake_maps import TILE_PX, busy_windows, draw_maps

shapes = st.tuples(st.integers(1, 400), st.integers(1, 400))


@settings(max_examples=60, deadline=None)
@given(shapes, st.lists(st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)), max_size=8))
def test_windows_hold_every_busy_pixel_once_and_no_empty_tile(shape, places):
    busy = np.zeros(shape, np.uint8)
    for y, x in places:
        busy[int(y * shape[0]), int(x * shape[1])] = 1
    asked = np.zeros(shape, int)
    for w in busy_windows(busy):
        here = (slice(w.top, w.bottom), slice(w.left, w.right))
        asked[here] += 1
        for left in range(w.left, w.right, TILE_PX):
            assert busy[w.top : w.bottom, left : left + TILE_PX].any()
    assert asked.max(initial=0) <= 1
    assert (asked[busy > 0] == 1).all()


class Blurring:
    """A model that answers with what it sees, blurred over 9 px, at full resolution."""

    card = SimpleNamespace(stride=32)
    asked = 0

    def logits(self, batch):
        self.asked += batch.shape[2] * batch.shape[3]
        assert batch.shape[2] % 32 == 0
        assert batch.shape[3] % 32 == 0
        seen = batch[0].transpose(1, 2, 0)
        return cv2.blur(seen, (9, 9)).transpose(2, 0, 1)[None]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_windows_see_what_the_whole_picture_shows(dtype):
    rng = np.random.default_rng(0)
    white = {np.uint8: 255.0, np.uint16: 4095.0, np.float32: 1.0}[dtype]
    light = cv2.GaussianBlur(rng.uniform(0.2, 0.9, (601, 702, 3)), (0, 0), 3)
    data = (light * white).astype(dtype)
    bare = np.full((300, 351, 3), 100, np.float32)
    busy = np.zeros((300, 351), np.uint8)
    busy[10, 10] = busy[290, 340] = busy[140, 200] = 1
    model = Blurring()
    maps = draw_maps(model, data, white, bare, busy)
    contrast = data[:600, :702].astype(float) / white * 255 / 100 - 1
    half = cv2.resize(cv2.blur(contrast, (9, 9)), (351, 300), interpolation=cv2.INTER_AREA)
    wanted = 1 / (1 + np.exp(-half))
    drawn = maps.any(axis=2)
    assert 0 < model.asked < 1.3 * 3 * (2 * TILE_PX + 64) ** 2
    assert drawn[10, 10]
    assert drawn[290, 340]
    assert drawn[140, 200]
    inner = drawn.copy()
    inner[:4] = inner[-4:] = inner[:, :4] = inner[:, -4:] = False  # blur mirrors at the border
    assert np.abs(maps - wanted)[inner].max() < 0.01


def test_an_empty_picture_asks_nothing():
    model = Blurring()
    data, bare = np.zeros((64, 64, 3), np.uint8), np.ones((32, 32, 3), np.float32)
    maps = draw_maps(model, data, 255.0, bare, np.zeros((32, 32), np.uint8))
    assert model.asked == 0
    assert not maps.any()
